//! The test cases in `tests/graphs/`: each folder is an application. This module builds the components of the cases; `graphs.rs` describes
//! the folders.

use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::repository;

/// Returns the folders of all cases, sorted by name.
pub fn cases() -> Vec<PathBuf> {
    let root = repository().join("host/tests/graphs");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    cases
}

/// Copies the folder of a case to a temporary folder, and builds the components of the copy.
pub fn prepare(case: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    // The folder `wit` makes the copy a workspace of its own, wherever it is.
    fs::create_dir(copy.path().join("wit")).unwrap();
    for entry in fs::read_dir(case).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let made = |suffix: &str| name.strip_suffix(suffix).map(|stem| copy.path().join(format!("{stem}.wasm")));
        if path.is_dir() {
            fs::create_dir(copy.path().join(name)).unwrap();
            for file in fs::read_dir(&path).unwrap() {
                let file = file.unwrap().path();
                fs::copy(&file, copy.path().join(name).join(file.file_name().unwrap())).unwrap();
            }
        } else if let Some(file) = made(".half.wit") {
            let bytes = component(&path);
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        } else if let Some(file) = made(".wit") {
            fs::write(file, component(&path)).unwrap();
        } else if let Some(file) = made(".wat") {
            fs::write(file, wat::parse_file(&path).unwrap()).unwrap();
        } else if let Some(file) = made(".wasm.txt") {
            fs::copy(&path, file).unwrap();
        } else {
            fs::copy(&path, copy.path().join(name)).unwrap();
        }
    }
    copy
}

fn component(wit: &Path) -> Vec<u8> {
    let mut text = fs::read_to_string(wit).unwrap();
    let contracts: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("//~ contract ")).map(contract).collect();
    text.push_str(&contracts.concat());
    crate::components::component(&text, "component")
}

/// Returns a WIT package of the repository's folder `wit`, in the nested form in which other WIT text can contain it.
fn contract(name: &str) -> String {
    let folder = repository().join("wit").join(name);
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once("package ").unwrap();
    let (package, rest) = rest.split_once(';').unwrap();
    assert!(before.lines().all(|line| line.starts_with("//") || line.is_empty()), "{name}");
    format!("\npackage {package} {{\n{rest}\n}}\n")
}
