//! Compares a candidate with the running application to refuse it or to explain why it is refused.

use std::collections::BTreeSet;

use crate::application::Artifacts;
use watertight_component::artifact::Artifact;
use watertight_graph::graph::{AppGraph, is_host_namespace};
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Code, Problem, Problems};

/// Refuses builds that lack a contraction of the running build. A contraction is a migration that older builds do not survive.
pub(super) fn refuse_lost_contractions(running: &AppGraph, artifacts: &Artifacts) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for (name, node) in &running.modules {
        let known = artifacts.get(name).map_or(usize::MAX, |artifact| artifact.migrations().len());
        for migration in node.artifact.migrations().iter().skip(known) {
            if migration.is_contraction() {
                let message = format!("the older build doesn't know the migration `{}`, a contraction", migration.name);
                let problem = Problem::new(Code::Migration, message).module(name);
                problems.push(
                    problem.help(
                        "swap in a new build with the behaviour of the older one that works with the newer schema",
                    ),
                );
            }
        }
    }
    Problems::ok_or_problems(problems, ())
}

/// Adds hints to the problems of a change where a component seems to be that of another module. For a swap (`is_swap`), a hint replaces
/// all other problems, because they follow from the mix-up and their advice would mislead.
pub(super) fn explain_mixed_up_components(
    problems: Problems,
    running: &AppGraph,
    artifacts: &Artifacts,
    is_swap: bool,
) -> Problems {
    let mut found = Vec::new();
    for (name, node) in &running.modules {
        let Some(given) = artifacts.get(name).map(|artifact| interfaces(artifact)) else { continue };
        if given.is_empty() || !given.is_disjoint(&interfaces(&node.artifact)) {
            continue;
        }
        // A module that is removed can't be meant: its code may have moved to this module on purpose.
        let is_meant =
            |other: &ModuleName, artifact: &Artifact| artifacts.contains_key(other) && given == interfaces(artifact);
        if let Some((other, _)) = running.modules.iter().find(|(other, node)| is_meant(other, &node.artifact)) {
            let message = format!(
                "the component given for module `{name}` exports the interfaces of module `{other}` and none of its own"
            );
            let help = format!("send it for module `{other}`, or send a build of `{name}`");
            found.push(Problem::new(Code::MissingExport, message).module(name).help(help));
        }
    }
    if found.is_empty() || !is_swap {
        found.extend(problems.into_vec());
    }
    found.into()
}

/// Returns the interfaces that a component exports, without versions. Leaves out those that the host itself calls, since every module may
/// export them.
fn interfaces(artifact: &Artifact) -> BTreeSet<String> {
    let own = artifact.shape.exports.keys().filter(|export| !is_host_namespace(export));
    own.map(|export| export.unversioned().to_owned()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use watertight_component::profile::EngineNeeds;
    use watertight_component::shape::{Interface, Shape};
    use watertight_model::config::{self, Overrides};
    use watertight_model::ids::Digest;

    /// Returns test components with the given module names and exported interfaces.
    fn artifacts(given: &[(&str, &[&str])]) -> Artifacts {
        let artifact = |(name, exports): &(&str, &[&str])| {
            let exports: BTreeMap<_, _> =
                exports.iter().map(|export| (export.parse().unwrap(), Interface::default())).collect();
            let artifact = Artifact {
                path: format!("{name}.wasm").into(),
                bytes: bytes::Bytes::new(),
                digest: Digest::of(&[]),
                shape: Shape { exports, ..Shape::default() },
                needs: EngineNeeds::default(),
                section: None,
            };
            (name.parse().unwrap(), Arc::new(artifact))
        };
        given.iter().map(artifact).collect()
    }

    /// Returns the module that the hint names as the owner of a component in `given`; `None` if there is no hint.
    fn meant(running: &[(&str, &[&str])], given: &[(&str, &[&str])]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let modules = running.iter().map(|(name, _)| format!("[modules.{name}]\ncomponent = \"{name}.wasm\"\n"));
        let manifest = format!("[app]\nname = \"demo\"\n{}", modules.collect::<String>());
        fs::write(folder.path().join("app.toml"), manifest).unwrap();
        let config = config::load(folder.path(), &Overrides::default()).unwrap();
        let graph = AppGraph::build(&config, &artifacts(running)).graph;
        let other = Problem::new(Code::BadValue, "something else");
        let told = explain_mixed_up_components(other.clone().into(), &graph, &artifacts(given), false).into_vec();
        assert_eq!(told.last().map(|last| &last.message), Some(&other.message), "the hint hides the problem");
        let of_swap = explain_mixed_up_components(other.into(), &graph, &artifacts(given), true).into_vec();
        assert_eq!(
            (of_swap.len(), &of_swap[0].message),
            (1, &told[0].message),
            "a swap reports other problems than one of the two"
        );
        (told.len() > 1).then(|| {
            told[0].message.split("interfaces of module `").nth(1).unwrap().split('`').next().unwrap().to_owned()
        })
    }

    const ONE: (&str, &[&str]) = ("one", &["t:one/api@1.0.0", "watertight:app/resume@1.0.0"]);
    const TWO: (&str, &[&str]) = ("two", &["t:two/api@1.0.0", "watertight:app/resume@1.0.0"]);

    #[test]
    fn another_module_s_component_is_known_by_its_exports() {
        assert_eq!(meant(&[ONE, TWO], &[ONE, ("two", ONE.1)]), Some("one".to_owned()));
        assert_eq!(meant(&[ONE, TWO], &[ONE, ("two", &["t:one/api@2.0.0"])]), Some("one".to_owned()));
        assert_eq!(meant(&[ONE, TWO], &[ONE, ("two", &["t:two/api@2.0.0", "t:one/api@1.0.0"])]), None);
        assert_eq!(meant(&[ONE, ("two", ONE.1)], &[ONE, ("two", ONE.1)]), None, "two builds may export the same");
        assert_eq!(meant(&[ONE, ("two", &[])], &[ONE, ("two", &[])]), None);
    }

    #[test]
    fn what_moved_or_only_exports_what_the_host_calls_is_no_other_module_s() {
        assert_eq!(meant(&[ONE, TWO], &[("two", ONE.1)]), None, "the module `one` is removed");
        let only_resume: &[&str] = &["watertight:app/resume@1.0.0"];
        let two: (&str, &[&str]) = ("two", &["t:two/api@1.0.0"]);
        assert_eq!(meant(&[("one", only_resume), two], &[("one", only_resume), ("two", only_resume)]), None);
    }
}
