//! Tests of functions that a world imports outside of any interface: a module whose world exports such a function serves it.

use serde_json::{Value, json};
use watertight_testkit::admin::Operator;

use crate::app::{App, ask};

const CALLER: &str = "
    package field:caller;
    world component {
        record point { x: u32, y: u32 }
        variant error { unavailable(string), bad }
        import add: func(a: u32, b: u32) -> u32;
        import swap-2: func(point: point) -> point;
        import greet: func(name: string) -> result<string, error>;
        import letter: func() -> char;
        export sum: func(a: u32, b: u32) -> u32;
        export swapped: func(x: u32, y: u32) -> point;
        export greeting: func(name: string) -> result<string, error>;
        export first: func() -> char;
    }
";
const CALLER_IMPORTS: &str = r#"
    (import "$root" "add" (func $add (param i32 i32) (result i32)))
    (import "$root" "swap-2" (func $swap (param i32 i32 i32)))
    (import "$root" "greet" (func $greet (param i32 i32 i32)))
    (import "$root" "letter" (func $letter (result i32)))
"#;
const CALLER_CORE: &str = r#"
    (func (export "sum") (param i32 i32) (result i32) (call $add (local.get 0) (local.get 1)))
    (func (export "swapped") (param i32 i32) (result i32)
        (call $swap (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
    (func (export "greeting") (param i32 i32) (result i32)
        (call $greet (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
    (func (export "first") (result i32) (call $letter))
"#;

/// The WIT text of a module that exports the functions under other names of types. `greet` traps if the name is empty, and the result of
/// `letter` is no character.
const SUMS: &str = "
    package field:sums;
    world component {
        record spot { x: u32, y: u32 }
        variant failure { unavailable(string), bad }
        export add: func(a: u32, b: u32) -> u32;
        export swap-2: func(point: spot) -> spot;
        export greet: func(name: string) -> result<string, failure>;
        export letter: func() -> char;
    }
";
const SUMS_CORE: &str = r#"
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "swap-2") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 1))
        (i32.store offset=4 (i32.const 16) (local.get 0))
        (i32.const 16))
    (func (export "greet") (param i32 i32) (result i32)
        (if (i32.eqz (local.get 1)) (then unreachable))
        (memory.fill (i32.const 16) (i32.const 0) (i32.const 16))
        (i32.store offset=4 (i32.const 16) (local.get 0))
        (i32.store offset=8 (i32.const 16) (local.get 1))
        (i32.const 16))
    (func (export "letter") (result i32) (i32.const 0xd800))
"#;

/// The WIT text of a module with two functions of the type of `add`. They add 100 and 1,000 to the result.
const MORE: &str = "
    package field:more;
    world component { export add: func(a: u32, b: u32) -> u32; export plus: func(a: u32, b: u32) -> u32; }
";
const MORE_CORE: &str = r#"
    (func (export "add") (param i32 i32) (result i32)
        (i32.add (i32.const 100) (i32.add (local.get 0) (local.get 1))))
    (func (export "plus") (param i32 i32) (result i32)
        (i32.add (i32.const 1000) (i32.add (local.get 0) (local.get 1))))
"#;

const ROUTES: &str = r#"
    [[route]]
    method = "GET"
    path   = "/sum"
    call   = "caller.sum"
    [[route]]
    method = "GET"
    path   = "/swapped"
    call   = "caller.swapped"
    [[route]]
    method = "GET"
    path   = "/greeting"
    call   = "caller.greeting"
    errors = { unavailable = 502, bad = 400 }
    [[route]]
    method = "GET"
    path   = "/first"
    call   = "caller.first"
"#;

/// Text for the end of a manifest: it puts each module into a compartment.
const APART: &str = "[compartments.a]\nmodules = [\"caller\"]\n[compartments.b]\nmodules = [\"sums\"]\n\
                     [compartments.c]\nmodules = [\"more\"]\n";
const TABLE: &str = r#"{ add = "more.plus", swap-2 = "sums", greet = "sums", letter = "sums" }"#;

fn app(calls: &str, settings: &str) -> App {
    App::new(&format!(
        "[app]\nname = \"sums\"\nroutes = [\"routes.toml\"]\n\
         [modules.caller]\ncomponent = \"caller.wasm\"\ncalls = {calls}\n\
         [modules.sums]\ncomponent = \"sums.wasm\"\n[modules.more]\ncomponent = \"more.wasm\"\n{settings}"
    ))
    .file("routes.toml", ROUTES)
    .component("caller", CALLER, CALLER_IMPORTS, CALLER_CORE)
    .component("sums", SUMS, "", SUMS_CORE)
    .component("more", MORE, "", MORE_CORE)
}

#[test]
fn the_module_that_the_manifest_names_serves_a_function() {
    for (calls, sum) in [
        (r#"["sums"]"#, "5"),
        (r#"{ add = "more", swap-2 = "sums", greet = "sums", letter = "sums" }"#, "105"),
        (TABLE, "1005"),
    ] {
        for settings in ["", APART] {
            let app = app(calls, settings);
            assert_eq!(app.problems(), [], "{calls}");
            let host = app.start();
            assert_eq!(ask(&host, "GET /sum?a=2&b=3", ""), (200, sum.to_owned()), "{calls} {settings}");
            assert_eq!(ask(&host, "GET /swapped?x=1&y=2", ""), (200, r#"{"x":2,"y":1}"#.to_owned()));
            assert_eq!(ask(&host, "GET /greeting?name=ada", ""), (200, "\"ada\"".to_owned()));
        }
    }
}

#[test]
fn a_failure_of_a_function_names_the_module_that_serves_it() {
    let host = app(TABLE, "").start();
    assert_eq!(ask(&host, "GET /greeting?name=", "").0, 500);
    assert!(host.has_logged("trapped in `sums`"), "{}", host.log());
    // Only the generated code between two modules sees a value that is no character.
    assert_eq!(ask(&host, "GET /first", "").0, 500);
    let line = host.log().lines().find(|line| line.contains("/first") && line.contains("sums")).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("caller") && !line.contains("more")), "{}", host.log());
    let host = app(TABLE, APART).start();
    let (status, text) = ask(&host, "GET /greeting?name=", "");
    assert!(status == 502 && text.contains("module `sums` is unavailable"), "{status} {text}");
    let metrics = Operator::of(&host).ask("GET", "/metrics", "text/plain", b"").text;
    let counted = r#"watertight_calls_total{from="a",kind="bridged",to="b"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn functions_are_shown_and_tested_like_interfaces() {
    let suite = json!({"module": "caller", "cases": [{"name": "its own", "steps": [
        {"call": "sum", "arguments": [2, 3], "answer": 1005},
        {"call": "greeting", "arguments": ["ada"], "answer": {"ok": "ada"}},
    ]}]});
    let app = app(TABLE, "").file("wit/caller/suite/caller.json", &suite.to_string());
    let tested = app.run(&["test", "caller", "--json"]);
    let report: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!((report[0]["passed"].as_u64(), report[0]["failed"].as_u64()), (Some(1), Some(0)), "{report}");

    let inspected = app.out(&["inspect", "caller.wasm"]);
    assert!(inspected.contains("  imports\n    add: func(a: u32, b: u32) -> u32\n    greet: "), "{inspected}");
    let inspected = app.json(&["inspect", "caller.wasm", "--json"]);
    assert_eq!((&inspected["imports"], &inspected["imported_functions"][0]["name"]), (&json!([]), &json!("add")));
    let drawn = app.out(&["graph", "."]);
    assert!(
        drawn.contains("      calls   add (plus) of more (fused)\n      calls   greet of sums (fused)\n"),
        "{drawn}"
    );
    let call = &app.json(&["graph", "--json", "."])["calls"][0];
    let expected = json!({"from": "caller", "to": "more", "interface": "add", "function": "plus", "kind": "fused", "counted": false});
    assert_eq!(call, &expected);
    let notes = app.notes();
    let unreached = ["`sums.add`", "`more.add`"].map(|function| format!("no route names {function}"));
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(unreached.iter().all(|text| notes.iter().any(|(_, note)| note.contains(text))), "{notes:?}");
}

#[test]
fn a_change_of_the_function_that_serves_an_import_is_a_change_of_the_caller() {
    let app = app(TABLE, "");
    let host = app.start();
    assert_eq!(ask(&host, "GET /sum?a=2&b=3", ""), (200, "1005".to_owned()));
    let manifest = std::fs::read_to_string(app.path().join("app.toml")).unwrap();
    let app = app.file("app.toml", &manifest.replace("more.plus", "more.add"));
    let operator = Operator::of(&host);
    let dry = operator.apply(app.path(), true);
    let changed = |module: &Value| module["name"] == "caller" && module["change"] == "changed";
    let plan: Value = serde_json::from_str(&dry.text).unwrap();
    let modules = plan["plan"]["modules"].as_array().unwrap_or_else(|| panic!("{plan}"));
    assert!(modules.len() == 1 && modules.iter().all(changed), "{plan}");
    operator.apply(app.path(), false);
    assert_eq!(ask(&host, "GET /sum?a=2&b=3", ""), (200, "105".to_owned()));
    // A build without the function, or with another type of it, is refused.
    let other = "package field:more; world component { export add: func(a: u32, b: u64) -> u32; }";
    let refused = operator.swap("more", &watertight_testkit::components::component(other, "component"));
    assert!(refused.text.contains("the function `add` differs between module `caller`"), "{}", refused.text);
    let other = "package field:more; world component { export plus: func(a: u32, b: u32) -> u32; }";
    let refused = operator.swap("more", &watertight_testkit::components::component(other, "component"));
    assert!(refused.text.contains("exports no function `add`"), "{}", refused.text);
    assert_eq!(ask(&host, "GET /sum?a=2&b=3", ""), (200, "105".to_owned()));
}

const SHELF: &str = "
    package field:shelf { interface shelf { resource book { constructor(pages: u32); pages: func() -> u32; } } }
";
const SHELF_CORE: &str = r#"
    (func (export "field:shelf/shelf#[constructor]book") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "field:shelf/shelf#[method]book.pages") (param i32) (result i32) (local.get 0))
"#;
/// The core imports of a module that uses books of the module `shelf`.
const BOOKS: &str = r#"
    (import "field:shelf/shelf" "[constructor]book" (func $new (param i32) (result i32)))
    (import "field:shelf/shelf" "[method]book.pages" (func $pages (param i32) (result i32)))
    (import "field:shelf/shelf" "[resource-drop]book" (func $drop (param i32)))
"#;

/// The functions have handles of a resource that a third module defines.
#[test]
fn functions_exchange_handles_within_a_compartment() {
    let world =
        |items: &str| format!("package field:a; world component {{ use field:shelf/shelf.{{book}}; {items} }} {SHELF}");
    let app = App::new(
        "[app]\nname = \"books\"\nroutes = [\"routes.toml\"]\n\
         [modules.runner]\ncomponent = \"runner.wasm\"\ncalls = [\"middle\", \"shelf\"]\n\
         [modules.middle]\ncomponent = \"middle.wasm\"\ncalls = [\"shelf\"]\n\
         [modules.shelf]\ncomponent = \"shelf.wasm\"\n",
    )
    .file("routes.toml", "[[route]]\nmethod = \"GET\"\npath = \"/go\"\ncall = \"runner.go\"\n")
    .component(
        "shelf",
        &format!("package field:a; world component {{ export field:shelf/shelf; }} {SHELF}"),
        r#"(import "[export]field:shelf/shelf" "[resource-new]book" (func $new (param i32) (result i32)))"#,
        SHELF_CORE,
    )
    .component(
        "middle",
        &world("export join: func(a: borrow<book>, b: book) -> book;"),
        BOOKS,
        r#"(func (export "join") (param $a i32) (param $b i32) (result i32)
            (call $new (i32.add (call $pages (local.get $a)) (call $pages (local.get $b))))
            (call $drop (local.get $a))
            (call $drop (local.get $b)))"#,
    )
    .component(
        "runner",
        &world("import join: func(a: borrow<book>, b: book) -> book; export go: func() -> u32;"),
        &format!(r#"{BOOKS} (import "$root" "join" (func $join (param i32 i32) (result i32)))"#),
        r#"(func (export "go") (result i32)
            (call $pages (call $join (call $new (i32.const 40)) (call $new (i32.const 2)))))"#,
    );
    assert_eq!(app.problems(), []);
    assert_eq!(ask(&app.start(), "GET /go", ""), (200, "42".to_owned()));
}

/// Functions of a world that are `async func`s, in one compartment and in two.
#[test]
fn async_functions_are_served() {
    let apart = "[compartments.a]\nmodules = [\"caller\"]\n[compartments.b]\nmodules = [\"callee\"]\n";
    let together = "[compartments.a]\nmodules = [\"caller\", \"callee\"]\n";
    for settings in [together, apart] {
        let app = App::new(&format!(
            "[app]\nname = \"waits\"\n[modules.caller]\ncomponent = \"caller.wasm\"\ncalls = [\"callee\"]\n\
             [modules.callee]\ncomponent = \"callee.wasm\"\n{settings}"
        ))
        .component(
            "callee",
            "package field:a; world component { export twice: async func(a: u32) -> u32; }",
            "",
            r#"(func (export "twice") (param i32) (result i32) (i32.mul (i32.const 2) (local.get 0)))"#,
        )
        .component(
            "caller",
            "package field:a; world component { import twice: async func(a: u32) -> u32; export go: async func() -> u32; }",
            r#"(import "$root" "twice" (func $twice (param i32) (result i32)))"#,
            r#"(func (export "go") (result i32) (call $twice (i32.const 21)))"#,
        );
        assert_eq!(app.problems(), [], "{settings}");
        assert_eq!(app.json(&["call", "caller.go", "--json"]), json!(42), "{settings}");
    }
}
