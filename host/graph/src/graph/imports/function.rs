//! Reports imports of functions outside of interfaces that no module serves.
//!
//! A world may import a function directly. A module whose world exports a function of that name serves it; the host serves none.

use super::Resolver;
use watertight_component::artifact::Artifact;
use watertight_component::shape::{Difference, Interface};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, list_names};

impl Resolver<'_> {
    /// Reports functions that belong to a resource of the world itself. No component exports such a resource.
    pub(super) fn report_unservable(&mut self, artifact: &Artifact, world: &Interface) {
        for (name, function) in &world.functions {
            let message =
                format!("module `{}` imports the function `{name}: {function}` outside of any interface", self.name);
            let help = "no module and no capability can serve a function of a resource outside of an interface: define the resource in an \
                        interface, and let the module's world import that";
            let problem = Problem::new(Code::MissingExport, message).module(self.name).function(name);
            self.problems.push(problem.file(&artifact.path).help(help));
        }
    }

    /// Reports a function that no other module's world exports.
    pub(super) fn report_no_function_provider(&mut self, import: &InterfaceName, wanted: &Interface) {
        let signature = wanted.functions.values().next().map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "nothing exports the function `{import}: {signature}`, which the world of module `{}` imports outside of any interface",
            self.name
        );
        let own = self.node.artifact.shape.exports.get(&InterfaceName::world());
        if own.is_some_and(|world| world.functions.contains_key(import.as_str())) {
            let help = "a module can't serve its own import: another module must export it";
            self.problems.push(self.problem(Code::MissingExport, message).function(import.as_str()).help(help));
            return;
        }
        let help = format!(
            "add a module whose world exports this function to the manifest, and to `calls` of [modules.{}]; if the function has another \
             name there, write `calls = {{ {import} = \"MODULE.FUNCTION\", … }}`. The host serves interfaces only",
            self.name
        );
        self.problems.push(self.problem(Code::MissingExport, message).function(import.as_str()).help(help));
    }

    /// Reports a function for which the table `calls` names a module whose world doesn't export it.
    pub(super) fn report_missing_function(&mut self, import: &InterfaceName, module: &ModuleName) {
        let function = self.module.calls.function_for(import).unwrap_or(import.as_str());
        let message = format!(
            "`calls` of module `{}` names `{module}` for the function `{import}`, and the world of that module exports no function \
             `{function}`",
            self.name
        );
        let exports =
            self.artifacts.get(module).and_then(|artifact| artifact.shape.exports.get(&InterfaceName::world()));
        let functions: Vec<&String> = exports.into_iter().flat_map(|world| world.functions.keys()).collect();
        let help = if functions.is_empty() {
            "name a module whose world exports the function outside of any interface".to_owned()
        } else {
            format!(
                "the world of that module exports {}: if one of them serves this import, write `{import} = \"{module}.FUNCTION\"`",
                list_names(&functions)
            )
        };
        self.problems.push(self.problem(Code::MissingExport, message).function(import.as_str()).help(help));
    }

    /// Reports an interface for which the table `calls` names a function.
    pub(super) fn report_no_function(&mut self, import: &InterfaceName, identity: &InterfaceName, function: &str) {
        let message = format!(
            "`calls` of module `{}` names the function `{function}` of a module for `{import}`, which is an interface",
            self.name
        );
        let help = "name only the module: it serves the whole interface";
        self.problems.push(self.problem(Code::BadValue, message).interface(identity).help(help));
    }

    /// Reports the differences between the type of an imported function and that of the function `function` of the world of `module`.
    pub(super) fn function_mismatch(
        &mut self,
        import: &InterfaceName,
        found: Vec<Difference>,
        module: &ModuleName,
        function: &str,
    ) {
        let there = if import.as_str() == function { String::new() } else { format!(" (`{function}`)") };
        let message = format!(
            "the function `{import}` differs between module `{}`, which imports it, and module `{module}`{there}",
            self.name
        );
        let help = "build both modules against the same version of the contract";
        self.differ(found, &InterfaceName::world(), help, |_| message.clone());
    }
}
