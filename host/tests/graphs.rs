//! Tests of the check of applications, as data: each folder of `graphs/` is a case.
//!
//! A case has an application (`app.toml`, `routes/*.toml`), the sources of its components, and `expect.txt`: the exact problems, or `ok`
//! and the graph. `BLESS=1` rewrites `expect.txt`; review the difference before you commit it. The sources of components are:
//!
//! | file | content of `NAME.wasm` |
//! | --- | --- |
//! | `NAME.wit` | a component for its world `component`; a line `//~ contract sql` adds the host's contract from `wit/sql` |
//! | `NAME.half.wit` | the first half of such a component |
//! | `NAME.wat` | the component of the text |
//! | `NAME.wasm.txt` | the text itself |
//!
//! Accepted applications are also started: a graph without problems must link and start.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watertight_control::application::{self, CheckScope, Checked, Host};
use watertight_control::state::StateFolder;
use watertight_engine::Engines;
use watertight_graph::graph::render::{Format, GraphView};
use watertight_model::config::Overrides;
use watertight_model::problem::{Code, Problems};
use watertight_testkit::cases::{cases, prepare};

const EXPECTATION: &str = "expect.txt";

fn check(folder: &Path) -> Result<Checked, Problems> {
    application::check_files(folder, &Overrides::default(), CheckScope { migrations: false, values: true })
}

/// Returns the result of checking an application as the text of `expect.txt`. The text depends neither on the folder nor on the tools that
/// built the components.
fn outcome(folder: &Path, checked: &Result<Checked, Problems>) -> String {
    let text = match checked {
        Ok(checked) => {
            let view = checked.routes.add_to(GraphView::new(&checked.graph));
            let mut text = format!("ok\n{}", view.render(Format::Text));
            for node in checked.graph.modules.values() {
                text = text.replace(&format!(" (build {})", node.artifact.build()), "");
            }
            for route in checked.routes.routes() {
                text.push_str(&format!("  {} {} -> {}\n", route.method, route.label, route.target()));
            }
            for note in &checked.notes {
                text.push_str(&format!("note [{}] {}\n", note.code, note.message));
            }
            text
        }
        Err(problems) => format!("{problems}\n"),
    };
    text.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), ".")
}

#[test]
fn every_case_has_the_outcome_that_it_expects() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = Vec::new();
    for case in cases() {
        let copy = prepare(&case);
        let found = outcome(copy.path(), &check(copy.path()));
        let file = case.join(EXPECTATION);
        if bless {
            fs::write(file, found).unwrap();
            continue;
        }
        let expected = fs::read_to_string(file).unwrap_or_default();
        if found != expected {
            failures.push(format!("=== {}\n--- expected\n{expected}--- found\n{found}", case.display()));
        }
    }
    assert!(failures.is_empty(), "{}\n(BLESS=1 rewrites the expectations)", failures.join("\n"));
}

/// Each problem of a refused application must say where it is and how to solve it.
#[test]
fn every_problem_says_where_it_is() {
    for case in cases() {
        let copy = prepare(&case);
        let Err(problems) = check(copy.path()) else { continue };
        for problem in problems.as_slice() {
            assert!(problem.file.is_some(), "{}: no file: {problem}", case.display());
            let of_a_component =
                problem.file.as_ref().unwrap().extension().is_some_and(|extension| extension == "wasm");
            assert!(problem.line.is_some() || of_a_component, "{}: no line: {problem}", case.display());
        }
    }
}

#[test]
fn every_kind_of_refusal_has_a_case() {
    let mut shown = BTreeSet::new();
    for case in cases() {
        let text = fs::read_to_string(case.join(EXPECTATION)).unwrap();
        shown.extend(Code::ALL.iter().copied().filter(|code| text.contains(&format!("[{code}]"))));
    }
    // Some of these codes occur only at a start. Others concern the text of one file and have tests beside `config`. The command line tells
    // `outdated`, by the times of files.
    let elsewhere =
        [Code::Migration, Code::Compile, Code::State, Code::Syntax, Code::MissingKey, Code::Overtaken, Code::Outdated];
    let missing: Vec<&Code> =
        Code::ALL.iter().filter(|code| !shown.contains(code) && !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// An application without problems must link and start: the check must refuse everything that composing the components or Wasmtime refuses.
#[test]
fn what_has_no_problems_starts() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let engines = Engines::new();
    for case in cases() {
        let copy = prepare(&case);
        let Ok(checked) = check(copy.path()) else { continue };
        let state = StateFolder::open(&copy.path().join("state")).unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_watertight"));
        let host = Host { engines: engines.clone(), ..Host::with_program(program) };
        runtime.block_on(async {
            let started = tokio::task::block_in_place(|| application::start(checked, &state, &host));
            let started = Arc::new(started.unwrap_or_else(|problems| panic!("{}:\n{problems}", case.display())));
            let warm = started.current().warm_up(None).await;
            warm.unwrap_or_else(|problems| panic!("{}:\n{problems}", case.display()));
        });
    }
}
