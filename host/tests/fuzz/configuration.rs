//! Fuzzes manifests and routes: each problem names a line of its file, and an accepted text is a complete application.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use watertight_control::application;
use watertight_model::config::{self, AppFiles, Overrides, TextFile};
use watertight_model::problem::{Code, Problems};
use watertight_testkit::cases;
use watertight_testkit::paths::repository;

use crate::mutate::{Change, changed_text, changes};
use crate::runner::{Outcome, fuzz};

/// Words of manifests and route files, with which a text is damaged.
const WORDS: &[&str] = &[
    "[app]",
    "name",
    "=",
    "\"shop\"",
    "\n",
    "[modules.a]",
    "[modules.orders]",
    "component",
    "calls",
    "uses",
    "config",
    "[",
    "]",
    "{",
    "}",
    "\"sql\"",
    "\"logging\"",
    "\"http\"",
    ",",
    "\"30s\"",
    "\"256MiB\"",
    "10_000",
    "-1",
    "0",
    "18446744073709551616",
    "1.5",
    "nan",
    "true",
    "\"\"",
    "\"\"\"",
    "'''",
    "\\u0000",
    "\\",
    "#",
    "[[route]]",
    "[[mount]]",
    "module",
    "strip",
    "methods",
    "\"PURGE\"",
    "method",
    "\"GET\"",
    "\"POST\"",
    "path",
    "\"/a/{b}\"",
    "\"/{a}/{b}\"",
    "/",
    "call",
    "body",
    "\"*\"",
    "headers",
    "status",
    "errors",
    "204",
    "99",
    "[http]",
    "[log]",
    "[telemetry]",
    "[defaults.limits]",
    "[defaults.instances]",
    "[compartments.x]",
    "modules",
    "memory",
    "cpu",
    "request",
    "limits",
    "stream",
    "total",
    "\"off\"",
    "instances",
    "mode",
    "\"fresh\"",
    "max_calls",
    "concurrent",
    "warm",
    "idle",
    "secrets",
    "env",
    "file",
    "outbound",
    "allow",
    "\"https://*.example.com:443\"",
    "\"10.0.0.0/8\"",
    "listen",
    "\"127.0.0.1:0\"",
    "state",
    "\"../..\"",
    "routes",
    "\"routes/*.toml\"",
    ".",
    "a.b",
    "2026-01-01T00:00:00Z",
    "é",
    "\u{feff}",
    "\u{2028}",
    "\r",
    "\r\n",
];

/// Reads the text of an application: its manifest and its route files.
fn read(manifest: &Path) -> AppFiles {
    let text = |path: PathBuf| TextFile { text: fs::read_to_string(&path).unwrap(), path };
    let folder = manifest.parent().unwrap();
    let mut routes: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .chain(fs::read_dir(folder.join("routes")).into_iter().flatten())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml") && path != manifest)
        .collect();
    routes.sort();
    AppFiles {
        manifest: text(manifest.to_owned()),
        routes: routes.into_iter().map(text).collect(),
        examples: Vec::new(),
    }
}

/// The index of an application, and the changes that damage its files: for each, the index of the file and the changes. Mostly one file is
/// changed, since a refused manifest hides all later problems.
type Spoilt = (Index, Vec<(Index, Vec<Change>)>);

fn spoilt() -> impl Strategy<Value = Spoilt> {
    (any::<Index>(), proptest::collection::vec((any::<Index>(), changes()), 1..3))
}

fn spoil(files: &AppFiles, spoilt: &[(Index, Vec<Change>)]) -> AppFiles {
    let mut files = files.clone();
    for (which, changes) in spoilt {
        let mut all: Vec<&mut TextFile> = std::iter::once(&mut files.manifest).chain(&mut files.routes).collect();
        let file = which.index(all.len());
        all[file].text = changed_text(&all[file].text, changes, WORDS);
    }
    files
}

/// Asserts that each problem names a file of the application and an existing line in it, or a component.
fn check_places(files: &AppFiles, problems: &Problems) -> Result<(), TestCaseError> {
    let all = std::iter::once(&files.manifest).chain(&files.routes);
    let lines: BTreeMap<&Path, usize> =
        all.map(|file| (&*file.path, file.text.bytes().filter(|byte| *byte == b'\n').count() + 1)).collect();
    prop_assert!(!problems.as_slice().is_empty());
    for problem in problems.as_slice() {
        let file = problem.file.as_deref();
        prop_assert!(file.is_some(), "no file: {problem}");
        let Some(lines) = file.and_then(|file| lines.get(file)) else {
            // A component has no lines.
            prop_assert!(file.unwrap().to_string_lossy().ends_with(".wasm"), "no file of it: {problem}");
            continue;
        };
        let whole = problem.code == Code::Unreadable;
        prop_assert!(whole || problem.line.is_some_and(|line| (1..=*lines).contains(&(line as usize))), "{problem}");
        // People read the message, so its length is bounded.
        prop_assert!(problem.message.len() < 10_000, "{} bytes of message", problem.message.len());
    }
    Ok(())
}

#[test]
fn configuration() {
    let mut all: Vec<AppFiles> = cases::cases().iter().map(|case| read(&case.join("app.toml"))).collect();
    // The shop's application is repeated, since it has the most keys.
    all.extend(std::iter::repeat_n(read(&repository().join("modules/app.toml")), 8));
    fuzz("configuration", &["taken", "refused"], spoilt(), |(which, spoilt): Spoilt| -> Outcome {
        let files = spoil(which.get(&all), &spoilt);
        let read = config::parse(&files, &Overrides::default());
        match &read {
            Ok(config) => {
                prop_assert_eq!(&config.files, &files);
                let again = config::parse(&config.files, &Overrides::default());
                prop_assert_eq!(again.as_ref().ok(), Some(config));
                Ok("taken")
            }
            Err(problems) => check_places(&files, problems).map(|()| "refused"),
        }
    });
}

/// Fuzzes the check of a whole application with its components, as `watertight check` makes it.
#[test]
fn application() {
    let copies: Vec<tempfile::TempDir> = cases::cases().iter().map(|case| cases::prepare(case)).collect();
    let all: Vec<AppFiles> = copies.iter().map(|copy| read(&copy.path().join("app.toml"))).collect();
    let outcomes = &["no configuration", "no application", "an application"];
    fuzz("application", outcomes, spoilt(), |(which, spoilt): Spoilt| -> Outcome {
        let files = spoil(which.get(&all), &spoilt);
        let config = match config::parse(&files, &Overrides::default()) {
            Ok(config) => config,
            Err(problems) => return check_places(&files, &problems).map(|()| "no configuration"),
        };
        match application::check(config) {
            Err(problems) => check_places(&files, &problems).map(|()| "no application"),
            Ok(checked) => {
                // Each module is in one compartment, and each route leads to an existing module.
                let modules = checked.graph.modules.len();
                let placed: usize = checked.graph.compartments.iter().map(|one| one.modules.len()).sum();
                prop_assert_eq!(modules, placed);
                for route in checked.routes.routes() {
                    let module = route.target().module;
                    prop_assert!(checked.graph.modules.contains_key(&module), "{module}");
                }
                for mount in checked.routes.mounts() {
                    let exports = &checked.graph.modules[&mount.module].artifact.shape.exports;
                    prop_assert!(exports.contains_key(&mount.interface), "{}", mount.interface);
                }
                Ok("an application")
            }
        }
    });
}
