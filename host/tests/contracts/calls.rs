//! Tests of commands on names that don't fit: a call without a running host, and builds of folders.

use std::fs;

use watertight_control::state::StateFolder;

use crate::app::{App, text};

fn hello() -> App {
    App::new("[app]\nname = \"hello\"\n[modules.hello]\ncomponent = \"hello.wasm\"\n").component(
        "hello",
        "package t:t; world component { export t:greet/greet@1.0.0; }
         package t:greet@1.0.0 { interface greet { count: func(name: string) -> u32; } }",
        "",
        r#"(func (export "t:greet/greet@1.0.0#count") (param i32 i32) (result i32) (local.get 1))"#,
    )
}

#[test]
fn a_call_that_cannot_be_made_starts_nothing() {
    let app = hello();
    for (arguments, said) in [
        (["call", "hello/greet.cuont", "\"a\""], "has no function `cuont`; it has `count`"),
        (["call", "hello/greet.count", "5"], "expected a string"),
        (["call", "hallo/greet.count", "\"a\""], "there is no module `hallo`"),
    ] {
        let output = app.run(&arguments);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
        assert!(!error.contains("no host runs"), "{error}");
        let code = fs::read_dir(app.path().join(".watertight/code"));
        assert_eq!(code.map_or(0, Iterator::count), 0, "something was compiled");
        assert!(StateFolder::read_history(&app.path().join(".watertight")).unwrap().published().is_empty());
    }
    let output = app.run(&["call", "hello/greet.count", "\"four\""]);
    let error = text(&output.stderr);
    assert_eq!(text(&output.stdout), "4\n", "{error}");
    for said in ["no host runs on `", ".watertight`", "nothing was published", "hello build "] {
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(StateFolder::read_history(&app.path().join(".watertight")).unwrap().published().is_empty());
}

/// `hello` doesn't call `other`, which needs a variable that is missing and has a database.
#[test]
fn a_call_without_a_host_needs_only_the_module_and_what_it_calls() {
    let app = hello().dummy(
        "other",
        "package t:t; world component { export t:other/other@1.0.0; }
         package t:other@1.0.0 { interface other { f: func(); } }",
    );
    let app = app.file(
        "app.toml",
        "[app]\nname = \"hello\"\n[modules.hello]\ncomponent = \"hello.wasm\"\n[modules.other]\ncomponent = \"other.wasm\"\n\
         uses = [\"config\", \"sql\"]\nconfig = { region = { env = \"NO_SUCH_REGION\" } }\n",
    );
    let output = app.run(&["call", "hello/greet.count", "\"four\""]);
    let error = text(&output.stderr);
    assert_eq!(text(&output.stdout), "4\n", "{error}");
    assert!(
        error.contains("runs `hello` and what it calls, and publishes nothing") && !error.contains("other build"),
        "{error}"
    );
    assert!(!app.path().join(".watertight/data/other.db").exists());
    let refused = app.run(&["call", "other/other.f"]);
    assert!(text(&refused.stderr).contains("[missing-value]"), "{}", text(&refused.stderr));
}

#[test]
fn a_path_names_a_folder_to_build() {
    let app = hello();
    let app = app.file("hello/notes.txt", "not a module");
    for (name, said) in [
        ("./hello", "the language of the module in `"),
        ("hello/", "the language of the module in `"),
        ("hello", "module `hello` is a component file"),
        ("./hallo", "there is no folder `./hallo`, neither here nor beside the manifest"),
    ] {
        let output = app.run(&["build", name]);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{name}: {error}");
    }
}
