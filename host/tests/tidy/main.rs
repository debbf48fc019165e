//! Checks conventions of the repository: the layers of crates and modules, the length and purpose of files, and, for documents, their
//! length, their links, and the tables in `host/docs` that are generated from the code.
//!
//! `BLESS=1` rewrites these tables. Nothing here compiles or runs the host.

#![allow(clippy::unwrap_used, missing_docs)]

mod keys;
mod limits;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use watertight_model::problem::Code;
use watertight_telemetry::table;

/// The maximum number of lines of a file. A longer file has more than one purpose.
const MAX_LINES: usize = 500;
/// The maximum number of lines of a crate of the host, with its unit tests.
const MAX_CRATE_LINES: usize = 9_000;
/// The maximum number of words of `host/ARCHITECTURE.md`, so that it can be read in one sitting.
const MAX_MAP_WORDS: usize = 4_000;
/// The maximum number of lines of `README.md`.
const MAX_README_LINES: usize = 150;

/// A Rust or Markdown file of the repository.
struct Source {
    /// The path from the repository's root, such as `host/model/src/lib.rs`.
    path: String,
    text: String,
}

impl Source {
    /// Returns the lines of the file with their numbers, without comments and without test modules.
    fn code(&self) -> Vec<(usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_test_module = |at: usize| {
            let mut next = lines[at + 1..].iter().skip_while(|line| line.trim_start().starts_with("#["));
            lines[at] == "#[cfg(test)]"
                && next.next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
        };
        let end = (0..lines.len()).find(|at| is_test_module(*at)).unwrap_or(lines.len());
        let numbered = lines[..end].iter().enumerate().map(|(at, line)| (at + 1, *line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
    }

    fn is_test(&self) -> bool {
        let file = self.path.rsplit('/').next().unwrap_or_default();
        let folders = ["/tests/", "/benches/", "/testkit/"];
        ["tests.rs", "testing.rs"].contains(&file) || folders.iter().any(|folder| self.path.contains(folder))
    }

    /// Returns the host's crate and the module of it that the file belongs to, or `None` if it is not part of a library.
    fn module(&self) -> Option<(&str, &str)> {
        let (name, inside) = self.path.strip_prefix("host/")?.strip_suffix(".rs")?.split_once("/src/")?;
        let module = inside.split('/').next()?;
        // Guests of tests and benchmarks have a folder `src` as well. The testkit is not part of the host.
        (!name.contains('/') && name != "testkit" && !["lib", "main"].contains(&module)).then_some((name, module))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Returns all Rust files of the host and of the modules, sorted by path.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for top in ["host", "modules"] {
        collect(&root().join(top), "rs", &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "the tree was not found: {} files", found.len());
    found
}

/// Returns all Markdown files of the repository, sorted by path.
fn pages() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), "md", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 10, "the documents were not found: {} files", found.len());
    found
}

/// Adds the files below `folder` with this extension to `found`. Leaves out `target`, `node_modules` and hidden folders.
fn collect(folder: &Path, extension: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            // Build output and other files of tools are not sources.
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                collect(&path, extension, found);
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push(Source { text: fs::read_to_string(&path).unwrap(), path: relative });
        }
    }
}

/// Panics and lists all faults if there are any. `rule` is the rule that they break.
fn none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path.clone()).collect::<Vec<_>>();
    none(&silent, "a file opens with `//!` and its purpose");
}

#[test]
fn no_file_is_long() {
    let sources = sources();
    let long =
        sources.iter().map(|source| (source, source.text.lines().count())).filter(|(_, lines)| *lines > MAX_LINES);
    let long: Vec<String> = long.map(|(source, lines)| format!("{}: {lines} lines", source.path)).collect();
    none(&long, "a file has at most 500 lines");
}

#[test]
fn a_module_s_file_stands_beside_its_folder() {
    let named = sources().iter().filter(|s| s.path.ends_with("/mod.rs")).map(|s| s.path.clone()).collect::<Vec<_>>();
    none(&named, "`foo.rs` and `foo/`, never `foo/mod.rs`");
}

/// Returns the names of the host's crates.
fn crates() -> Vec<String> {
    let folders = fs::read_dir(root().join("host")).unwrap().map(|entry| entry.unwrap().path());
    let crates = folders.filter(|folder| folder.join("Cargo.toml").exists());
    crates.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Returns the modules that the `lib.rs` of a crate declares, in their order. Returns no module if the file does more than declare modules.
fn layers(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("host").join(name).join("src/lib.rs")).unwrap();
    if text.lines().any(|line| line.starts_with("use ") || line.starts_with("pub use ")) {
        return Vec::new();
    }
    text.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned())).collect()
}

#[test]
fn no_crate_is_large() {
    let sources = sources();
    let lines = |name: &str| {
        let of_crate = sources.iter().filter(|source| source.path.starts_with(&format!("host/{name}/src/")));
        of_crate.map(|source| source.text.lines().count()).sum::<usize>()
    };
    let sizes = crates().into_iter().map(|name| (lines(&name), name));
    let large: Vec<String> =
        sizes.filter(|(lines, _)| *lines > MAX_CRATE_LINES).map(|(lines, name)| format!("{name}: {lines}")).collect();
    none(&large, "a crate of the host has at most 9,000 lines");
}

/// `host/cli/Cargo.toml` must list every test in `host/tests`, since Cargo does not find tests outside of a package's folder. A test that
/// is not listed would not run.
#[test]
fn every_integration_test_is_listed() {
    let manifest = fs::read_to_string(root().join("host/cli/Cargo.toml")).unwrap();
    let files = fs::read_dir(root().join("host/tests")).unwrap().map(|entry| entry.unwrap().path());
    let tests = files.map(|path| if path.is_dir() { path.join("main.rs") } else { path });
    let tests = tests.filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "rs"));
    let names = tests.map(|path| path.strip_prefix(root().join("host/tests")).unwrap().to_str().unwrap().to_owned());
    let missing: Vec<String> =
        names.filter(|name| !manifest.contains(&format!("path = \"../tests/{name}\""))).collect();
    none(&missing, "host/cli/Cargo.toml lists every file of host/tests that is a test");
}

#[test]
fn the_map_names_every_crate() {
    let map = fs::read_to_string(root().join("host/ARCHITECTURE.md")).unwrap();
    let missing: Vec<String> = crates().into_iter().filter(|name| !map.contains(&format!("\n| `{name}` |"))).collect();
    none(&missing, "host/ARCHITECTURE.md has a row for every crate");
}

/// A module of a crate uses only modules that `lib.rs` declares before it. For crates, Cargo enforces an order.
#[test]
fn a_module_uses_only_those_before_it() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let Some((name, module)) = source.module() else { continue };
        let layers = layers(name);
        if layers.is_empty() {
            continue;
        }
        let place = |module: &str| layers.iter().position(|layer| layer == module);
        let own = place(module).unwrap_or_else(|| panic!("lib.rs of `{name}` doesn't declare `{module}`"));
        let top = source.path.matches('/').count() == 3;
        for (line, code) in source.code() {
            for used in code.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if place(&name).is_none_or(|used| used > own) {
                    faults.push(format!("{}:{line}: `crate::{name}` stands after `{module}`", source.path));
                }
            }
            // In a file of the top folder, `super` is the crate itself, which would bypass the check.
            if top && code.contains("super::") {
                faults.push(format!("{}:{line}: `super::` reaches past the module", source.path));
            }
        }
    }
    none(&faults, "a file uses only modules that stand before its own in lib.rs");
}

/// Returns names that belong to the shop: the packages of its contracts, and functions with specific names.
fn business_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in fs::read_dir(root().join("wit")).unwrap() {
        let folder = folder.unwrap().path();
        for file in fs::read_dir(folder).into_iter().flatten() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "wit") {
                continue;
            }
            let text = fs::read_to_string(file).unwrap();
            let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap_or_default();
            let Some((namespace, rest)) = package.split_once(':') else { continue };
            if ["watertight", "wasi"].contains(&namespace) {
                continue;
            }
            names.insert(namespace.to_owned());
            // Any application may have a package `common`.
            names.extend(rest.split('@').next().filter(|name| *name != "common").map(str::to_owned));
            let functions =
                text.lines().filter(|line| line.contains(": func(")).filter_map(|line| line.split(':').next());
            for name in functions.map(str::trim).filter(|name| name.contains('-')) {
                names.extend([name.to_owned(), name.replace('-', "_")]);
            }
        }
    }
    assert!(names.len() > 10, "the contracts were not found: {names:?}");
    names
}

#[test]
fn the_host_knows_no_business() {
    let names = business_names();
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.module().is_some()) {
        for (at, line) in source.text.lines().enumerate() {
            let lower = line.to_ascii_lowercase();
            let words: BTreeSet<&str> =
                lower.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).collect();
            faults.extend(
                names
                    .iter()
                    .filter(|name| words.contains(name.as_str()))
                    .map(|n| format!("{}:{}: `{n}`", source.path, at + 1)),
            );
        }
    }
    none(&faults, "the host runs any application: no name of one stands in its crates, not even in comments");
}

/// Each `#[path]` attribute must have a reason: a comment or a `reason` in the same paragraph. A paragraph of code is what stands between
/// two empty lines.
#[test]
fn a_path_attribute_has_a_reason() {
    let mut faults = Vec::new();
    for source in sources() {
        let mut from = 1;
        for paragraph in source.text.split("\n\n") {
            let lines = || paragraph.lines().map(str::trim_start);
            if !lines().any(|line| line.starts_with("// ") || line.contains("reason = ")) {
                let paths = lines().enumerate().filter(|(_, line)| line.starts_with("#[path"));
                faults.extend(paths.map(|(at, _)| format!("{}:{}", source.path, from + at)));
            }
            from += paragraph.matches('\n').count() + 2;
        }
    }
    none(
        &faults,
        "a comment beside `#[path]` says why the file is included; what tests share stands in `host/testkit`",
    );
}

#[test]
fn nothing_is_left_for_later() {
    // The marks are composed, so that this file doesn't contain them.
    let marks = ["to", "unimpl", "db", "TO", "FIX"].iter().zip(["do!(", "emented!(", "g!(", "DO", "ME"]);
    let marks: Vec<String> = marks.map(|(a, b)| format!("{a}{b}")).collect();
    let mut faults = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            faults
                .extend(marks.iter().filter(|m| line.contains(*m)).map(|m| format!("{}:{}: {m}", source.path, at + 1)));
        }
    }
    none(&faults, "what isn't done is an issue, not a comment");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let lines = source.code().into_iter().filter(|(_, code)| code.contains(".unwrap()"));
        faults.extend(lines.map(|(line, _)| format!("{}:{line}", source.path)));
    }
    none(&faults, "`expect` says the invariant, an error says what went wrong; `unwrap` says nothing");
}

/// Asserts that the text between the markers of the table `name` in a page is `expected`. With `BLESS=1`, replaces the text instead.
fn check_table(page: &str, name: &str, expected: &str) {
    let file = root().join(page);
    let text = fs::read_to_string(&file).unwrap();
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&open).unwrap_or_else(|| panic!("{page} has no {open}"));
    let (found, after) = rest.split_once(&close).unwrap_or_else(|| panic!("{page} has no {close}"));
    let expected = format!("\n\n{expected}\n");
    if found != expected && std::env::var_os("BLESS").is_some() {
        fs::write(&file, format!("{before}{open}{expected}{close}{after}")).unwrap();
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let (found, expected_lines) = (lines(found), lines(&expected));
    let stale = found.difference(&expected_lines).map(|line| format!("- {line}"));
    let missing = expected_lines.difference(&found).map(|line| format!("+ {line}"));
    let difference: Vec<String> = stale.chain(missing).collect();
    none(&difference, &format!("the table `{name}` of {page} is not what the code says (BLESS=1 writes it)"));
}

#[test]
fn tables_made_from_the_code_are_true() {
    let mut codes = "| code | meaning |\n| --- | --- |\n".to_owned();
    for code in Code::ALL {
        let _ = writeln!(codes, "| `{code}` | {} |", code.meaning());
    }
    check_table("host/docs/problems.md", "codes", &codes);

    let mut metrics = "| metric | kind | labels | what it says |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in table::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, metric.kind.as_str());
        let _ = writeln!(metrics, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help);
    }
    check_table("host/docs/metrics.md", "metrics", &metrics);
}

#[test]
fn the_map_and_the_readme_stay_short() {
    let map = fs::read_to_string(root().join("host/ARCHITECTURE.md")).unwrap();
    let words = map.split_whitespace().count();
    assert!(words <= MAX_MAP_WORDS, "host/ARCHITECTURE.md has {words} words: reference belongs into host/docs");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= MAX_README_LINES, "README.md has {lines} lines");
}

/// Returns the lines of a page outside of code fences.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fenced && !is_fence).then_some((at + 1, line))
    })
}

/// Returns the anchor by which links name a heading: its text in lower case, with `-` for spaces, without punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        let file = root().join(&page.path);
        for (line, text) in prose(&page.text) {
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
                let (path, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
                if !target.exists() {
                    faults.push(format!("{}:{line}: there is no file `{path}`", page.path));
                } else if !heading.is_empty() {
                    let there = fs::read_to_string(&target).unwrap_or_default();
                    let mut headings = prose(&there).filter(|(_, text)| text.starts_with('#'));
                    if !headings.any(|(_, text)| anchor(text) == heading) {
                        faults.push(format!("{}:{line}: no heading of `{path}` is `#{heading}`", page.path));
                    }
                }
            }
        }
    }
    none(&faults, "a relative link of a Markdown file leads to a file, and to a heading of it");
}

#[test]
fn ci_runs_the_same_everywhere() {
    let targets = |path: &str| {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let commands = text.lines().map(|line| line.trim().trim_start_matches("run: "));
        commands.filter_map(|command| command.strip_prefix("make ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let targets = [targets(".ci/run"), targets(".github/workflows/ci.yml")];
    assert!(!targets[0].is_empty() && targets[0] == targets[1], "CI calls other targets of make: {targets:?}");
}
