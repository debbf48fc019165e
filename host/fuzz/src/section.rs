//! The target `section`: text is read as the section `watertight:module` of a component.

use std::path::Path;

use serde_json::Value;
use wasm_encoder::{ComponentSection as _, CustomSection};
use watertight_component::artifact::{Artifact, ArtifactError, Docs, InterfaceDocs, ModuleSection, SECTION_NAME};
use watertight_model::ids::Digest;
use watertight_model::migration::Migration;

use crate::Target;
use crate::seeds::component;
use crate::shape::refused;

const WIT: &str = "package t:t@1.0.0; interface api { go: func(); } world w { export api; }";

const WORDS: &[&str] = &[
    "\"format\":1",
    "\"name\":",
    "\"language\":",
    "\"build\":",
    "\"migrations\":[",
    "\"docs\":{",
    "\"functions\":{",
    "\"types\":{",
    "\"sql\":",
    "\"checksum\":\"sha256:",
    "\"t:t/api@1.0.0\":{",
    "null",
    "1e400",
    "\\u0000",
    "\\ud83d\\ude00",
    "\\ud83d",
    "0001_a.sql",
    "-- contract\\n",
    "..",
];

pub(crate) fn target() -> Target {
    let plain = component(WIT).expect("the text is right");
    let seeds = sections().iter().map(|section| serde_json::to_vec(section).expect("a section is JSON")).collect();
    let words = WORDS.iter().map(|word| (*word).to_owned()).collect();
    Target { seeds, words, check: Box::new(move |input| check(&plain, input)) }
}

fn sections() -> Vec<ModuleSection> {
    let mut sections = Vec::new();
    for count in 0..4 {
        let name = |number| format!("{number:04}_step.sql");
        let migrations: Vec<_> = (1..=count).map(|n| Migration::new(name(n), "CREATE TABLE a (x)")).collect();
        for docs in [None, Some("What it does."), Some("\"é\"\n\u{1F600}")] {
            let interface = InterfaceDocs {
                docs: docs.map(Into::into),
                functions: docs.into_iter().map(|docs| ("go".to_owned(), docs.into())).collect(),
                types: docs.into_iter().map(|docs| ("draft.lines".to_owned(), docs.into())).collect(),
            };
            let docs = Docs([("t:t/api@1.0.0".parse().expect("a name"), interface)].into());
            let name = "a".parse().expect("a name");
            sections.push(ModuleSection::new(b"", name, "rust", migrations.clone(), docs).expect("it is right"));
        }
    }
    sections
}

fn check(plain: &[u8], input: &[u8]) {
    one(plain, input);
    if let Some(intact) = with_checksums(input) {
        one(plain, &intact);
    }
}

/// Corrects the checksums of all migrations. The fuzzer can't find a SHA-256.
fn with_checksums(input: &[u8]) -> Option<Vec<u8>> {
    let mut section: Value = serde_json::from_slice(input).ok()?;
    for migration in section.get_mut("migrations")?.as_array_mut()? {
        let checksum = Digest::of(migration.get("sql")?.as_str()?.as_bytes()).to_string();
        migration.as_object_mut()?.insert("checksum".to_owned(), checksum.into());
    }
    serde_json::to_vec(&section).ok()
}

fn one(plain: &[u8], json: &[u8]) {
    let mut bytes = plain.to_vec();
    CustomSection { name: SECTION_NAME.into(), data: json.into() }.append_to_component(&mut bytes);
    match Artifact::new(Path::new("it.wasm"), bytes.into()) {
        Ok(artifact) => {
            assert!(artifact.migrations().iter().all(Migration::is_intact), "a migration is not intact");
            let sorted = artifact.migrations().is_sorted_by(|one, next| one.name < next.name);
            assert!(sorted, "the migrations are not in order");
            let embedded = artifact.section.expect("the component has a section");
            let mut again = plain.to_vec();
            embedded.append_to(&mut again).expect("a section that was read can be written");
            let found = ModuleSection::find(&again).expect("a section that was written can be read");
            assert_eq!(found, Some(embedded), "a section changes when it is written and read");
        }
        Err(error @ ArtifactError::Section { .. }) => refused(error),
        Err(error) => panic!("a section made the component unreadable: {error:?}"),
    }
}
