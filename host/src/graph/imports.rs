//! Resolving one module's imports: each is served by one module that it may call, by the host under a grant, or is a problem. And what
//! the host calls of a module is what the host takes it for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::provided::{self, Provision};
use super::{Node, Provider};
use crate::artifact::Artifact;
use crate::config::{AppConfig, Capability, ModuleConfig};
use crate::ids::{InterfaceName, ModuleName};
use crate::problem::{Code, Problem, list};
use crate::shape::{Difference, Interface, Type, differences, exact_differences};

/// The versions of WASI that come after those that the host serves.
const NEXT_WASI: &str = "0.3.";

/// Everything that resolving one module's imports looks at, and what it finds wrong.
struct Resolver<'a> {
    name: &'a ModuleName,
    module: &'a ModuleConfig,
    config: &'a AppConfig,
    artifacts: &'a BTreeMap<ModuleName, Arc<Artifact>>,
    problems: &'a mut Vec<Problem>,
    node: Node,
    /// Its imports of WASI 0.3.
    next_wasi: Vec<InterfaceName>,
}

/// Resolves all imports of `name`, adding what is wrong to `problems`.
pub(super) fn resolve(
    name: &ModuleName,
    module: &ModuleConfig,
    artifact: &Arc<Artifact>,
    config: &AppConfig,
    artifacts: &BTreeMap<ModuleName, Arc<Artifact>>,
    problems: &mut Vec<Problem>,
) -> Node {
    let node = Node {
        artifact: artifact.clone(),
        calls: BTreeMap::new(),
        capabilities: BTreeMap::new(),
        ambient: BTreeSet::new(),
        granted: module.uses.keys().copied().collect(),
        resume: module.resume,
    };
    let mut resolver = Resolver { name, module, config, artifacts, problems, node, next_wasi: Vec::new() };
    resolver.check_bare(artifact);
    resolver.check_called_by_host(artifact);
    for (import, wanted) in &artifact.shape.imports {
        // An interface of types of values needs nobody behind it. A handle needs whoever defines its resource.
        let is_named_by_a_module = || !provided::is_for_hosts(import) && wanted.types.values().any(Type::has_handle);
        if !wanted.is_types_only() || is_named_by_a_module() {
            resolver.import(import, wanted);
        }
    }
    resolver.refuse_next_wasi();
    resolver.node
}

impl Resolver<'_> {
    /// A problem of this module, at its place in the manifest.
    fn problem(&self, code: Code, message: String) -> Problem {
        Problem::new(code, message).module(self.name).file(&self.config.manifest).line(self.module.line)
    }

    fn check_bare(&mut self, artifact: &Artifact) {
        for name in &artifact.shape.bare_imports {
            let message = format!("module `{}` imports `{name}`, which is no interface of a package", self.name);
            self.problems.push(
                Problem::new(Code::MissingExport, message)
                    .module(self.name)
                    .file(&artifact.path)
                    .help("in the module's world, import `namespace:package/interface`: only that can be linked"),
            );
        }
    }

    /// The host is a consumer like any: what it calls must be what its contract says.
    fn check_called_by_host(&mut self, artifact: &Artifact) {
        let (name, wanted) = provided::resume();
        for (export, offered) in artifact.shape.exports.iter().filter(|(export, _)| export.serves(name)) {
            let message = format!("`{export}` of module `{}` is not what the host calls by that name", self.name);
            let help = format!("build the module against the host's own contract, `{}`", name.package());
            self.differ(differences(wanted, offered), name, &help, |_| message.clone());
        }
    }

    fn import(&mut self, import: &InterfaceName, wanted: &Interface) {
        match provided::provision(import) {
            Some(Provision::Own(capability, name, offered)) => {
                if capability.is_none_or(|capability| self.granted(capability, import)) {
                    let help = format!("build the module against the host's own contract, `{}`", name.package());
                    let found = exact_differences(wanted, offered);
                    self.mismatch(import, found, name, "the host", &help);
                    self.node.capabilities.insert(import.clone(), capability);
                }
            }
            Some(Provision::Shared(capability)) => {
                if self.granted(capability, import) {
                    self.node.ambient.insert(import.clone());
                }
            }
            Some(Provision::Empty) => {
                self.node.ambient.insert(import.clone());
            }
            None if provided::is_for_hosts(import) => self.unknown(import),
            None => self.call(import, wanted),
        }
    }

    fn granted(&mut self, capability: Capability, import: &InterfaceName) -> bool {
        let granted = self.module.uses.contains_key(&capability);
        if !granted {
            let message = format!("module `{}` imports `{import}`, which the manifest doesn't grant", self.name);
            let help = format!("add \"{capability}\" to `uses` of [modules.{}]", self.name);
            self.problems.push(self.problem(Code::Ungranted, message).interface(import).help(help));
        }
        granted
    }

    /// An import that a host would serve, and this one doesn't.
    fn unknown(&mut self, import: &InterfaceName) {
        if import.namespace() == "wasi" && import.is_release_of(NEXT_WASI) {
            return self.next_wasi.push(import.clone());
        }
        let message = format!("module `{}` imports `{import}`, which this host doesn't have", self.name);
        let help = format!("it has {}", provided::nearest(import));
        self.problems.push(self.problem(Code::MissingExport, message).interface(import).help(help));
    }

    /// Reports all imports of WASI 0.3 at once: a component that has one was built for it.
    fn refuse_next_wasi(&mut self) {
        let Some(first) = self.next_wasi.first() else { return };
        let others = match self.next_wasi.len() - 1 {
            0 => String::new(),
            1 => " and one more interface of it".to_owned(),
            count => format!(" and {count} more interfaces of it"),
        };
        let message = format!(
            "module `{}` is built for WASI 0.3, which this host doesn't have: it imports `{first}`{others}",
            self.name
        );
        let help = "build it for WASI 0.2, or for a target without WASI, such as `wasm32-unknown-unknown`";
        let problem = self.problem(Code::MissingExport, message).interface(first).help(help);
        self.problems.push(problem);
    }

    /// An import that only another module can serve.
    fn call(&mut self, import: &InterfaceName, wanted: &Interface) {
        let others = self.artifacts.iter().filter(|(module, _)| *module != self.name);
        let providers: Vec<(&ModuleName, &InterfaceName, &Interface)> = others
            .filter_map(|(module, artifact)| {
                let (export, offered) = best(import, &artifact.shape.exports)?;
                Some((module, export, offered))
            })
            .collect();
        let callable: Vec<_> =
            providers.iter().filter(|(module, ..)| self.module.calls.contains_key(*module)).copied().collect();
        match callable.as_slice() {
            [(module, export, offered)] => {
                let help = "build both modules against the same version of the contract";
                let found = differences(wanted, offered);
                self.mismatch(import, found, export, &format!("module `{module}`"), help);
                let provider = Provider { module: (*module).clone(), export: (*export).clone() };
                self.node.calls.insert(import.clone(), provider);
            }
            // One that could not be read may be the provider: that it couldn't be read was reported, and is all that is known.
            [] if self.module.calls.keys().any(|module| !self.artifacts.contains_key(module)) => {}
            [] if providers.is_empty() => self.nobody(import),
            [] => self.undeclared(import, &providers.iter().map(|(module, ..)| *module).collect::<Vec<_>>()),
            several => self.ambiguous(import, &several.iter().map(|(module, ..)| *module).collect::<Vec<_>>()),
        }
    }

    fn nobody(&mut self, import: &InterfaceName) {
        let own = self.node.artifact.shape.exports.keys().any(|export| export.serves(import));
        let others = self.artifacts.iter().filter(|(module, _)| *module != self.name).flat_map(|(module, artifact)| {
            let same = |export: &&InterfaceName| export.unversioned() == import.unversioned();
            artifact.shape.exports.keys().filter(same).map(move |export| format!("`{export}` (module `{module}`)"))
        });
        let others: Vec<String> = others.collect();
        let is_types_only = self.node.artifact.shape.imports[import].is_types_only();
        let help = if is_types_only && others.is_empty() {
            format!(
                "have the module that defines the resources of these types export `{import}` as well, or define the types in the \
                 interface that defines the resources"
            )
        } else if own && others.is_empty() {
            "no module is linked to itself: another one must export it".to_owned()
        } else if others.is_empty() {
            format!("add the module that exports it to the manifest, and to `calls` of [modules.{}]", self.name)
        } else {
            format!("no version is there that fits, only {}", others.join(", "))
        };
        let message = format!("nothing exports `{import}`, which module `{}` imports", self.name);
        self.problems.push(self.problem(Code::MissingExport, message).interface(import).help(help));
    }

    fn undeclared(&mut self, import: &InterfaceName, providers: &[&ModuleName]) {
        let names = providers.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        let message =
            format!("module `{}` imports `{import}`, and its `calls` names no module that exports it", self.name);
        let help = format!("add {names} to `calls` of [modules.{}]", self.name);
        self.problems.push(self.problem(Code::UndeclaredCall, message).interface(import).help(help));
    }

    fn ambiguous(&mut self, import: &InterfaceName, providers: &[&ModuleName]) {
        let names = list(providers);
        let message =
            format!("module `{}` imports `{import}`, which several that it may call export: {names}", self.name);
        let help = format!("name just one of them in `calls` of [modules.{}]", self.name);
        self.problems.push(self.problem(Code::Ambiguous, message).interface(import).help(help));
    }

    /// Reports what differs between an import and the export that would serve it.
    fn mismatch(
        &mut self,
        import: &InterfaceName,
        found: Vec<Difference>,
        export: &InterfaceName,
        provider: &str,
        help: &str,
    ) {
        let there = if import == export { String::new() } else { format!(" (`{export}`)") };
        let importer = self.name;
        self.differ(found, import, help, |function| {
            let what = function.map_or_else(String::new, |function| format!("`{function}` of "));
            format!("{what}`{import}` differs between module `{importer}`, which imports it, and {provider}{there}")
        });
    }

    /// Reports every difference under `interface`, with a message that knows the function.
    fn differ(
        &mut self,
        found: Vec<Difference>,
        interface: &InterfaceName,
        help: &str,
        message: impl Fn(Option<&str>) -> String,
    ) {
        for difference in found {
            let message = message(difference.function.as_deref());
            let problem = self.problem(Code::TypeMismatch, message).interface(interface).help(help);
            let mut problem = problem.expected(difference.expected, difference.found);
            problem.function = difference.function;
            problem.type_path = difference.type_path;
            self.problems.push(problem);
        }
    }
}

/// Which of a module's exports serves `import`: the very version, or else the newest that fits.
fn best<'a>(
    import: &InterfaceName,
    exports: &'a BTreeMap<InterfaceName, Interface>,
) -> Option<(&'a InterfaceName, &'a Interface)> {
    let newest = || {
        let fitting = exports.iter().filter(|(export, _)| export.serves(import));
        fitting.max_by(|(a, _), (b, _)| a.compare_versions(b))
    };
    exports.get_key_value(import).or_else(newest)
}
