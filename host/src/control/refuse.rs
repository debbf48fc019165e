//! What a change is refused for, or a refusal explained with, by comparison with what runs.

use std::collections::BTreeSet;

use crate::application::Artifacts;
use crate::artifact::Artifact;
use crate::graph::AppGraph;
use crate::problem::{Code, Problem, Problems};

/// Refuses builds that don't know a migration of the running one which says of itself that older builds don't survive it.
pub(super) fn contracted(running: &AppGraph, artifacts: &Artifacts) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for (name, node) in &running.modules {
        let known = artifacts.get(name).map_or(usize::MAX, |artifact| artifact.migrations().len());
        for migration in node.artifact.migrations().iter().skip(known) {
            if migration.is_contraction() {
                let message = format!("the older build doesn't know the migration `{}`, a contraction", migration.name);
                let problem = Problem::new(Code::Migration, message).module(name);
                problems
                    .push(problem.help("swap in a new build that does what the older one did, on the newer schema"));
            }
        }
    }
    Problems::or(problems, ())
}

/// What a change is refused for; where a component seems to be another module's, that alone: all else only follows from it, and advice on
/// how to mend that would mislead.
pub(super) fn explained(problems: Problems, running: &AppGraph, artifacts: &Artifacts) -> Problems {
    let mut found = Vec::new();
    for (name, node) in &running.modules {
        let Some(given) = artifacts.get(name).map(|artifact| interfaces(artifact)) else { continue };
        if given.is_empty() || !given.is_disjoint(&interfaces(&node.artifact)) {
            continue;
        }
        let is_meant = |artifact: &Artifact| given == interfaces(artifact);
        if let Some((other, _)) = running.modules.iter().find(|(_, node)| is_meant(&node.artifact)) {
            let message =
                format!("what is given for module `{name}` exports what module `{other}` does, and nothing of its own");
            let help = format!("give it for `{other}`, or give a build of `{name}`");
            found.push(Problem::new(Code::MissingExport, message).module(name).help(help));
        }
    }
    if found.is_empty() { problems } else { found.into() }
}

/// What a component exports, in whatever versions.
fn interfaces(artifact: &Artifact) -> BTreeSet<String> {
    artifact.shape.exports.keys().map(|export| export.unversioned().to_owned()).collect()
}
