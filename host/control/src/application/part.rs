//! Parts of an application: some modules without the rest, for contract suites and for calls where no host runs.

use std::collections::BTreeSet;

use watertight_graph::graph::AppGraph;
use watertight_model::config::AppConfig;
use watertight_model::ids::ModuleName;

/// Returns a module and all modules that it calls directly or indirectly.
pub fn needed(graph: &AppGraph, module: &ModuleName) -> BTreeSet<ModuleName> {
    let (mut needed, mut open) = (BTreeSet::new(), vec![module.clone()]);
    while let Some(module) = open.pop() {
        if let Some(node) = graph.modules.get(&module) {
            open.extend(node.calls.values().map(|provider| provider.module.clone()));
        }
        needed.insert(module);
        open.retain(|module| !needed.contains(module));
    }
    needed
}

/// Removes all other modules, all routes and all mounts from the configuration.
pub fn retain_modules(config: &mut AppConfig, modules: &BTreeSet<ModuleName>) {
    config.routes.clear();
    config.mounts.clear();
    // A module that passes requests on must stand in a table.
    config.middlewares.retain(|middleware| modules.contains(&middleware.module.value));
    config.modules.retain(|name, _| modules.contains(name));
    for module in config.modules.values_mut() {
        module.calls.retain(|name| modules.contains(name));
    }
    for compartment in config.compartments.values_mut() {
        compartment.modules.retain(|name| modules.contains(name));
    }
    config.compartments.retain(|_, compartment| !compartment.modules.is_empty());
}
