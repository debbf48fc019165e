//! Notes on what no request reaches: exports that no route names, no module imports and the host does not call, and
//! entries of `calls` that match no import.
//!
//! These are notes and no faults. `watertight call` and contract suites reach such functions, and an application may be
//! built in steps.

use crate::graph::{AppGraph, Node, is_called_by_host, is_host_namespace};
use watertight_component::shape::Interface;
use watertight_model::config::AppConfig;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem};

use super::RouteTable;

/// The package whose interfaces other hosts call to hand over a request. This host uses routes instead.
const HANDLERS: &str = "wasi:http";

/// Returns a note for each export and each entry of `calls` that nothing uses, in the order of modules.
pub fn unreached_notes(config: &AppConfig, graph: &AppGraph, routes: &RouteTable) -> Vec<Problem> {
    let mut notes = Notes { config, graph, routes, notes: Vec::new() };
    for (module, node) in &graph.modules {
        notes.exports(module, node);
        notes.calls(module, node);
    }
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
                    interface.functions.keys().filter(|function| !self.is_routed(module, name, Some(function)));
                for function in functions.cloned().collect::<Vec<_>>() {
                    let message =
                        format!("no route names `{module}.{function}`, which the world of module `{module}` exports");
                    let note = self.note(module, node, message).function(&*function);
                    self.notes.push(note.help(
                        "`watertight call` and contract suites reach this function, requests don't: add a route to it",
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

    fn is_reached(&self, module: &ModuleName, export: &InterfaceName) -> bool {
        let mut providers = self.graph.modules.values().flat_map(|node| node.calls.values());
        is_called_by_host(export)
            || self.is_routed(module, export, None)
            || providers.any(|provider| provider.module == *module && provider.export == *export)
    }

    fn unreached(&self, module: &ModuleName, node: &Node, name: &InterfaceName, interface: &Interface) -> Problem {
        let identity = interface.identity(name);
        if identity.package() == HANDLERS {
            let message =
                format!("module `{module}` exports `{name}`, which this host doesn't serve: requests don't reach it");
            return self.note(module, node, message).help(
                "requests reach functions that routes name: export an interface of your own, and add routes to it",
            );
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

    /// Notes the entries of a table `calls` of the manifest that match no import of the module.
    fn calls(&mut self, module: &ModuleName, node: &Node) {
        let Some(config) = self.config.modules.get(module) else { return };
        let imports: Vec<_> =
            node.artifact.shape.imports.iter().map(|(name, interface)| (name, interface.identity(name))).collect();
        for (key, line) in config.calls.unused(&imports) {
            let message =
                format!("`calls` of module `{module}` says who serves `{key}`, which the module doesn't import");
            let note = Problem::new(Code::Unreached, message).module(module).file(&self.config.manifest).line(line);
            self.notes.push(note.help("leave the entry out, or name the import as the module's world does"));
        }
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
