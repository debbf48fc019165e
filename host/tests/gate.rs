//! Tests of the compatibility gate: edits of contracts, as data, with the consumers that each edit would break.
//!
//! A file of `gate/` has an application's contracts and worlds in WIT, and its routes. Each world is the module of that name, and all
//! modules may call the module `provider`. Each edit in the file changes the text from which a new build of `provider` is made. The new
//! build is checked as by a swap: all other modules stay as they are.
//!
//! | key | meaning |
//! | --- | --- |
//! | `wit`, `routes` | the text before the edits. Without an edit, the application is complete |
//! | `apart = false` | values can't cross compartments. Otherwise, separate compartments must give the same verdict |
//! | `edit.name` | the name of the edit |
//! | `edit.replace` | pairs of an existing text and its replacement, which applies everywhere |
//! | `edit.wat` | instead of a replacement: a component as text, for what tools refuse to build |
//! | `edit.problems` | every expected problem, one line each, in any order; none if the edit is compatible |
//!
//! A line of `problems` names the affected consumer, a module or a route. Then follow, if two types differ, the function, the path into the
//! type, the expected type and the found type; otherwise the code and the message.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use watertight_component::artifact::Artifact;
use watertight_control::application::{Artifacts, check_with};
use watertight_graph::graph::AppGraph;
use watertight_model::config::{self, AppConfig, AppFiles, Overrides};
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Code, Problem, Problems};
use watertight_runtime::link::compose;
use watertight_testkit::components;

/// The name of the module of which the edits make new builds.
const PROVIDER: &str = "provider";
/// The minimum number of edits that all files together must have.
const LEAST_EDITS: usize = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    wit: String,
    #[serde(default)]
    routes: String,
    #[serde(default = "yes")]
    apart: bool,
    edit: Vec<Edit>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    name: String,
    #[serde(default)]
    replace: Vec<(String, String)>,
    wat: Option<String>,
    #[serde(default)]
    problems: Vec<String>,
}

/// How the modules are distributed over compartments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placement {
    Together,
    Apart,
}

fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/gate");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let case = toml::from_str(&fs::read_to_string(file).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, case)
    };
    files.iter().map(read).collect()
}

impl Case {
    fn modules(&self) -> Vec<&str> {
        let names = self.wit.split("\nworld ").skip(1).map(|rest| rest.split(' ').next().unwrap());
        names.collect()
    }

    fn config(&self, placement: Placement) -> AppConfig {
        let mut manifest = "[app]\nname = \"gate\"\nroutes = [\"routes.toml\"]\n".to_owned();
        for name in self.modules() {
            let calls = if name == PROVIDER { "" } else { "calls = [\"provider\"]\n" };
            manifest.push_str(&format!("[modules.{name}]\ncomponent = \"{name}.wasm\"\n{calls}"));
            if placement == Placement::Apart {
                manifest.push_str(&format!("[compartments.{name}]\nmodules = [\"{name}\"]\n"));
            }
        }
        if placement == Placement::Together {
            manifest.push_str(&format!("[compartments.all]\nmodules = {:?}\n", self.modules()));
        }
        let file = |name: &str, text: &str| serde_json::json!({ "path": name, "text": text });
        let files: AppFiles = serde_json::from_value(serde_json::json!({
            "manifest": file("app.toml", &manifest),
            "routes": [file("routes.toml", &self.routes)],
        }))
        .unwrap();
        config::parse(&files, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems}\n{manifest}"))
    }

    fn artifacts(&self) -> Artifacts {
        let artifact = |name: &&str| {
            let artifact = Artifact::new(Path::new(""), components::component(&self.wit, name).into()).unwrap();
            (name.parse().unwrap(), Arc::new(artifact))
        };
        self.modules().iter().map(artifact).collect()
    }

    /// Returns a problem in the form of a line of the key `edit.problems`.
    fn line(&self, problem: &Problem) -> String {
        let module = problem.module.as_ref().map_or("nobody", ModuleName::as_str);
        let of_route = problem.file.as_ref().is_some_and(|file| file.ends_with("routes.toml"));
        let who = if of_route { self.route_at(problem.line.unwrap()) } else { module.to_owned() };
        let code = if problem.code == Code::TypeMismatch { String::new() } else { format!("[{}] ", problem.code) };
        match (&problem.expected, &problem.found) {
            (Some(expected), Some(found)) => {
                let function = problem.function.as_deref().unwrap_or("-");
                let path = problem.type_path.as_deref().unwrap_or("-");
                format!("{who}: {code}{function} {path}: {expected} / {found}")
            }
            _ => format!("{who}: {code}{}", problem.message),
        }
    }

    /// Returns the route whose text contains the line with this number.
    fn route_at(&self, line: u32) -> String {
        let before: Vec<&str> = self.routes.lines().take(line as usize).collect();
        let start = before.iter().rposition(|line| *line == "[[route]]").unwrap();
        let rest = self.routes.lines().skip(start + 1).collect::<Vec<_>>().join("\n");
        let own: toml::Table = rest.split("[[route]]").next().unwrap().parse().unwrap();
        format!("{} {}", own["method"].as_str().unwrap(), own["path"].as_str().unwrap())
    }
}

impl Edit {
    /// Returns the components of the application, with the edited build as the module `provider` in place of the one in `before`.
    fn apply(&self, case: &Case, before: &Artifacts) -> Result<Artifacts, Problems> {
        let mut wit = case.wit.clone();
        for (from, to) in &self.replace {
            assert!(wit.contains(from), "{}: `{from}` is not there", self.name);
            wit = wit.replace(from, to);
        }
        let bytes = match &self.wat {
            Some(text) => wat::parse_str(text).unwrap(),
            None => components::component(&wit, PROVIDER),
        };
        let provider: ModuleName = PROVIDER.parse().unwrap();
        let artifact = Artifact::new(Path::new(""), bytes.into());
        let artifact = artifact.map_err(|error| Problems::from(Problem::from(error).module(&provider)))?;
        let mut after = before.clone();
        after.insert(provider, Arc::new(artifact));
        Ok(after)
    }
}

/// Checks, independently of the compatibility gate, whether the modules of each compartment can be composed to a valid component. The gate
/// must agree.
fn composes(config: &AppConfig, artifacts: &Artifacts) -> Result<(), String> {
    let graph = AppGraph::build(config, artifacts).graph;
    for compartment in &graph.compartments {
        let composition = compose(&graph, compartment)?;
        let mut validator = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all());
        validator.validate_all(&composition.bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Asserts that a problem of an edit names a module and a place, and has a help text.
fn check_words(edit: &Edit, problem: &Problem) {
    assert!(problem.module.is_some() && problem.help.is_some(), "{}: {problem}", edit.name);
    assert!(problem.file.as_ref().is_none_or(|file| !file.as_os_str().is_empty()), "{}: {problem}", edit.name);
    if problem.code == Code::TypeMismatch {
        // A function that a world imports directly has no interface.
        let has_place = problem.interface.is_some() || problem.function.is_some();
        assert!(has_place && problem.line.is_some(), "{}: {problem}", edit.name);
        let who = format!("module `{}`", problem.module.as_ref().unwrap());
        assert!(problem.message.contains(&who), "{}: {problem}", edit.name);
    }
}

fn verdict(case: &Case, edit: &Edit, placement: Placement, before: &Artifacts) -> Vec<String> {
    let config = case.config(placement);
    let after = edit.apply(case, before);
    let found = after.as_ref().map_err(Clone::clone).and_then(|after| check_with(config.clone(), after).map(drop));
    let problems = found.err().map(Problems::into_vec).unwrap_or_default();
    problems.iter().for_each(|problem| check_words(edit, problem));
    if let (Ok(after), Placement::Together) = (&after, placement) {
        let composed = composes(&config, after);
        let only_types = problems.iter().all(|problem| problem.message.contains("which imports it"));
        if problems.is_empty() {
            assert_eq!(composed, Ok(()), "{}: the gate accepts it, and it can't be linked", edit.name);
        } else if only_types {
            assert!(composed.is_err(), "{}: the gate refuses it, and it could be linked", edit.name);
        }
    }
    let mut lines: Vec<String> = problems.iter().map(|problem| case.line(problem)).collect();
    lines.sort();
    lines
}

#[test]
fn every_edit_has_the_verdict_that_it_deserves() {
    let mut failures = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (file, case) in cases() {
        let before = case.artifacts();
        for placement in [Placement::Together, Placement::Apart] {
            if placement == Placement::Apart && !case.apart {
                continue;
            }
            let complete = check_with(case.config(placement), &before);
            complete.unwrap_or_else(|problems| panic!("{file}, before any edit:\n{problems}"));
            for edit in &case.edit {
                let mut expected = edit.problems.clone();
                expected.sort();
                let found = verdict(&case, edit, placement, &before);
                if found != expected {
                    let (expected, found) = (expected.join("\n    "), found.join("\n    "));
                    failures.push(format!(
                        "{file}, {placement:?}: {}\n  expected\n    {expected}\n  found\n    {found}",
                        edit.name
                    ));
                }
            }
        }
        for edit in &case.edit {
            let before = names.insert(edit.name.clone(), file.clone());
            assert!(before.is_none(), "{}: the name is used in {before:?} and in {file}", edit.name);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= LEAST_EDITS, "only {} edits", names.len());
}
