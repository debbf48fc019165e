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

/// The calculator may call `broken`, which does not compile.
#[test]
fn a_module_that_a_suite_does_not_need_is_not_built() {
    let author = rust();
    let manifest = fs::read_to_string(author.path("modules/app.toml")).unwrap();
    let with = |calls: &str| {
        let calls = format!("component = \"calc\"\n{calls}");
        let calc = manifest.replace("component = \"calc\"\n", &calls);
        author.write("modules/app.toml", format!("{calc}[modules.broken]\ncomponent = \"broken\"\n"));
    };
    let suite = |fake: &str| {
        author.write("wit/calc/suite/calc.json", SUITE.replace("\"the sum\",", &format!("\"the sum\", {fake}")));
    };
    author.write("modules/broken/Cargo.toml", "[package]\nname = \"broken\"\nedition = \"2024\"\n[workspace]\n");
    author.write("modules/broken/src/lib.rs", "fn broken(");
    author.write("wit/broken/broken.wit", "package a:broken;\ninterface broken { f: func(); }\n");
    author
        .write("modules/broken/wit/world.wit", "package a:broken-module;\nworld broken { export a:broken/broken; }\n");
    let test = |arguments: &[&str]| run(host::binary().arg("test").args(arguments).current_dir(author.place.path()));
    // A misspelt name is told before anything is built.
    with("");
    suite("");
    for arguments in [&["clac"][..], &["calc", "--fake", "borken=default"], &["calc", "--as", "clac"]] {
        let said = test(arguments).expect(1).err;
        assert!(said.contains("did you mean `") && !said.contains("running "), "{said}");
    }
    assert!(!author.path("target").exists());
    for (calls, fake, arguments, passes) in [
        ("", "", &["calc"][..], true),
        ("calls = [\"broken\"]\n", "", &["calc"], false),
        ("calls = [\"broken\"]\n", "", &["calc", "--fake", "broken=default"], true),
        ("calls = [\"broken\"]\n", "\"fake\": { \"broken\": \"default\" },", &["calc"], true),
        ("", "", &["broken"], false),
        ("", "", &[], true),
        ("calls = [\"broken\"]\n", "", &[], false),
        ("calls = [\"broken\"]\n", "\"fake\": { \"broken\": \"default\" },", &[], true),
        ("", "", &["target/components/calc.wasm"], true),
    ] {
        with(calls);
        suite(fake);
        let said = test(arguments).expect(i32::from(!passes)).err;
        assert_eq!(said.ends_with("1 passed, 0 failed\n"), passes, "{calls}{fake}{arguments:?}: {said}");
        assert_eq!(said.contains("`broken`"), !passes, "{calls}{fake}{arguments:?}: {said}");
        assert_eq!(said.contains("broken: no suite concerns it"), arguments.is_empty(), "{arguments:?}: {said}");
        let is_file = arguments.first().is_some_and(|name| name.ends_with(".wasm"));
        assert_eq!(said.contains("whether callers of `calc` still fit"), is_file, "{arguments:?}: {said}");
    }
}
