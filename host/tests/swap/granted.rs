//! Tests that a build gets only what the manifest grants. `check`, `swap` and `apply` refuse everything else, with the exact name of the
//! import and the text that the manifest lacks.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use watertight_model::config::capability::Declarations;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::command::run;
use watertight_testkit::components::component;
use watertight_testkit::host::{self, Launch};
use watertight_testkit::paths::repository;

/// The imports that a build may have. Each has the grant that it needs, its name, and the WIT package that defines it: as text, or as a
/// file below `wit`.
const IMPORTS: [(&str, &str, &str); 11] = [
    ("sql", "watertight:sql/sql@1.0.0", "wit/sql/sql.wit"),
    ("keyvalue", "wasi:keyvalue/store@0.2.0-draft2", "wit/keyvalue/store.wit"),
    ("logging", "wasi:logging/logging@0.1.0-draft", "wit/logging/logging.wit"),
    ("clocks", "wasi:clocks/wall-clock@0.2.6", "wit/clocks/wall-clock.wit"),
    (
        "clocks",
        "wasi:clocks/monotonic-clock@0.2.6",
        "package wasi:clocks@0.2.6; interface monotonic-clock { now: func() -> u64; }",
    ),
    ("random", "wasi:random/random@0.2.6", "wit/random/random.wit"),
    (
        "random",
        "wasi:random/insecure@0.2.6",
        "package wasi:random@0.2.6; interface insecure { get-insecure-random-u64: func() -> u64; }",
    ),
    ("config", "wasi:config/store@0.2.0-rc.1", "wit/config/store.wit"),
    ("context", "watertight:request/context@1.0.0", "wit/request/request.wit"),
    // These types are Wasmtime's own. Wasmtime checks them when a generation is linked.
    (
        "http",
        "wasi:http/outgoing-handler@0.2.6",
        "package wasi:http@0.2.6; interface outgoing-handler { handle: func(); }",
    ),
    (CALLEE, "t:t/other@1.0.0", "package t:t@1.0.0; interface other { say: func() -> u32; }"),
];
/// Stands for the grant of an import that a module serves and not a capability. It is the name of that module.
const CALLEE: &str = "other";

/// Returns a build of the module `asks` with this import, or with none. An import is its name and its WIT package.
fn asks(import: Option<(&str, &str)>) -> Vec<u8> {
    let Some((import, package)) = import else { return component("package a:a; world component {}", "component") };
    let text = if package.ends_with(".wit") {
        fs::read_to_string(repository().join(package)).unwrap()
    } else {
        package.to_owned()
    };
    // The package's header becomes the header of a nested package.
    let at = text.find("package ").unwrap();
    let (head, rest) = text[at..].split_once(';').unwrap();
    component(&format!("package a:a; world component {{ import {import}; }} {head} {{ {rest} }}"), "component")
}

/// Creates an application of two modules: the build `asks` with the grants `grants`, as text of the manifest, and the module `other`.
fn app(asks: &[u8], grants: &str) -> TempDir {
    let folder = host::folder();
    let other = "package t:t@1.0.0; interface other { say: func() -> u32; } world component { export other; }";
    fs::write(folder.path().join("asks.wasm"), asks).unwrap();
    fs::write(folder.path().join("other.wasm"), component(other, "component")).unwrap();
    let manifest = format!(
        "[app]\nname = \"grants\"\n[modules.asks]\ncomponent = \"asks.wasm\"\n{grants}\n\
         [modules.other]\ncomponent = \"other.wasm\"\n"
    );
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    folder
}

fn check(folder: &Path, code: i32) -> Vec<Value> {
    let said = run(host::binary().args(["check", "--json"]).arg(folder)).expect(code);
    said.json()["problems"].as_array().unwrap().clone()
}

/// Asserts that there is exactly one problem, which names the import and says which text the manifest lacks.
fn assert_refused_for(problems: &[Value], grant: &str, import: &str) {
    let [problem] = problems else { panic!("{import}: {problems:?}") };
    let (code, key) = if grant == CALLEE { ("undeclared-call", "calls") } else { ("ungranted", "uses") };
    assert_eq!(
        (&problem["code"], &problem["module"], &problem["interface"]),
        (&code.into(), &"asks".into(), &import.into())
    );
    assert!(problem["message"].as_str().unwrap().contains(&format!("`{import}`")), "{problem}");
    assert_eq!(problem["help"], format!("add \"{grant}\" to `{key}` of [modules.asks]"), "{import}");
}

#[test]
fn a_build_that_asks_for_more_is_refused_until_the_manifest_grants_it() {
    // Every capability must be in the list.
    let declarations = Declarations::default();
    let names: Vec<&str> = declarations.all().iter().map(|declaration| declaration.name.as_str()).collect();
    for name in &names {
        assert!(IMPORTS.iter().any(|(grant, _, _)| grant == name), "{name} is not tested");
    }
    let modest = app(&asks(None), "");
    let host = Launch::app(modest.path()).start();
    let operator = Operator::of(&host);
    for (count, (grant, import, package)) in IMPORTS.into_iter().enumerate() {
        let greedy = asks(Some((import, package)));
        let key = if grant == CALLEE { "calls" } else { "uses" };
        // Everything else is granted, so only this grant is missing.
        let others = names.iter().filter(|other| **other != grant);
        let all_others = format!("uses = {:?}", others.collect::<Vec<_>>());
        assert_refused_for(&check(app(&greedy, "").path(), 1), grant, import);
        assert_refused_for(&check(app(&greedy, &all_others).path(), 1), grant, import);
        for answer in [operator.swap("asks", &greedy), operator.apply(app(&greedy, "").path(), false)] {
            assert_refused_for(answer.expect(409).body["problems"].as_array().unwrap(), grant, import);
        }
        let told = operator.generations();
        assert_eq!(told["current"], 1, "{import}");
        assert_eq!(told["refused"].as_array().unwrap().len(), (2 * (count + 1)).min(16), "{import}");
        // The change that the help asks for makes the build acceptable.
        assert!(check(app(&greedy, &format!("{key} = [\"{grant}\"]")).path(), 0).is_empty(), "{import}");
    }
}

/// A revoked grant stays revoked for the build that used it, for a later build, and for builds that a rollback brings back.
#[test]
fn a_grant_that_is_taken_away_comes_back_by_no_swap() {
    let (grant, import, package) = IMPORTS[0];
    let greedy = asks(Some((import, package)));
    let granted = app(&greedy, &format!("uses = [\"{grant}\"]"));
    let host = Launch::app(granted.path()).start();
    let operator = Operator::of(&host);
    let without = app(&greedy, "");
    assert_refused_for(
        operator.apply(without.path(), false).expect(409).body["problems"].as_array().unwrap(),
        grant,
        import,
    );
    assert_eq!(published(&operator.apply(app(&asks(None), "").path(), false)), 2);
    assert_refused_for(operator.swap("asks", &greedy).expect(409).body["problems"].as_array().unwrap(), grant, import);
    // A rollback restores the manifest together with the build: the operator granted the capability then.
    assert_eq!(published(&operator.rollback(Some(1))), 3);
    assert_eq!(published(&operator.rollback(None)), 4);
    assert_refused_for(operator.swap("asks", &greedy).expect(409).body["problems"].as_array().unwrap(), grant, import);
}

#[test]
fn an_import_of_the_right_name_and_a_wrong_type_is_refused_with_the_path_to_it() {
    let wit = "package a:a; world component { import watertight:sql/sql@1.0.0; } package watertight:sql@1.0.0 { interface sql {
        record row { values: list<string> }
        variant error { syntax(string) }
        query: func(statement: string, parameters: list<string>) -> result<list<row>, error>; } }";
    let wrong = component(wit, "component");
    let granted = "uses = [\"sql\"]";
    let modest = app(&asks(None), granted);
    let host = Launch::app(modest.path()).start();
    let answer = Operator::of(&host).swap("asks", &wrong).expect(409);
    let swapped = answer.body["problems"].as_array().unwrap().clone();
    for problems in [check(app(&wrong, granted).path(), 1), swapped] {
        let found: Vec<_> = problems
            .iter()
            .map(|problem| {
                let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
                assert_eq!((text("code"), text("module")), ("type-mismatch".into(), "asks".into()));
                (text("interface"), text("function"), text("type_path"))
            })
            .collect();
        for path in ["parameters[]", "result.ok[]", "result.err.busy"] {
            let wanted = ("watertight:sql/sql@1.0.0".to_owned(), "query".to_owned(), path.to_owned());
            assert!(found.contains(&wanted), "{path}: {found:?}");
        }
    }
    assert_eq!(Operator::of(&host).generations()["current"], 1);
}
