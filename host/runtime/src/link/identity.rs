//! What a compartment's linked code depends on, in one digest: where it is the same, the code that is linked already can be taken.

use watertight_graph::graph::{AppGraph, Compartment};
use watertight_model::ids::Digest;

/// The identity of a compartment of a graph: its modules' components in their order, who serves what they import, and how its
/// instances live. Names of compartments and what modules are configured with are no part of it.
pub fn identity(graph: &AppGraph, compartment: &Compartment) -> Digest {
    let modules: Vec<_> = compartment
        .modules
        .iter()
        .map(|module| {
            let node = &graph.modules[module];
            let calls: Vec<_> =
                node.calls.iter().map(|(import, provider)| (import, &provider.module, &provider.export)).collect();
            (module, node.artifact.digest, calls)
        })
        .collect();
    let text = serde_json::to_vec(&(compartment.instances.mode.as_str(), modules));
    Digest::of(&text.expect("names and digests are JSON"))
}
