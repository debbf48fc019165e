//! Fuzzes the custom section `watertight:module` of a component: it is read as it was written, or refused.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use wasm_encoder::{ComponentSection as _, CustomSection};
use watertight_component::artifact::{
    Artifact, ArtifactError, Docs, InterfaceDocs, ModuleSection, SECTION_NAME, SectionError,
};
use watertight_model::migration::Migration;
use watertight_model::problem::Problem;
use watertight_testkit::components::component;

use crate::mutate::{Change, changed, changes};
use crate::runner::{Outcome, fuzz};

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "format",
    "1",
    "2",
    "-1",
    "1e400",
    "name",
    "language",
    "build",
    "migrations",
    "docs",
    "sql",
    "checksum",
    "sha256:",
    "null",
    "true",
    "\\u0000",
    "\\ud83d",
    "a:b/c@1.0.0",
    "functions",
    "types",
    ".sql",
    "..",
    "/",
    "\0",
    "é",
];

fn json(migrations: Vec<Migration>, docs: Option<&str>) -> Option<Vec<u8>> {
    let interface = InterfaceDocs {
        docs: docs.map(Into::into),
        functions: [("go".to_owned(), "It goes.".into())].into(),
        types: [("draft.lines".to_owned(), "Its lines.".into())].into(),
    };
    let docs = Docs([("t:t/api@1.0.0".parse().unwrap(), interface)].into());
    let embedded = ModuleSection::new(b"", "a".parse().unwrap(), "rust", migrations, docs).ok()?;
    Some(serde_json::to_vec(&embedded).unwrap())
}

/// A generated case: names and texts of migrations, the documentation if there is any, changes that damage the section, and whether the
/// section occurs twice.
type Case = (Vec<(String, String)>, Option<String>, Vec<Change>, bool);

#[test]
fn section() {
    let plain = component("package t:t@1.0.0; interface api { go: func(); } world w { export api; }", "w");
    let good = proptest::collection::btree_map("[0-9]{4}[a-z_.-]{0,3}\\.sql", any::<String>(), 0..4);
    let bad = vec(("[0-9a-z_.-]{0,6}(\\.sql)?", any::<String>()), 0..4);
    let migrations = prop_oneof![4 => good.prop_map(|migrations| migrations.into_iter().collect()), 1 => bad];
    let case = (migrations, any::<Option<String>>(), changes(), any::<bool>());
    let outcomes = &["taken", "refused", "no such module"];
    fuzz("section", outcomes, case, |(migrations, docs, changes, twice): Case| -> Outcome {
        let migrations = migrations.into_iter().map(|(name, sql)| Migration::new(name, sql)).collect();
        let Some(json) = json(migrations, docs.as_deref()) else { return Ok("no such module") };
        let json = changed(&json, &changes, WORDS);
        let mut bytes = plain.clone();
        let section = CustomSection { name: SECTION_NAME.into(), data: json.as_slice().into() };
        section.append_to_component(&mut bytes);
        let once = Artifact::new(Path::new("a.wasm"), bytes.clone().into());
        if twice {
            section.append_to_component(&mut bytes);
            let again = Artifact::new(Path::new("a.wasm"), bytes.into());
            let refused = matches!(again, Err(ArtifactError::Section { source: SectionError::Twice, .. }));
            prop_assert!(refused, "two sections were taken");
        }
        match once {
            Ok(artifact) => {
                let embedded = artifact.section.clone().expect("there is one");
                prop_assert!(artifact.migrations().iter().all(Migration::is_intact));
                prop_assert!(artifact.migrations().is_sorted_by(|one, next| one.name < next.name));
                let mut again = plain.clone();
                embedded.append_to(&mut again).unwrap();
                prop_assert_eq!(ModuleSection::find(&again).unwrap(), Some(embedded));
                Ok("taken")
            }
            Err(error @ ArtifactError::Section { .. }) => {
                let problem = Problem::from(error).to_string();
                prop_assert!(problem.len() < 20_000, "{} bytes of message", problem.len());
                Ok("refused")
            }
            Err(other) => panic!("{other}"),
        }
    });
}
