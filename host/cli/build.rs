//! Finds out which commit and which version of Wasmtime the binary is built from, for `watertight version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=WATERTIGHT_COMMIT");
    println!("cargo::rustc-env=WATERTIGHT_COMMIT={}", commit().as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=WATERTIGHT_WASMTIME={}", wasmtime().as_deref().unwrap_or("unknown"));
}

/// Returns the commit: that of the variable `WATERTIGHT_COMMIT`, or that of the sources' repository. Builds for development don't ask the
/// repository, because each commit would then build the command line and all tests again.
fn commit() -> Option<String> {
    if let Ok(commit) = std::env::var("WATERTIGHT_COMMIT") {
        return Some(commit).filter(|commit| !commit.is_empty());
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // The log of HEAD changes with every commit and every checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).is_file() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}

/// Returns the version of Wasmtime in the workspace's lock file. Wasmtime itself doesn't tell it.
fn wasmtime() -> Option<String> {
    let lock = Path::new("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(lock).ok()?;
    let (_, rest) = text.split_once("name = \"wasmtime\"\nversion = \"")?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}
