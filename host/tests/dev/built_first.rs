//! Tests of `watertight test` for modules whose sources have changed since the last build: it builds them first.

use std::fs;

use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host;

use crate::rust;

const SUITE: &str = r#"{
  "interface": "a:calc/calc@1.0.0",
  "cases": [{ "name": "the sum", "steps": [{ "call": "add", "arguments": [1, 2], "answer": 3 }] }]
}"#;

#[test]
fn tests_run_on_what_the_source_says_now() {
    let author = rust();
    author.write("wit/calc/suite/calc.json", SUITE);
    let test = |more: &[&str]| -> CommandOutput {
        run(host::binary().args(["test", "calc", "--app"]).arg(author.place.path()).args(more))
    };
    // Nothing is built yet.
    assert!(test(&["--no-build"]).expect(1).err.contains("no such component file"));
    assert!(test(&[]).expect(0).err.ends_with("1 passed, 0 failed\n"));

    author.edit("modules/calc/src/lib.rs", "left + right", "left + right + 10");
    assert!(test(&["--no-build"]).expect(0).err.ends_with("1 passed, 0 failed\n"));
    let said = test(&[]).expect(1);
    assert!(said.err.contains("found    13") && said.err.ends_with("0 passed, 1 failed\n"), "{}", said.err);

    // A module that doesn't compile is not tested, and the compiler's message appears once.
    author.edit("modules/calc/src/lib.rs", "left + right", "left + wrong");
    let said = test(&[]).expect(1);
    for part in ["error[E0425]", "module `calc` does not compile"] {
        assert_eq!(said.err.matches(part).count(), 1, "{part}: {}", said.err);
    }
    assert!(!said.err.contains("passed,"), "{}", said.err);

    // A renamed module is built under its new name.
    author.edit("modules/calc/src/lib.rs", "left + wrong + 10", "left + right");
    fs::rename(author.path("modules/calc"), author.path("modules/sums")).unwrap();
    author.edit("Cargo.toml", "modules/calc", "modules/sums");
    author.edit("modules/app.toml", "component = \"calc\"", "component = \"sums\"");
    assert!(test(&[]).expect(0).err.contains("sums.wasm"));
}
