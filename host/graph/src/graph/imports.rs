//! Resolves one module's imports: one callable module or the host serves each import, or the import is reported as a
//! problem.
//!
//! This file also checks the types of exports that the host itself calls.

mod function;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::provided::{self, HostService, Offers};
use super::{Node, Provider};
use watertight_component::artifact::{Artifact, FAKE};
use watertight_component::shape::{Difference, Interface, Type, differences, exact_differences};
use watertight_model::config::{AppConfig, ModuleConfig};
use watertight_model::ids::{CapabilityName, InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, list_names};

/// An export of a module that can serve an import.
struct Offer<'a> {
    module: &'a ModuleName,
    /// The name of the export. [`InterfaceName::world`] for a function that a world exports directly.
    export: &'a InterfaceName,
    /// The function's name, if the import is a function.
    function: Option<Arc<str>>,
    interface: Cow<'a, Interface>,
}

/// The state of resolving one module's imports: the inputs, and the problems found so far.
struct Resolver<'a> {
    name: &'a ModuleName,
    module: &'a ModuleConfig,
    config: &'a AppConfig,
    offers: &'a Offers<'a>,
    artifacts: &'a BTreeMap<ModuleName, Arc<Artifact>>,
    problems: &'a mut Vec<Problem>,
    node: Node,
}

/// Resolves all imports of the module `name`: finds the module or the host that serves each. Adds each fault to `problems`.
pub(super) fn resolve(
    name: &ModuleName,
    module: &ModuleConfig,
    artifact: &Arc<Artifact>,
    config: &AppConfig,
    offers: &Offers<'_>,
    artifacts: &BTreeMap<ModuleName, Arc<Artifact>>,
    problems: &mut Vec<Problem>,
) -> Node {
    let declared = config.capabilities.all().iter().map(|declaration| &declaration.name);
    let node = Node {
        artifact: artifact.clone(),
        calls: BTreeMap::new(),
        capabilities: BTreeMap::new(),
        granted: declared.filter(|name| module.uses.contains_key(*name)).cloned().collect(),
        has_database: config.keeps_data(module),
        resume: module.resume,
    };
    let mut resolver = Resolver { name, module, config, offers, artifacts, problems, node };
    resolver.check_has_code(artifact);
    resolver.check_bare(artifact);
    resolver.check_called_by_host(artifact);
    for (import, wanted) in &artifact.shape.imports {
        let has_handle = || wanted.types.values().any(Type::has_handle);
        // An interface that has only value types needs no provider. A handle needs the provider that defines its
        // resource.
        let is_named_by_a_module = || !provided::is_host_namespace(wanted.identity(import)) && has_handle();
        if import.is_world() {
            resolver.report_unservable(artifact, wanted);
        } else if !wanted.is_types_only() || is_named_by_a_module() {
            resolver.import(import, wanted);
        } else if import.is_label() && has_handle() {
            resolver.not_by_label(import, wanted.identity(import), "its types have handles");
        }
    }
    resolver.node
}

impl Resolver<'_> {
    /// Creates a problem of this module with the line of its manifest entry.
    fn problem(&self, code: Code, message: String) -> Problem {
        Problem::new(code, message).module(self.name).file(&self.config.manifest).line(self.module.line)
    }

    /// Reports a component that has only the exports of a contract. Only a host that fakes the module can answer its calls.
    fn check_has_code(&mut self, artifact: &Artifact) {
        if artifact.language() == Some(FAKE) && !self.module.is_fake {
            let message = format!("the component of module `{}` is a fake: it has no code", self.name);
            let help = format!(
                "build the module; fakes answer only in `watertight test` and `watertight dev`, with `--fake {0}=…`",
                self.name
            );
            let problem = Problem::new(Code::NotAComponent, message).module(self.name).file(&artifact.path);
            self.problems.push(problem.help(help));
        }
    }

    fn check_bare(&mut self, artifact: &Artifact) {
        for name in &artifact.shape.bare_imports {
            let message = format!(
                "module `{}` imports `{name}`, which is a resource or a component in its world, outside of any interface",
                self.name
            );
            self.problems.push(Problem::new(Code::MissingExport, message).module(self.name).file(&artifact.path).help(
                format!(
                    "nothing can serve `{name}`: define it in an interface of a package, and import that interface"
                ),
            ));
        }
    }

    /// Checks the types of an export that the host itself calls. The host is a consumer like any module, so the export must fit the host's
    /// contract.
    fn check_called_by_host(&mut self, artifact: &Artifact) {
        let (name, wanted) = provided::resume();
        for (export, offered) in artifact.shape.exports.iter().filter(|(export, _)| export.can_serve(name)) {
            let message =
                format!("`{export}` of module `{}` does not match the host's contract of that name", self.name);
            let help = format!("build the module against the host's own contract, `{}`", name.package());
            self.differ(differences(wanted, offered), name, &help, |_| message.clone());
        }
    }

    fn import(&mut self, import: &InterfaceName, wanted: &Interface) {
        let identity = wanted.identity(import);
        match self.offers.provision(identity) {
            Some(HostService::WithIdentity(capability, name, offered)) => {
                if capability.is_none_or(|capability| self.granted(capability, identity)) {
                    let help = format!("build the module against the host's own contract, `{}`", name.package());
                    // A draft may use other type names. It has only value types, which are compared by structure.
                    let is_itself = name.unversioned() == identity.unversioned();
                    let found =
                        if is_itself { exact_differences(wanted, offered) } else { differences(wanted, offered) };
                    self.mismatch(identity, found, name, "the host", &help);
                    self.node.capabilities.insert(import.clone(), name.clone());
                }
            }
            Some(HostService::Wasi(_)) if import.is_label() && provided::is_shared(identity) => {
                self.not_by_label(import, identity, "all modules of a compartment share its resources");
            }
            Some(HostService::Wasi(capability)) => {
                if capability.is_none_or(|capability| self.granted(capability, identity)) {
                    self.wasi(import, identity, wanted);
                }
            }
            None if provided::is_handler(identity) => self.handler(import, identity, wanted),
            None if provided::is_host_namespace(identity) => self.report_unknown(identity),
            None => self.call(import, wanted),
        }
    }

    /// Reports an import under a label of an interface that a module can import only under the interface's own name. `why` is the reason,
    /// for the message.
    fn not_by_label(&mut self, import: &InterfaceName, identity: &InterfaceName, why: &str) {
        let message = format!("module `{}` imports `{identity}` under the label `{import}`: {why}", self.name);
        let help = format!("in the module's world, write `import {identity};`");
        self.problems.push(self.problem(Code::MissingExport, message).interface(identity).help(help));
    }

    /// Resolves an import of a WASI interface.
    fn wasi(&mut self, import: &InterfaceName, identity: &InterfaceName, wanted: &Interface) {
        if let Some((name, offered)) = provided::wasi_interface(identity) {
            let help = "build the module with the interfaces of a release of WASI 0.2";
            self.mismatch(identity, differences(wanted, offered), name, "the host", help);
        }
        if !provided::is_shared(identity) {
            self.node.capabilities.insert(import.clone(), identity.clone());
        }
    }

    /// Resolves an import of an HTTP handler: a module in `calls` serves it, or the host, if the importing module is a middleware.
    fn handler(&mut self, import: &InterfaceName, identity: &InterfaceName, wanted: &Interface) {
        let allowed = self.module.calls.for_import(import, identity);
        let serves = |module: &&ModuleName| {
            let artifact = self.artifacts.get(*module);
            artifact.is_some_and(|artifact| best_export(identity, &artifact.shape.exports).is_some())
        };
        let is_middleware = self.config.middlewares.iter().any(|middleware| middleware.module.value == *self.name);
        if allowed.iter().any(serves) {
            self.call(import, wanted);
        } else if !is_middleware || !provided::is_passing_import(identity) {
            let message = format!(
                "module `{}` imports `{identity}`, which this host serves only to middlewares, and only in WASI 0.3",
                self.name
            );
            let help = format!(
                "write `[[middleware]]` with a `path` and `module = \"{0}\"` in a route file, or name a module that exports the handler in \
                 `calls` of [modules.{0}]",
                self.name
            );
            self.problems.push(self.problem(Code::MissingExport, message).interface(identity).help(help));
        } else if import.is_label() {
            self.not_by_label(import, identity, "the host serves it to a middleware under its own name");
        }
    }

    fn granted(&mut self, capability: &CapabilityName, import: &InterfaceName) -> bool {
        let granted = self.module.uses.contains_key(capability);
        if !granted {
            let message = format!("module `{}` imports `{import}`, which the manifest doesn't grant", self.name);
            let help = format!("add \"{capability}\" to `uses` of [modules.{}]", self.name);
            self.problems.push(self.problem(Code::Ungranted, message).interface(import).help(help));
        }
        granted
    }

    /// Reports an import from a host namespace (`wasi`, `watertight`) that this host does not serve.
    fn report_unknown(&mut self, import: &InterfaceName) {
        if let Some(why) = provided::unservable(import) {
            let message = format!("module `{}` imports `{import}`, which this host can't serve: {why}", self.name);
            let help = "use only `wasi:keyvalue/store`; for atomic changes, use a transaction of `watertight:sql`";
            self.problems.push(self.problem(Code::MissingExport, message).interface(import).help(help));
            return;
        }
        let message = format!("module `{}` imports `{import}`, which this host doesn't have", self.name);
        let help = format!("this host has {}", self.offers.nearest(import));
        self.problems.push(self.problem(Code::MissingExport, message).interface(import).help(help));
    }

    /// Resolves an import that only another module can serve.
    fn call(&mut self, import: &InterfaceName, wanted: &Interface) {
        let identity = wanted.identity(import);
        if let Some(function) = self.module.calls.function_for(import).filter(|_| !wanted.is_function) {
            return self.report_no_function(import, identity, function);
        }
        let others = self.artifacts.iter().filter(|(module, _)| *module != self.name);
        let offers: Vec<Offer<'_>> =
            others.filter_map(|(module, artifact)| self.offer(import, wanted, module, artifact)).collect();
        let allowed = self.module.calls.for_import(import, identity);
        let callable: Vec<&Offer<'_>> = offers.iter().filter(|offer| allowed.contains(offer.module)).collect();
        let modules = || offers.iter().map(|offer| offer.module).collect::<Vec<_>>();
        match callable.as_slice() {
            [Offer { module, export, function, interface }] => {
                let found = differences(wanted, interface);
                match function {
                    Some(function) => self.function_mismatch(import, found, module, function),
                    None => {
                        let help = "build both modules against the same version of the contract";
                        self.mismatch(identity, found, export, &format!("module `{module}`"), help);
                    }
                }
                let (module, export) = ((*module).clone(), (*export).clone());
                self.node.calls.insert(import.clone(), Provider { module, export, function: function.clone() });
            }
            // The provider may be a module whose component could not be read. The unreadable component was reported
            // already.
            [] if allowed.iter().any(|module| !self.artifacts.contains_key(*module)) => {}
            [] if wanted.is_function && self.module.calls.is_table() && !allowed.is_empty() => {
                allowed.into_iter().for_each(|module| self.report_missing_function(import, module));
            }
            [] if wanted.is_function && offers.is_empty() => self.report_no_function_provider(import, wanted),
            [] if offers.is_empty() => self.report_no_provider(import, identity),
            [] if self.module.calls.is_table() && !allowed.is_empty() => {
                self.report_missing_export(import, identity, &allowed.into_iter().collect::<Vec<_>>(), &modules());
            }
            [] => self.report_undeclared(import, wanted, &modules()),
            several => {
                self.report_ambiguous(import, wanted, &several.iter().map(|offer| offer.module).collect::<Vec<_>>());
            }
        }
    }

    /// Returns what `module` exports for an import. `None` if it exports nothing of that name.
    fn offer<'b>(
        &self,
        import: &InterfaceName,
        wanted: &Interface,
        module: &'b ModuleName,
        artifact: &'b Artifact,
    ) -> Option<Offer<'b>> {
        let exports = &artifact.shape.exports;
        if !wanted.is_function {
            let (export, interface) = best_export(wanted.identity(import), exports)?;
            return Some(Offer { module, export, function: None, interface: Cow::Borrowed(interface) });
        }
        let (export, world) = exports.get_key_value(&InterfaceName::world())?;
        let name = self.module.calls.function_for(import).unwrap_or(import.as_str());
        let interface = Cow::Owned(Interface::of_function(import.as_str(), world.functions.get(name)?.clone()));
        Some(Offer { module, export, function: Some(name.into()), interface })
    }

    fn report_no_provider(&mut self, import: &InterfaceName, identity: &InterfaceName) {
        let own = self.node.artifact.shape.exports.keys().any(|export| export.can_serve(identity));
        let others = self.artifacts.iter().filter(|(module, _)| *module != self.name).flat_map(|(module, artifact)| {
            let same = |(name, export): &(&InterfaceName, &Interface)| {
                export.identity(name).unversioned() == identity.unversioned()
            };
            let exports = artifact.shape.exports.iter().filter(same);
            exports
                .map(move |(name, export)| format!("{} (module `{module}`)", display_name(name, export.identity(name))))
        });
        let others: Vec<String> = others.collect();
        let is_types_only = self.node.artifact.shape.imports[import].is_types_only();
        let help = if is_types_only && others.is_empty() {
            format!(
                "have the module that defines the resources of these types export `{import}` as well, or define the types in the \
                 interface that defines the resources"
            )
        } else if own && others.is_empty() {
            "a module can't serve its own import: another module must export it".to_owned()
        } else if others.is_empty() {
            format!(
                "add a module that exports the interface to the manifest, and to `calls` of [modules.{}]",
                self.name
            )
        } else {
            format!("no module exports a compatible version; there is only {}", others.join(", "))
        };
        let message =
            format!("nothing exports {}, which module `{}` imports", display_name(import, identity), self.name);
        self.problems.push(self.problem(Code::MissingExport, message).interface(identity).help(help));
    }

    /// Reports an import for which the table `calls` names a module that does not export it.
    fn report_missing_export(
        &mut self,
        import: &InterfaceName,
        identity: &InterfaceName,
        named: &[&ModuleName],
        providers: &[&ModuleName],
    ) {
        let message = format!(
            "`calls` of module `{}` names {} for {}, which {} not export it",
            self.name,
            list_names(named),
            display_name(import, identity),
            if named.len() == 1 { "does" } else { "do" }
        );
        let help = format!("name a module that exports the interface: {}", list_names(providers));
        self.problems.push(self.problem(Code::MissingExport, message).interface(identity).help(help));
    }

    fn report_undeclared(&mut self, import: &InterfaceName, wanted: &Interface, providers: &[&ModuleName]) {
        let identity = wanted.identity(import);
        let what = if self.module.calls.is_table() { "for it" } else { "that exports it" };
        let message = format!(
            "module `{}` imports {}, and its `calls` names no module {what}",
            self.name,
            display_import(import, wanted)
        );
        let help = if self.module.calls.is_table() {
            let lines = providers.iter().map(|provider| format!("`{}`", calls_entry(import, identity, provider)));
            format!("add {} to `calls` of [modules.{}]", lines.collect::<Vec<_>>().join(" or "), self.name)
        } else {
            let names = providers.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
            format!("add {names} to `calls` of [modules.{}]", self.name)
        };
        let problem = self.problem(Code::UndeclaredCall, message).help(help);
        self.problems.push(at_import(problem, import, wanted));
    }

    fn report_ambiguous(&mut self, import: &InterfaceName, wanted: &Interface, providers: &[&ModuleName]) {
        let (names, identity) = (list_names(providers), wanted.identity(import));
        let message = format!(
            "module `{}` imports {}, which several modules in its `calls` export: {names}",
            self.name,
            display_import(import, wanted)
        );
        let help = format!(
            "name just one of them in `calls` of [modules.{}], or say which one serves this import: `calls = {{ {}, … }}`",
            self.name,
            calls_entry(import, identity, providers[0])
        );
        let problem = self.problem(Code::Ambiguous, message).help(help);
        self.problems.push(at_import(problem, import, wanted));
    }

    /// Reports the differences between the types of an import and those of the export that would serve it.
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

    /// Reports every difference in `found`, each with `interface` as its place. `message` makes a problem's text from the name of the
    /// differing function.
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

/// Formats an import for a message: `the function` and its name, or what [`display_name`] returns.
fn display_import(import: &InterfaceName, wanted: &Interface) -> String {
    if wanted.is_function { format!("the function `{import}`") } else { display_name(import, wanted.identity(import)) }
}

/// Adds an import to a problem as its place.
fn at_import(problem: Problem, import: &InterfaceName, wanted: &Interface) -> Problem {
    if wanted.is_function { problem.function(import.as_str()) } else { problem.interface(wanted.identity(import)) }
}

/// Formats an import or export for a message: its name, followed by its interface if the name is a label.
fn display_name(name: &InterfaceName, identity: &InterfaceName) -> String {
    if name == identity { format!("`{name}`") } else { format!("`{name}` (`{identity}`)") }
}

/// Formats the entry of a table `calls` that makes `module` serve an import.
fn calls_entry(import: &InterfaceName, identity: &InterfaceName, module: &ModuleName) -> String {
    if import.is_label() {
        format!("{import} = \"{module}\"")
    } else {
        format!("\"{}\" = \"{module}\"", identity.unversioned())
    }
}

/// Chooses the export that serves an import of the interface `wanted`: the same version, or else the newest compatible version. An export
/// under a label counts only if the module exports the interface under one label. `None` if no export can serve the import.
fn best_export<'a>(
    wanted: &InterfaceName,
    exports: &'a BTreeMap<InterfaceName, Interface>,
) -> Option<(&'a InterfaceName, &'a Interface)> {
    let newest = || {
        let fitting = exports.iter().filter(|(export, _)| export.can_serve(wanted));
        fitting.max_by(|(a, _), (b, _)| a.compare_versions(b))
    };
    let labelled = || {
        let mut fitting =
            exports.iter().filter(|(_, export)| export.implements.as_ref().is_some_and(|name| name.can_serve(wanted)));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    exports.get_key_value(wanted).or_else(newest).or_else(labelled)
}
