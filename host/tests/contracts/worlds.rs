//! Tests of names that belong to a WIT world: labels for several imports of one interface, and interfaces and functions that only the world
//! defines.

use serde_json::{Value, json};

use crate::app::{App, ask};

const TEXT: &str = "
    package field:text@1.0.0 { interface text { echo: func(s: string) -> string; } }
";

/// The WIT text of a module that imports the interface `text` twice, under two labels. Its functions return what each import returns.
const TWICE: &str = "
    package field:twice;
    world component {
        import primary: field:text/text@1.0.0;
        import secondary-2: field:text/text@1.0.0;
        export field:user/user@1.0.0;
    }
    package field:user@1.0.0 { interface user { first: func(s: string) -> string; second: func(s: string) -> string; } }
";
const TWICE_IMPORTS: &str = r#"
    (import "primary" "echo" (func $first (param i32 i32 i32)))
    (import "secondary-2" "echo" (func $second (param i32 i32 i32)))
"#;
const TWICE_CORE: &str = r#"
    (func (export "field:user/user@1.0.0#first") (param i32 i32) (result i32)
        (call $first (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
    (func (export "field:user/user@1.0.0#second") (param i32 i32) (result i32)
        (call $second (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
"#;

const BARE: &str = "
    package field:bare;
    world component {
        use field:shapes/shapes@1.0.0.{point, line};
        record pair { point: point, name: string }
        export longer: func(line: line, pair: pair) -> u32;
        export add: func(a: u32, b: u32) -> u32;
        export swap-2: func(point: point) -> point;
        export text: interface { echo: func(s: string) -> string; }
    }
    package field:shapes@1.0.0 { interface shapes { record point { x: u32, y: u32 } record line { start: point, end: point } } }
";
const BARE_CORE: &str = r#"
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "longer") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.add (local.get 2) (local.get 7)))
    (func (export "swap-2") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 1))
        (i32.store offset=4 (i32.const 16) (local.get 0))
        (i32.const 16))
    (func (export "text#echo") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0))
        (i32.store offset=4 (i32.const 16) (local.get 1))
        (i32.const 16))
"#;

const USER_ROUTES: &str = r#"
    [[route]]
    method = "GET"
    path   = "/first/{s}"
    call   = "twice/user.first"
    [[route]]
    method = "GET"
    path   = "/second/{s}"
    call   = "twice/user.second"
"#;

/// Returns the core functions of a module that always answers with this letter.
fn text_core(letter: char) -> String {
    format!(
        r#"(data (i32.const 8) "{letter}")
           (func (export "field:text/text@1.0.0#echo") (param i32 i32) (result i32)
                (i32.store (i32.const 16) (i32.const 8))
                (i32.store offset=4 (i32.const 16) (i32.const 1))
                (i32.const 16))"#
    )
}

/// Returns an application of the module `twice` and two modules that export the interface that `twice` imports. `calls` is the text of the
/// manifest's key `calls`. `settings` is appended to the manifest.
fn twice(calls: &str, settings: &str) -> App {
    let text = format!("package field:a; world component {{ export field:text/text@1.0.0; }} {TEXT}");
    App::new(&format!(
        "[app]\nname = \"twice\"\nroutes = [\"routes.toml\"]\n\
         [modules.twice]\ncomponent = \"twice.wasm\"\ncalls = {calls}\n\
         [modules.text-a]\ncomponent = \"text-a.wasm\"\n[modules.text-b]\ncomponent = \"text-b.wasm\"\n{settings}"
    ))
    .file("routes.toml", USER_ROUTES)
    .component("twice", &format!("{TWICE}{TEXT}"), TWICE_IMPORTS, TWICE_CORE)
    .component("text-a", &text, "", &text_core('a'))
    .component("text-b", &text, "", &text_core('b'))
}

#[test]
fn each_label_is_served_by_the_module_that_the_manifest_names() {
    let named = r#"{ primary = "text-a", secondary-2 = "text-b" }"#;
    let mixed = r#"{ primary = "text-a", "field:text/text" = "text-b" }"#;
    let apart = "[compartments.one]\nmodules = [\"twice\", \"text-b\"]\n[compartments.two]\nmodules = [\"text-a\"]\n";
    for (calls, settings, answers) in [
        (named, "", ["a", "b"]),
        (named, apart, ["a", "b"]),
        (mixed, "", ["a", "b"]),
        (r#"["text-b"]"#, "", ["b", "b"]),
        (r#"["text-a"]"#, apart, ["a", "a"]),
        (r#"{ text = "text-a" }"#, "", ["a", "a"]),
    ] {
        let app = twice(calls, settings);
        assert_eq!(app.problems(), [], "{calls}");
        let host = app.start();
        let answers = answers.map(|answer| (200, format!("\"{answer}\"")));
        assert_eq!([ask(&host, "GET /first/x", ""), ask(&host, "GET /second/x", "")], answers, "{calls} {settings}");
    }
}

#[test]
fn labels_are_shown_with_their_interfaces() {
    let app = twice(r#"{ primary = "text-a", secondary-2 = "text-b" }"#, "");
    let inspected = app.out(&["inspect", "twice.wasm"]);
    assert!(
        inspected.contains("    primary (field:text/text@1.0.0)\n      echo: func(s: string) -> string\n"),
        "{inspected}"
    );
    let imports = &app.json(&["inspect", "twice.wasm", "--json"])["imports"];
    assert_eq!(imports[1]["name"], "secondary-2");
    assert_eq!(imports[1]["implements"], "field:text/text@1.0.0");
    let drawn = app.out(&["graph", "."]);
    assert!(drawn.contains("calls   primary (field:text/text@1.0.0) of text-a (fused)"), "{drawn}");
    let call = &app.json(&["graph", "--json", "."])["calls"][1];
    assert_eq!(
        call,
        &json!({"from": "twice", "to": "text-b", "interface": "secondary-2", "implements": "field:text/text@1.0.0", "kind": "fused", "counted": false})
    );
}

#[test]
fn calls_that_leave_it_open_are_refused_with_the_line_to_write() {
    for (calls, code, words) in [
        (r#"["text-a", "text-b"]"#, "ambiguous", "`primary` (`field:text/text@1.0.0`), which several"),
        (
            "[]",
            "undeclared-call",
            "`secondary-2` (`field:text/text@1.0.0`), and its `calls` names no module that exports it",
        ),
        (
            r#"{ primary = "text-a" }"#,
            "undeclared-call",
            "`secondary-2` (`field:text/text@1.0.0`), and its `calls` names no module for it",
        ),
        (r#"{ primary = "twice", secondary-2 = "text-b" }"#, "cycle", "names the module itself"),
        (r#"{ primary = "text-c", secondary-2 = "text-b" }"#, "unknown-name", "there is no module `text-c`"),
        (
            r#"{ "a b" = "text-a", text = "text-b" }"#,
            "bad-value",
            "neither the label or name of an import nor an interface",
        ),
    ] {
        let problems = twice(calls, "").problems();
        assert!(
            problems.iter().any(|(found, message)| found == code && message.contains(words)),
            "{calls}: {problems:?}"
        );
        assert!(problems.iter().all(|(found, _)| found == code), "{calls}: {problems:?}");
    }
    let wrong = twice(r#"{ primary = "text-a", secondary-2 = "text-b" }"#, "")
        .dummy("text-b", "package field:a; world component { export field:other/other; } package field:other { interface other { f: func(); } }");
    let problems = wrong.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].1.contains("names `text-b` for `secondary-2` (`field:text/text@1.0.0`), which does not export it"),
        "{problems:?}"
    );
    let spare = twice(r#"{ primary = "text-a", secondary-2 = "text-b", third = "text-b" }"#, "");
    assert_eq!(spare.problems(), []);
    assert!(spare.notes().iter().any(|(_, note)| note.contains("who serves `third`")), "{:?}", spare.notes());
}

const BARE_ROUTES: &str = r#"
    [[route]]
    method = "GET"
    path   = "/add"
    call   = "bare.add"
    [[route]]
    method = "POST"
    path   = "/swap"
    call   = "bare.swap-2"
    body   = "point"
    [[route]]
    method = "GET"
    path   = "/echo/{s}"
    call   = "bare/text.echo"
"#;

fn bare() -> App {
    App::new(
        "[app]\nname = \"bare\"\nroutes = [\"routes.toml\"]\n[modules.bare]\ncomponent = \"bare.wasm\"\n\
         [modules.other]\ncomponent = \"other.wasm\"\n",
    )
    .file("routes.toml", BARE_ROUTES)
    .component("bare", BARE, "", BARE_CORE)
    // This module has another type of the same name, and shares the compartment.
    .component(
        "other",
        &BARE.replace("record point { x: u32, y: u32 }", "record point { y: u32, x: u32 }"),
        "",
        BARE_CORE,
    )
}

#[test]
fn functions_of_a_world_are_routed_called_and_tested() {
    let suite = json!({"module": "bare", "cases": [{"name": "its own", "steps": [
        {"call": "add", "arguments": [2, 3], "answer": 5},
        {"call": "swap-2", "arguments": [{"x": 1, "y": 2}], "answer": {"x": 2, "y": 1}},
        {"call": "longer", "arguments": [{"start": {"x": 0, "y": 0}, "end": {"x": 5, "y": 0}}, {"point": {"x": 1, "y": 1}, "name": "four"}], "answer": 9},
        {"call": "text.echo", "arguments": ["x"], "answer": "x"},
    ]}]});
    let app = bare().file("wit/bare/suite/bare.json", &suite.to_string());
    assert_eq!(app.problems(), []);
    let host = app.start();
    assert_eq!(ask(&host, "GET /add?a=2&b=3", ""), (200, "5".to_owned()));
    assert_eq!(ask(&host, "POST /swap", r#"{"x": 1, "y": 2}"#), (200, r#"{"x":2,"y":1}"#.to_owned()));
    assert_eq!(ask(&host, "GET /echo/z", ""), (200, "\"z\"".to_owned()));
    drop(host);
    assert_eq!(app.json(&["call", "bare.add", "40", "2", "--json"]), json!(42));
    assert_eq!(app.json(&["call", "other.swap-2", r#"{"x": 1, "y": 2}"#, "--json"]), json!({"x": 2, "y": 1}));
    let tested = app.run(&["test", "bare", "--json"]);
    let report: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!((report[0]["passed"].as_u64(), report[0]["failed"].as_u64()), (Some(1), Some(0)), "{report}");
}

#[test]
fn functions_of_a_world_are_shown_and_missed_by_name() {
    let app = bare();
    let inspected = app.out(&["inspect", "bare.wasm"]);
    assert!(inspected.contains("    add: func(a: u32, b: u32) -> u32\n"), "{inspected}");
    assert!(inspected.contains("    text\n      echo: func(s: string) -> string\n"), "{inspected}");
    assert_eq!(app.json(&["inspect", "bare.wasm", "--json"])["exported_functions"][0]["name"], "add");
    let drawn = app.out(&["graph", "."]);
    assert!(drawn.contains("exports add (func(a: u32, b: u32) -> u32)"), "{drawn}");
    let notes = app.notes();
    assert!(
        notes.iter().all(|(code, note)| code == "unreached" && (note.contains("other") || note.contains("longer"))),
        "{notes:?}"
    );
    let app = app.file("routes.toml", &BARE_ROUTES.replace("bare.add", "bare.subtract"));
    let problems = app.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].1.contains("exports no function `subtract` itself; it exports `add`, `longer`, `swap-2`, `text`"),
        "{problems:?}"
    );
}

#[test]
fn a_function_that_no_module_serves_is_refused_with_words_that_fit() {
    let app = App::new("[app]\nname = \"a\"\n[modules.a]\ncomponent = \"a.wasm\"\n")
        .dummy("a", "package t:t; world component { import log: func(text: string); }");
    let problems = app.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].1.contains("nothing exports the function `log: func(text: string)`, which the world of module `a`"),
        "{problems:?}"
    );
    assert!(app.out(&["inspect", "a.wasm"]).contains("  imports\n    log: func(text: string)\n"));
}

/// The WIT text of a module that exports one interface under a label, and one that only its world defines.
const OWN: &str = "
    package field:owns;
    world component {
        export spoken: field:text/text@1.0.0;
        export local-2: interface { record word { letters: string } say: func() -> word; }
    }
";
const OWN_CORE: &str = r#"
    (data (i32.const 8) "o")
    (func $o (result i32)
        (i32.store (i32.const 16) (i32.const 8)) (i32.store offset=4 (i32.const 16) (i32.const 1)) (i32.const 16))
    (func (export "spoken#echo") (param i32 i32) (result i32) (call $o))
    (func (export "local-2#say") (result i32) (call $o))
"#;

/// The WIT text of a module that imports both: the first by the interface's name, the second by a label.
const ASKS: &str = "
    package field:asks;
    world component {
        import field:text/text@1.0.0;
        import local-2: interface { record word { letters: string } say: func() -> word; }
        export field:user/user@1.0.0;
    }
    package field:user@1.0.0 { interface user { first: func(s: string) -> string; second: func(s: string) -> string; } }
";
const ASKS_IMPORTS: &str = r#"
    (import "field:text/text@1.0.0" "echo" (func $first (param i32 i32 i32)))
    (import "local-2" "say" (func $second (param i32)))
"#;
const ASKS_CORE: &str = r#"
    (func (export "field:user/user@1.0.0#first") (param i32 i32) (result i32)
        (call $first (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
    (func (export "field:user/user@1.0.0#second") (param i32 i32) (result i32)
        (call $second (i32.const 16)) (i32.const 16))
"#;

#[test]
fn exports_under_labels_serve_modules_and_routes() {
    let apart = "[compartments.one]\nmodules = [\"asks\"]\n[compartments.two]\nmodules = [\"own\"]\n";
    for (calls, settings) in [
        ("[\"own\"]", ""),
        ("[\"own\"]", apart),
        ("{ text = \"own\", local-2 = \"own\" }", ""),
        ("{ \"field:text/text@1.0.0\" = \"own\", local-2 = \"own\" }", apart),
    ] {
        let app = App::new(&format!(
            "[app]\nname = \"own\"\nroutes = [\"routes.toml\"]\n[modules.own]\ncomponent = \"own.wasm\"\n\
             [modules.asks]\ncomponent = \"asks.wasm\"\ncalls = {calls}\n{settings}"
        ))
        .file(
            "routes.toml",
            &(USER_ROUTES.replace("twice/", "asks/")
                + "[[route]]\nmethod = \"GET\"\npath = \"/label\"\ncall = \"own/spoken.echo\"\n"
                + "[[route]]\nmethod = \"GET\"\npath = \"/interface\"\ncall = \"own/field:text/text@1.echo\"\n"
                + "[[route]]\nmethod = \"GET\"\npath = \"/own\"\ncall = \"own/local-2.say\"\n"),
        )
        .component("own", &format!("{OWN}{TEXT}"), "", OWN_CORE)
        .component("asks", &format!("{ASKS}{TEXT}"), ASKS_IMPORTS, ASKS_CORE);
        assert_eq!(app.problems(), [], "{calls}");
        assert_eq!(app.notes(), [], "{calls}");
        let host = app.start();
        for path in ["/first/x", "/second/x", "/label?s=x", "/interface?s=x"] {
            assert_eq!(ask(&host, &format!("GET {path}"), ""), (200, "\"o\"".to_owned()), "{path} {calls}");
        }
        assert_eq!(ask(&host, "GET /own", ""), (200, r#"{"letters":"o"}"#.to_owned()));
    }
}
