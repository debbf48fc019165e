//! Tests with whole applications: what is read from good ones, and that every fault of a bad one is reported with its line.
//!
//! The text of a bad file says what is wrong with it: `#~ code: part of the message` stands at the end of the line to be reported.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

mod faults;
mod good;
mod robust;

/// Makes a temporary folder with `files`, each given by its path and its text.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn load_files(files: &[(&str, &str)]) -> Result<AppConfig, Problems> {
    load(folder(files).path(), &Overrides::default())
}

/// A fault that is found or expected: file, line, code and message.
type Fault = (String, u32, String, String);

/// Returns the faults that the notes `#~ code: message` in the files' texts expect.
fn expected(files: &[(&str, &str)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, text) in files {
        for (line, content) in (1..).zip(text.lines()) {
            for note in content.split("#~").skip(1) {
                let (code, message) = note.split_once(':').expect("`#~ code: message`");
                faults.push((name.to_string(), line, code.trim().to_owned(), message.trim().to_owned()));
            }
        }
    }
    faults
}

/// Checks that reading the files as an application finds exactly the faults that their notes expect, each once.
fn check(files: &[(&str, &str)]) {
    let folder = folder(files);
    let problems = load(folder.path(), &Overrides::default()).map_or_else(Problems::into_vec, |_| Vec::new());
    let name = |file: &Path| file.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<Fault> = problems
        .iter()
        .map(|problem| {
            let file = problem.file.as_deref().map(name).unwrap_or_default();
            (file, problem.line.unwrap_or(0), problem.code.to_string(), problem.message.clone())
        })
        .collect();
    let all = format!("files: {files:#?}\nfound: {found:#?}");
    for (file, line, code, message) in expected(files) {
        let same =
            |fault: &Fault| fault.0 == file && fault.1 == line && fault.2 == code && fault.3.contains(message.as_str());
        let place = found.iter().position(same);
        let place = place.unwrap_or_else(|| panic!("{file}:{line} {code}: `{message}` was not told\n{all}"));
        found.remove(place);
    }
    assert!(found.is_empty(), "unexpected: {found:#?}\n{all}");
}
