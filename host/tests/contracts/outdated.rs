//! Tests of notes on components that are older than the sources beside the manifest.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::app::{App, text};

const COMPONENT: &str = "target/components/hello.wasm";

/// Returns an application with a module whose sources are a Rust package, its contract and a package that it depends on by path.
fn hello() -> App {
    App::new("[app]\nname = \"hello\"\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[modules.hello]\ncomponent = \"hello\"\n")
        .file("target/components/readme.txt", "")
        .component(
            "target/components/hello",
            "package t:t; world component { export t:greet/greet@1.0.0; }
             package t:greet@1.0.0 { interface greet { count: func(name: string) -> u32; } }",
            "",
            r#"(func (export "t:greet/greet@1.0.0#count") (param i32 i32) (result i32) (local.get 1))"#,
        )
        .file("wit/greet/greet.wit", "package t:greet@1.0.0; interface greet { count: func(name: string) -> u32; }")
        .file("wit/other/other.wit", "package t:other@1.0.0; interface other { f: func(); }")
        .file("Cargo.toml", "[workspace]\nmembers = [\"hello\"]\n[workspace.dependencies]\nshared = { path = \"shared\" }\n")
        .file("hello/Cargo.toml", "[package]\nname = \"hello\"\n[dependencies]\nshared.workspace = true\nserde = \"1\"\n")
        .file("hello/wit/world.wit", "package t:hello; world hello { export t:greet/greet@1.0.0; }")
        .file("hello/src/lib.rs", "")
        .file("hello/tests/all.rs", "")
        .file("hello/bindings.tmp", "")
        .file("hello/migrations/0001_a.sql", "CREATE TABLE a (id INTEGER)")
        .file("shared/Cargo.toml", "[package]\nname = \"shared\"\n")
        .file("shared/src/lib.rs", "")
}

/// Sets the modification time of a file to `seconds` after now.
fn edit(app: &App, file: &str, seconds: u64) {
    let file = File::options().append(true).open(app.path().join(file)).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(seconds)).unwrap();
}

#[test]
fn every_source_counts_and_nothing_else() {
    let app = hello();
    edit(&app, COMPONENT, 1_000);
    assert!(app.notes().iter().all(|(code, _)| code != "outdated"), "{:?}", app.notes());
    let outdated = |app: &App| -> Vec<String> {
        app.notes().into_iter().filter(|(code, _)| code == "outdated").map(|(_, message)| message).collect()
    };
    for (at, file) in (1..).zip(["hello/tests/all.rs", "wit/other/other.wit", "Cargo.toml", "hello/bindings.tmp"]) {
        edit(&app, file, 2_000 + at);
        assert!(outdated(&app).is_empty(), "{file}: {:?}", app.notes());
    }
    for (at, file) in (1..).zip([
        "hello/src/lib.rs",
        "hello/wit/world.wit",
        "hello/migrations/0001_a.sql",
        "hello/Cargo.toml",
        "wit/greet/greet.wit",
        "shared/src/lib.rs",
    ]) {
        edit(&app, file, 3_000 + at);
        let words =
            format!("the component of `hello` is older than its sources: `{file}` changed after the last build");
        assert_eq!(outdated(&app), [words]);
    }
    edit(&app, COMPONENT, 4_000);
    assert!(outdated(&app).is_empty());
}

#[test]
fn every_command_that_takes_a_component_tells_that_it_is_old() {
    let app = hello();
    edit(&app, COMPONENT, 1_000);
    let words = "the component of `hello` is older than its sources: `hello/src/lib.rs`";
    let commands: [&[&str]; 3] =
        [&["check"], &["call", "hello/greet.count", "\"a\""], &["test", "hello", "--no-build"]];
    let told = |arguments: &[&str]| text(&app.run(arguments).stderr);
    for command in commands {
        assert!(!told(command).contains(words), "{command:?}");
    }
    edit(&app, "hello/src/lib.rs", 2_000);
    for command in commands {
        let error = told(command);
        assert!(error.contains(words) && error.contains("watertight build hello"), "{command:?}: {error}");
    }
    let host = app.start();
    assert!(host.log().contains(words), "{}", host.log());
    let state = host.state().display().to_string();
    for command in [&["swap", "hello", COMPONENT][..], &["apply"]] {
        let output = app.run(&[command, &["--dry-run", "--state", &state]].concat());
        let error = text(&output.stderr);
        assert!(output.status.success() && error.contains(words), "{command:?}: {error}");
    }
    // A problem has the note beside it: the old component may be its cause.
    let app =
        app.file("app.toml", "[app]\nname = \"hello\"\n[modules.hello]\ncomponent = \"hello\"\nuses = [\"sqll\"]\n");
    let output = app.run(&["check", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!output.status.success() && found["notes"][0]["code"] == "outdated", "{found}");
}
