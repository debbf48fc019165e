//! Tests of the libraries for authors: the applications in their READMEs are built outside of the repository, with the library that
//! `watertight sdk add` writes, and they work.

#![allow(clippy::unwrap_used, missing_docs)]

mod go;
mod rust;

use std::fs;
use std::path::Path;
use std::process::Command;

use watertight_testkit::host;
use watertight_testkit::paths::{repository, target};

/// Writes the files that a README shows: each a line with the file's path in backquotes and a colon, then a block of code. Returns their
/// number.
fn write_files(language: &str, application: &Path) -> usize {
    let readme = fs::read_to_string(repository().join("host/author/sdk").join(language).join("README.md")).unwrap();
    let mut written = 0;
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(path) = line.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:")) else { continue };
        assert!(lines.next().unwrap().is_empty() && lines.next().unwrap().starts_with("```"), "no code after {path}");
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let file = application.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, code.join("\n") + "\n").unwrap();
        written += 1;
    }
    written
}

/// Returns the command that runs `watertight` on an application.
fn watertight(application: &Path, arguments: &[&str]) -> Command {
    let mut command = host::binary();
    // What was compiled for an earlier run of the test is used again.
    command.args(arguments).arg("--app").arg(application).env("CARGO_TARGET_DIR", target().join("tmp/sdk"));
    command
}
