//! Notes on what no request reaches: exports that no route names, no mount or middleware uses, no module imports and the host does not
//! call, entries of `calls` that have no effect, and `instances.concurrent` where no requests can share an instance.
//!
//! These are notes and no faults. `watertight call` and contract suites reach such functions, and an application may be
//! built in steps.

use crate::graph::{AppGraph, Compartment, Node, is_called_by_host, is_handler, is_host_namespace};
use watertight_component::shape::Interface;
use watertight_model::config::{AppConfig, InstanceMode};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem};

use super::mount::HandlerVersion;
use super::{Middleware, Mount, RouteTable};

/// Returns a note for each export and each entry of `calls` that nothing uses, in the order of modules.
pub fn unreached_notes(config: &AppConfig, graph: &AppGraph, routes: &RouteTable) -> Vec<Problem> {
    let mut notes = Notes { config, graph, routes, notes: Vec::new() };
    for (module, node) in &graph.modules {
        notes.exports(module, node);
        notes.calls(module, node);
        notes.listed(module, node);
    }
    graph.compartments.iter().for_each(|compartment| notes.concurrent(compartment));
    notes.notes
}

struct Notes<'a> {
    config: &'a AppConfig,
    graph: &'a AppGraph,
    routes: &'a RouteTable,
    notes: Vec<Problem>,
}

impl Notes<'_> {
    fn exports(&mut self, module: &ModuleName, node: &Node) {
        for (name, interface) in &node.artifact.shape.exports {
            if name.is_world() {
                let functions =
                    interface.functions.keys().filter(|function| !self.is_function_reached(module, name, function));
                for function in functions.cloned().collect::<Vec<_>>() {
                    let message = format!(
                        "no route names `{module}.{function}`, which the world of module `{module}` exports, and no module imports it"
                    );
                    let note = self.note(module, node, message).function(&*function);
                    self.notes.push(note.help(
                        "`watertight call` and contract suites reach this function, requests don't: add a route to it, or let a module import it",
                    ));
                }
            } else if !interface.functions.is_empty() && !self.is_reached(module, name) {
                let note = self.unreached(module, node, name, interface);
                self.notes.push(note.interface(interface.identity(name)));
            }
        }
        for name in &node.artifact.shape.bare_exports {
            let message = format!("module `{module}` exports `{name}`, which is neither an interface nor a function");
            let note = self.note(module, node, message);
            self.notes.push(note.help("nothing can reach this export: leave it out of the module's world"));
        }
    }

    fn is_routed(&self, module: &ModuleName, interface: &InterfaceName, function: Option<&str>) -> bool {
        let mut routes = self.routes.routes().iter();
        routes.any(|route| {
            route.module == *module
                && route.interface == *interface
                && function.is_none_or(|function| route.function == function)
        })
    }

    /// Iterates over the mounts of a module.
    fn mounts(&self, module: &ModuleName) -> impl Iterator<Item = &Mount> {
        self.routes.mounts().iter().filter(move |mount| mount.module == *module)
    }

    /// Whether a middleware is the handler that a module exports under this name.
    fn is_middleware(&self, module: &ModuleName, export: &InterfaceName) -> bool {
        let is_it = |one: &Middleware| one.module == *module && one.interface == *export;
        self.routes.middlewares().iter().any(is_it)
    }

    fn is_reached(&self, module: &ModuleName, export: &InterfaceName) -> bool {
        let mut providers = self.graph.modules.values().flat_map(|node| node.calls.values());
        is_called_by_host(export)
            || self.is_routed(module, export, None)
            || self.mounts(module).any(|mount| mount.interface == *export)
            || self.is_middleware(module, export)
            || providers.any(|provider| provider.module == *module && provider.export == *export)
    }

    /// Whether a route names a function that a world exports directly, or another module imports it.
    fn is_function_reached(&self, module: &ModuleName, world: &InterfaceName, function: &str) -> bool {
        let mut providers = self.graph.modules.values().flat_map(|node| node.calls.values());
        self.is_routed(module, world, Some(function))
            || providers.any(|provider| provider.module == *module && provider.function.as_deref() == Some(function))
    }

    fn unreached(&self, module: &ModuleName, node: &Node, name: &InterfaceName, interface: &Interface) -> Problem {
        let identity = interface.identity(name);
        if is_handler(identity) {
            return self.unreached_handler(module, node, name, identity);
        }
        if is_host_namespace(identity) {
            let message = format!("module `{module}` exports `{name}`, which this host never calls");
            return self
                .note(module, node, message)
                .help("leave the export out of the module's world, or call it by `watertight call`");
        }
        let message =
            format!("no route names a function of `{name}`, which module `{module}` exports, and no module imports it");
        self.note(module, node, message)
            .help("`watertight call` and contract suites reach this interface, requests don't: add a route to it, or let a module import it")
    }

    fn unreached_handler(
        &self,
        module: &ModuleName,
        node: &Node,
        name: &InterfaceName,
        identity: &InterfaceName,
    ) -> Problem {
        if HandlerVersion::of(identity).is_none() {
            let message =
                format!("module `{module}` exports `{name}`, which this host doesn't serve: requests don't reach it");
            let help = format!("this host serves {}", HandlerVersion::list_served());
            return self.note(module, node, message).help(help);
        }
        let message =
            format!("no mount and no middleware uses the HTTP handler `{name}`, which module `{module}` exports");
        let help = match self.mounts(module).next() {
            Some(Mount { interface, .. }) => format!("the mounts of the module use `{interface}`: leave the other out"),
            None => format!("add a mount: write `[[mount]]` with a `path` and `module = \"{module}\"` in a route file"),
        };
        self.note(module, node, message).help(help)
    }

    /// Notes the entries of a table `calls` of the manifest that match no import of the module that a module serves.
    fn calls(&mut self, module: &ModuleName, node: &Node) {
        let Some(config) = self.config.modules.get(module) else { return };
        let imports: Vec<_> =
            node.artifact.shape.imports.iter().map(|(name, interface)| (name, interface.identity(name))).collect();
        let unknown = config.calls.unused(&imports);
        let served: Vec<_> = imports.into_iter().filter(|(import, _)| node.calls.contains_key(*import)).collect();
        for (key, line) in config.calls.unused(&served) {
            let (why, help) = if unknown.contains(&(key, line)) {
                (
                    "which the module doesn't import",
                    "leave the entry out, or name the import as the module's world does",
                )
            } else {
                (
                    "which no module can serve: the entry has no effect",
                    "leave the entry out: the host serves the interface itself, or the interface has only types and needs no one to serve it",
                )
            };
            let message = format!("`calls` of module `{module}` says who serves `{key}`, {why}");
            let note = Problem::new(Code::Unreached, message).module(module).file(&self.config.manifest).line(line);
            self.notes.push(note.help(help));
        }
    }

    /// Notes the modules in a list `calls` of the manifest that serve no import of the module.
    fn listed(&mut self, module: &ModuleName, node: &Node) {
        let Some(config) = self.config.modules.get(module).filter(|config| !config.calls.is_table()) else { return };
        let serves = |callee: &ModuleName| node.calls.values().any(|provider| provider.module == *callee);
        for (callee, line) in config.calls.iter().filter(|(callee, _)| !serves(callee)) {
            let message = format!("`calls` of module `{module}` names `{callee}`, of which the module imports nothing");
            let note = Problem::new(Code::Unreached, message).module(module).file(&self.config.manifest).line(line);
            self.notes.push(note.help("leave the entry out, or let the module's world import what it calls"));
        }
    }

    /// Notes a compartment of the manifest whose instances no requests can share, although `instances.concurrent` says so.
    fn concurrent(&mut self, compartment: &Compartment) {
        let Compartment { name, modules, instances, .. } = compartment;
        let Some(config) = self.config.compartments.get(name).filter(|_| instances.concurrent.get() > 1) else {
            return;
        };
        let is_shared = |mount: &Mount| mount.version == HandlerVersion::P3;
        let is_middleware = |module: &ModuleName| self.routes.middlewares().iter().any(|one| one.module == *module);
        let missing = match instances.mode {
            InstanceMode::Fresh => "with `mode = \"fresh\"`, each call has new instances",
            InstanceMode::Reuse
                if modules.iter().any(|module| self.mounts(module).any(is_shared) || is_middleware(module)) =>
            {
                return;
            }
            InstanceMode::Reuse => "no mount and no middleware uses a handler of WASI 0.3 in it",
        };
        let message = format!("no requests share an instance of compartment `{name}`: {missing}");
        let note = Problem::new(Code::Unreached, message).file(&self.config.manifest).line(config.line);
        self.notes.push(note.help("leave `instances.concurrent` out: it is for handlers of `wasi:http` 0.3"));
    }

    /// Creates a note on a module with the line of its manifest entry.
    fn note(&self, module: &ModuleName, node: &Node, message: String) -> Problem {
        let note = Problem::new(Code::Unreached, message).module(module);
        match self.config.modules.get(module) {
            Some(config) => note.file(&self.config.manifest).line(config.line),
            None => note.file(&node.artifact.path),
        }
    }
}
