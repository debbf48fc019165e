//! Tests which files are accepted as artifacts, and which are refused.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wasm_encoder::{ComponentSection as _, CustomSection, NestedComponentSection};

use super::*;
use crate::test_components::component;

const WIT: &str = "package a:b@1.0.0;\ninterface c { f: func(); g: func(); }\nworld w { export c; }";

fn plain() -> Vec<u8> {
    component(WIT, "w")
}

fn with_section(json: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = plain();
    CustomSection { name: SECTION_NAME.into(), data: json.as_ref().into() }.append_to_component(&mut bytes);
    bytes
}

fn migrations() -> Vec<Migration> {
    vec![
        Migration::new("0001_items.sql", "create table items (id text primary key);"),
        Migration::new("0002_notes.sql", "alter table items add column note text;"),
    ]
}

fn docs() -> Docs {
    let docs = InterfaceDocs {
        docs: Some("All of it.".into()),
        functions: BTreeMap::from([("f".to_owned(), "Does f.".into()), ("gone".to_owned(), "Is no more.".into())]),
        types: BTreeMap::from([("t.x".to_owned(), "An x.".into())]),
    };
    Docs(BTreeMap::from([
        ("a:b/c@1.0.0".parse().unwrap(), docs),
        ("a:b/other".parse().unwrap(), InterfaceDocs::default()),
    ]))
}

fn embedded() -> ModuleSection {
    ModuleSection::new(&plain(), "alpha".parse().unwrap(), "rust", migrations(), docs()).unwrap()
}

fn load(bytes: Vec<u8>) -> Result<Artifact, ArtifactError> {
    Artifact::new(Path::new("alpha.wasm"), bytes.into())
}

#[test]
fn a_component_without_the_section_is_a_module_without_migrations() {
    let artifact = load(plain()).unwrap();
    assert_eq!(artifact.section, None);
    assert!(artifact.migrations().is_empty());
    assert_eq!(artifact.digest, Digest::of(&plain()));
    assert!(artifact.digest.hex().starts_with(&artifact.build()));
}

#[test]
fn what_is_embedded_comes_back_and_documents_the_shape() {
    let mut bytes = plain();
    embedded().append_to(&mut bytes).unwrap();
    let artifact = load(bytes).unwrap();
    assert_eq!(artifact.section, Some(embedded()));
    assert_eq!(artifact.migrations(), migrations());
    let interface = &artifact.shape.exports[&"a:b/c@1.0.0".parse().unwrap()];
    assert_eq!(interface.docs.as_deref(), Some("All of it."));
    assert_eq!(interface.functions["f"].docs.as_deref(), Some("Does f."));
    assert_eq!(interface.functions["g"].docs, None);
}

#[test]
fn the_build_id_follows_from_all_of_the_content() {
    let id = |component: &[u8], migrations, docs| {
        ModuleSection::new(component, "alpha".parse().unwrap(), "rust", migrations, docs).unwrap().build
    };
    let same = id(&plain(), migrations(), docs());
    assert_eq!(same, embedded().build);
    assert_eq!(same.len(), 12);
    assert_ne!(same, id(&component(WIT, "w")[1..], migrations(), docs()));
    assert_ne!(same, id(&plain(), migrations()[..1].to_vec(), docs()));
    assert_ne!(same, id(&plain(), migrations(), Docs::default()));
}

/// Returns a component whose section is changed by `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::to_value(embedded()).unwrap();
    change(&mut value);
    with_section(value.to_string())
}

#[test]
fn a_damaged_section_is_refused_with_the_reason() {
    let checksum = |text: &str| Value::from(Digest::of(text.as_bytes()).to_string());
    let migration = |name: &str| json!({"name": name, "sql": "select 1;", "checksum": checksum("select 1;")});
    let many = || Value::Array((0..=MAX_MIGRATIONS).map(|index| migration(&format!("{index:06}.sql"))).collect());
    let cases = [
        ("empty", with_section(""), "JSON"),
        ("not JSON", with_section("{"), "JSON"),
        ("not UTF-8", with_section(b"\xff\xff"), "JSON"),
        ("no object", with_section("[]"), "JSON"),
        ("deep", with_section("[".repeat(100_000)), "JSON"),
        ("no format", changed(|json| drop(json.as_object_mut().unwrap().remove("format"))), "`format`"),
        ("another format", changed(|json| json["format"] = 2.into()), "format 2"),
        ("an unknown key", changed(|json| json["more"] = 1.into()), "`more`"),
        ("a bad name", changed(|json| json["name"] = "../alpha".into()), "module name"),
        ("no language", changed(|json| json["language"] = "".into()), "`language`"),
        ("a build with an escape", changed(|json| json["build"] = "\u{1b}[31m".into()), "`build`"),
        (
            "a changed migration",
            changed(|json| json["migrations"][0]["sql"] = "drop table x;".into()),
            "0001_items.sql",
        ),
        (
            "a zero byte",
            changed(|json| {
                json["migrations"][0]["sql"] = "select 1;\0 x".into();
                json["migrations"][0]["checksum"] = checksum("select 1;\0 x");
            }),
            "zero byte",
        ),
        ("a bad checksum", changed(|json| json["migrations"][0]["checksum"] = "sha256:00".into()), "digest"),
        (
            "twice the same",
            changed(|json| json["migrations"][1] = json["migrations"][0].clone()),
            "two migrations with the name",
        ),
        ("a wrong order", changed(|json| json["migrations"].as_array_mut().unwrap().reverse()), "order"),
        (
            "a name with a path",
            changed(|json| json["migrations"] = json!([migration("../x.sql")])),
            "not a valid migration name",
        ),
        (
            "a name of nothing",
            changed(|json| json["migrations"] = json!([migration(".sql")])),
            "not a valid migration name",
        ),
        ("too many", changed(|json| json["migrations"] = many()), "10001 migrations"),
        ("too large", with_section(vec![b' '; MAX_SECTION_BYTES + 1]), "at most"),
        ("docs of no interface", changed(|json| json["docs"] = json!({"x y": {}})), "interface name"),
    ];
    for (what, bytes, part) in cases {
        let error = load(bytes).expect_err(what);
        let ArtifactError::Section { source, .. } = &error else { panic!("{what}: {error:?}") };
        assert!(source.to_string().contains(part), "{what}: {source}");
        let problem = Problem::from(error);
        assert_eq!(problem.code, Code::BadSection);
        assert!(problem.file.is_some() && problem.help.is_some());
    }
}

#[test]
fn only_the_outermost_component_speaks_for_the_module() {
    let mut inner = wasm_encoder::Component::new();
    inner.section(&CustomSection { name: SECTION_NAME.into(), data: b"not for us".into() });
    let mut bytes = plain();
    NestedComponentSection(&inner).append_to_component(&mut bytes);
    assert_eq!(load(bytes.clone()).unwrap().section, None);
    embedded().append_to(&mut bytes).unwrap();
    assert_eq!(load(bytes.clone()).unwrap().section, Some(embedded()));
    embedded().append_to(&mut bytes).unwrap();
    let error = load(bytes).unwrap_err();
    assert!(matches!(error, ArtifactError::Section { source: SectionError::Twice, .. }), "{error:?}");
}

#[test]
fn files_are_loaded_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alpha.wasm");
    let code = |error: ArtifactError| Problem::from(error).code;

    let missing = Artifact::load(&path, MAX_COMPONENT_BYTES).unwrap_err();
    assert!(Problem::from(missing).help.unwrap().contains("watertight build"));

    std::fs::write(&path, plain()).unwrap();
    let artifact = Artifact::load(&path, MAX_COMPONENT_BYTES).unwrap();
    assert_eq!((&*artifact.bytes, artifact.path.as_path()), (&*plain(), path.as_path()));

    let size = plain().len() as u64;
    Artifact::load(&path, size).unwrap();
    assert_eq!(code(Artifact::load(&path, size - 1).unwrap_err()), Code::NotAComponent);
    assert_eq!(code(Artifact::load(folder.path(), MAX_COMPONENT_BYTES).unwrap_err()), Code::Unreadable);

    std::fs::write(&path, wat::parse_str("(module)").unwrap()).unwrap();
    let problem = Problem::from(Artifact::load(&path, MAX_COMPONENT_BYTES).unwrap_err());
    assert_eq!(problem.code, Code::NotAComponent);
    assert!(problem.message.contains("core WebAssembly module"), "{problem}");
}
