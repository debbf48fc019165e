//! Edits of contracts and routes, as data, with what each means to clients.
//!
//! `edits.toml` has an application's contract in WIT, and its routes. Each edit replaces texts in either of them. `clients` has the lines
//! that the comparison must give, in any order.

use std::collections::BTreeSet;

use serde::Deserialize;
use watertight_openapi::compare::compare;
use watertight_openapi::format::{MountEntry, OpenApi};

use crate::{document, folder};

/// The minimum number of edits.
const LEAST_EDITS: usize = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    wit: String,
    routes: String,
    edit: Vec<Edit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    name: String,
    /// Pairs of an existing text and its replacement, which applies everywhere.
    #[serde(default)]
    replace: Vec<(String, String)>,
    /// Text that is appended to the manifest.
    #[serde(default)]
    settings: String,
    #[serde(default)]
    clients: Vec<String>,
}

impl Edit {
    fn apply(&self, cases: &Cases) -> OpenApi {
        let (mut wit, mut routes) = (cases.wit.clone(), cases.routes.clone());
        for (from, to) in &self.replace {
            assert!(wit.contains(from) || routes.contains(from), "{}: `{from}` is not there", self.name);
            (wit, routes) = (wit.replace(from, to), routes.replace(from, to));
        }
        document(&wit, &routes, &self.settings)
    }
}

fn cases() -> Cases {
    toml::from_str(&std::fs::read_to_string(folder().join("edits.toml")).unwrap()).unwrap()
}

#[test]
fn the_page_shows_lines_that_there_are() {
    let page = std::fs::read_to_string(folder().join("../../docs/openapi.md")).unwrap();
    let cases = cases();
    let lines: BTreeSet<&str> = cases.edit.iter().flat_map(|edit| &edit.clients).map(String::as_str).collect();
    let shown: Vec<&str> =
        page.lines().filter(|line| line.starts_with("breaks ") || line.starts_with("allows ")).collect();
    assert!(shown.len() >= 3 && shown.iter().all(|line| lines.contains(line)), "{shown:?}");
}

#[test]
fn mounts_are_compared() {
    let entry = |path: &str, methods: &[&str]| MountEntry {
        path: path.to_owned(),
        module: "files".to_owned(),
        methods: Some(methods.iter().map(|method| (*method).to_owned()).collect::<Vec<_>>())
            .filter(|all| !all.is_empty()),
    };
    let with = |mounts: Vec<MountEntry>| OpenApi { mounts, ..document(&cases().wit, "", "") };
    let old =
        with(vec![entry("/gone", &[]), entry("/all", &[]), entry("/some", &["GET", "PUT"]), entry("/few", &["GET"])]);
    let new =
        with(vec![entry("/all", &["GET"]), entry("/some", &["GET", "POST"]), entry("/few", &[]), entry("/new", &[])]);
    let expected = "breaks mount /gone: it is gone\nbreaks mount /all: it takes only GET\n\
        breaks mount /some: it does not take PUT any more\nallows mount /some: it takes POST\n\
        allows mount /few: it takes all methods\nallows mount /new: it is new\n";
    assert_eq!(compare(&old, &new).to_string(), expected);
}

/// A document from elsewhere may have types that contain themselves.
#[test]
fn types_without_end_are_compared_to_an_end() {
    let read = |part: &str, other: &str| {
        let reference = |name: &str| serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
        let object = |field: serde_json::Value| serde_json::json!({ "type": "object", "properties": { "a": field } });
        let nothing = serde_json::json!({ "type": "null" });
        let (inner, outer) = (object(object(reference(part))), object(reference(other)));
        let text = serde_json::json!({
            "openapi": "3.1.0", "info": { "title": "a", "version": "1" },
            "paths": { "/a": { "get": { "responses": { "200": { "content": { "application/json": { "schema": inner } } } } } } },
            "components": { "schemas": { part: inner, other: outer, "self": { "oneOf": [reference("self"), nothing] } } }
        });
        OpenApi::parse(text.to_string().as_bytes()).unwrap()
    };
    let (one, other) = (read("one", "two"), read("self", "one"));
    compare(&one, &other);
    compare(&other, &one);
    assert!(compare(&one, &one).is_empty());
}

#[test]
fn every_edit_means_to_clients_what_it_should() {
    let cases = cases();
    let before = document(&cases.wit, &cases.routes, "");
    let read = OpenApi::parse(&before.to_json()).unwrap();
    assert_eq!(read, before, "a document that is read is not the one that was written");
    assert!(compare(&before, &read).is_empty());
    let (mut failures, mut names) = (Vec::new(), BTreeSet::new());
    for edit in &cases.edit {
        assert!(names.insert(&edit.name), "{}: the name is used twice", edit.name);
        let found = compare(&before, &edit.apply(&cases)).to_string();
        let (mut found, mut expected): (Vec<&str>, Vec<&str>) =
            (found.lines().collect(), edit.clients.iter().map(String::as_str).collect());
        found.sort_unstable();
        expected.sort_unstable();
        if found != expected {
            let (expected, found) = (expected.join("\n    "), found.join("\n    "));
            failures.push(format!("{}\n  expected\n    {expected}\n  found\n    {found}", edit.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= LEAST_EDITS, "only {} edits", names.len());
}
