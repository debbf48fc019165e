//! The identity of linked code: one digest of everything that a compartment's code depends on.
//!
//! Compartments with equal identities share code.

use watertight_graph::graph::{AppGraph, Compartment};
use watertight_model::ids::Digest;

/// Returns the identity of a compartment's code. It covers the components in their order, the modules that serve their imports, and the
/// instance mode. It does not cover the compartment's name or the modules' configuration.
pub fn identity(graph: &AppGraph, compartment: &Compartment) -> Digest {
    let modules: Vec<_> = compartment
        .modules
        .iter()
        .map(|module| {
            let node = &graph.modules[module];
            let calls: Vec<_> = node
                .calls
                .iter()
                .map(|(import, to)| (import, &to.module, &to.export, to.function.as_deref()))
                .collect();
            (module, node.artifact.digest, calls)
        })
        .collect();
    let text = serde_json::to_vec(&(compartment.instances.mode.as_str(), modules));
    Digest::of(&text.expect("names and digests are JSON"))
}
