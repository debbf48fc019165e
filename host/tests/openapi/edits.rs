//! Edits of contracts and routes, as data, with what each means to clients.
//!
//! `edits.toml` has an application's contract in WIT, and its routes. Each edit replaces texts in either of them. `clients` has the lines
//! that the comparison must give, in any order.

use std::collections::BTreeSet;

use serde::Deserialize;
use watertight_openapi::compare::compare;
use watertight_openapi::format::OpenApi;

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
    replace: Vec<(String, String)>,
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
        document(&wit, &routes)
    }
}

#[test]
fn every_edit_means_to_clients_what_it_should() {
    let cases: Cases = toml::from_str(&std::fs::read_to_string(folder().join("edits.toml")).unwrap()).unwrap();
    let before = document(&cases.wit, &cases.routes);
    let read = OpenApi::parse(&before.to_json()).unwrap();
    assert_eq!(read, before, "a document that is read is not the one that was written");
    assert!(compare(&before, &read).is_empty());
    let (mut failures, mut names) = (Vec::new(), BTreeSet::new());
    for edit in &cases.edit {
        assert!(names.insert(&edit.name), "{}: the name is used twice", edit.name);
        let found = compare(&before, &edit.apply(&cases)).to_string();
        let (mut found, mut expected): (Vec<&str>, Vec<&str>) =
            (found.lines().collect(), edit.clients.iter().map(String::as_str).collect());
        (found.sort(), expected.sort()).0;
        if found != expected {
            let (expected, found) = (expected.join("\n    "), found.join("\n    "));
            failures.push(format!("{}\n  expected\n    {expected}\n  found\n    {found}", edit.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= LEAST_EDITS, "only {} edits", names.len());
}
