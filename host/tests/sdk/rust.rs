//! The library for Rust.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{watertight, write_files};
use watertight_testkit::command::run;
use watertight_testkit::paths::{repository, target};

#[test]
fn the_readme_s_module_works_outside_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let application = folder.path();
    assert_eq!(write_files("rust", application), 9);
    // The same versions of the dependencies as here.
    fs::copy(repository().join("Cargo.lock"), application.join("Cargo.lock")).unwrap();
    let said = run(&mut watertight(application, &["sdk", "add", "rust"])).expect(0);
    assert!(said.err.contains("sdk/rust/README.md"), "{}", said.err);
    run(&mut watertight(application, &["sdk", "add", "rust"])).expect(1);
    run(&mut watertight(application, &["sdk", "update"])).expect(0);

    run(&mut watertight(application, &["build"])).expect(0);
    let entry = run(&mut watertight(application, &["call", "book/book.sign", "\"Ada\"", "\"hello\""])).expect(0);
    let signed = &entry.json()["ok"];
    assert_eq!((&signed["name"], &signed["text"]), (&"Ada".into(), &"hello".into()), "{}", entry.out);
    assert_eq!(imports(application, "book"), EXPECTED);

    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(application).env("CARGO_TARGET_DIR", target().join("tmp/sdk"));
        run(&mut command)
    };
    cargo(&["test", "--quiet"]).expect(0);

    // A component that plain Cargo made.
    let wasip2 = run(Command::new("rustc").args(["--print", "target-libdir", "--target", "wasm32-wasip2"]));
    if wasip2.code == 0 && fs::exists(wasip2.out.trim()).unwrap() {
        cargo(&["build", "--quiet", "--release", "--lib", "-p", "book", "--target", "wasm32-wasip2"]).expect(0);
        let file = target().join("tmp/sdk/wasm32-wasip2/release/book.wasm");
        let found = imports(application, file.to_str().unwrap());
        // Its standard library uses later versions of WASI, and one version of each interface is imported.
        let unversioned = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
        let has = |name: &str| found.iter().any(|found| unversioned(found) == unversioned(name));
        let missing: Vec<_> = EXPECTED.iter().filter(|name| !has(name)).collect();
        assert!(missing.is_empty(), "{missing:?} of {found:?}");
    }
}

/// The capabilities that the code of the module uses.
const EXPECTED: [&str; 5] = [
    "wasi:clocks/wall-clock@0.2.6",
    "wasi:logging/logging@0.1.0-draft",
    "wasi:random/random@0.2.6",
    "watertight:lifecycle/failure@1.0.0",
    "watertight:sql/sql@1.0.0",
];

fn imports(application: &std::path::Path, component: &str) -> Vec<String> {
    let inspected: Value = run(&mut watertight(application, &["inspect", component, "--json"])).expect(0).json();
    let name = |import: &Value| import["name"].as_str().or(import.as_str()).unwrap().to_owned();
    let mut names: Vec<_> = inspected["imports"].as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}
