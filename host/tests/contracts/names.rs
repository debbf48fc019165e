//! Tests of names with words that start with a digit or are in capitals: every valid WIT name works everywhere.

use serde_json::{Value, json};
use watertight_testkit::host::Host;

use crate::app::{App, ask};

const POST: &str = r#"
    package field:post-2@1.0.0 {
        interface VAT-2025 {
            variant error { needs-2FA, not-FOUND(string) }
            enum kind { b-2b, EU-28 }
            flags marks { x-1, VAT-ID }
            record address { line-2: string, ZIP-code: u32, kind: kind, marks: marks }
            get-2fa: func(line-2: string, user-ID: u32) -> result<string, error>;
            move-TO: func(address: address) -> address;
        }
    }
"#;

/// The core functions of a module. `get-2fa` returns an error for the users 2 and 404, and its parameter `line-2` for all others. `move-TO`
/// returns its parameter.
const POST_CORE: &str = r#"
    (func (export "field:post-2/VAT-2025@1.0.0#get-2fa") (param i32 i32 i32) (result i32)
        (memory.fill (i32.const 16) (i32.const 0) (i32.const 16))
        (i32.store offset=4 (i32.const 16) (local.get 0))
        (i32.store offset=8 (i32.const 16) (local.get 1))
        (if (i32.eq (local.get 2) (i32.const 2)) (then
            (i32.store8 (i32.const 16) (i32.const 1))
            (i32.store8 offset=4 (i32.const 16) (i32.const 0))))
        (if (i32.eq (local.get 2) (i32.const 404)) (then
            (i32.store8 (i32.const 16) (i32.const 1))
            (i32.store8 offset=4 (i32.const 16) (i32.const 1))
            (i32.store offset=8 (i32.const 16) (local.get 0))
            (i32.store offset=12 (i32.const 16) (local.get 1))))
        (i32.const 16))
    (func (export "field:post-2/VAT-2025@1.0.0#move-TO") (param i32 i32 i32 i32 i32) (result i32)
        (i32.store (i32.const 48) (local.get 0))
        (i32.store offset=4 (i32.const 48) (local.get 1))
        (i32.store offset=8 (i32.const 48) (local.get 2))
        (i32.store8 offset=12 (i32.const 48) (local.get 3))
        (i32.store8 offset=13 (i32.const 48) (local.get 4))
        (i32.const 48))
"#;

const DESK: &str = r#"
    package field:desk-9@1.0.0 {
        interface desk-24H {
            use field:post-2/VAT-2025@1.0.0.{error};
            ask-2: func(line-2: string, user-ID: u32) -> result<string, error>;
        }
    }
"#;

/// The core function of a module. It calls `get-2fa` of another module with its own parameters, and returns the result.
const DESK_CORE: &str = r#"
    (func (export "field:desk-9/desk-24H@1.0.0#ask-2") (param i32 i32 i32) (result i32)
        (call $ask (local.get 0) (local.get 1) (local.get 2) (i32.const 16))
        (i32.const 16))
"#;

const ROUTES: &str = r#"
    [[route]]
    method = "GET"
    path   = "/path/{line_2}/{user_id}"
    call   = "post-2/VAT-2025.get-2fa"
    errors = { needs-2FA = 403, not-FOUND = 404 }
    [[route]]
    method = "GET"
    path   = "/query"
    call   = "post-2/field:post-2/VAT-2025@1.0.0.get-2fa"
    errors = { needs-2FA = 403, not-FOUND = 404 }
    [[route]]
    method = "GET"
    path   = "/header"
    call   = "post-2/VAT-2025@1.get-2fa"
    headers = { line-2 = "X-Line-2", user-ID = "X-User" }
    errors = { needs-2FA = 403, not-FOUND = 404 }
    [[route]]
    method = "POST"
    path   = "/whole"
    call   = "post-2/VAT-2025.move-TO"
    body   = "address"
    [[route]]
    method = "POST"
    path   = "/fields/{user_ID}"
    call   = "desk-2/desk-24H.ask-2"
    body   = "*"
    errors = { needs-2FA = 403, not-FOUND = 404 }
"#;

fn app(settings: &str) -> App {
    let manifest = format!(
        "[app]\nname = \"names-2\"\nroutes = [\"routes.toml\"]\n\
         [modules.post-2]\ncomponent = \"post-2.wasm\"\n\
         [modules.desk-2]\ncomponent = \"desk-2.wasm\"\ncalls = [\"post-2\"]\n{settings}"
    );
    let post = format!("package field:a; world component {{ export field:post-2/VAT-2025@1.0.0; }} {POST}");
    let desk = format!(
        "package field:a; world component {{ import field:post-2/VAT-2025@1.0.0; export field:desk-9/desk-24H@1.0.0; }} {POST} {DESK}"
    );
    let ask = r#"(import "field:post-2/VAT-2025@1.0.0" "get-2fa" (func $ask (param i32 i32 i32 i32)))"#;
    App::new(&manifest)
        .file("routes.toml", ROUTES)
        .component("post-2", &post, "", POST_CORE)
        .component("desk-2", &desk, ask, DESK_CORE)
}

fn check_answers(host: &Host) {
    for (head, body, status, answer) in [
        ("GET /path/a%20b/7", "", 200, json!("a b")),
        ("GET /query?line_2=x&user_id=7", "", 200, json!("x")),
        ("GET /header\nX-Line-2: y\nX-User: 7", "", 200, json!("y")),
        ("POST /fields/7", r#"{"line_2": "z"}"#, 200, json!("z")),
        (
            "POST /whole",
            r#"{"line_2": "l", "zip_code": 5, "kind": "eu_28", "marks": ["vat_id"]}"#,
            200,
            json!({"line_2": "l", "zip_code": 5, "kind": "eu_28", "marks": ["vat_id"]}),
        ),
    ] {
        let (found, text) = ask(host, head, body);
        assert_eq!((found, serde_json::from_str::<Value>(&text).ok()), (status, Some(answer)), "{head}: {text}");
    }
    for (head, body, status, kind) in [
        ("GET /path/x/2", "", 403, "/problems/needs-2FA"),
        ("GET /query?line_2=x&user_id=404", "", 404, "/problems/not-FOUND"),
        ("POST /fields/404", r#"{"line_2": "z"}"#, 404, "/problems/not-FOUND"),
    ] {
        let (found, text) = ask(host, head, body);
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found, problem["type"].as_str()), (status, Some(kind)), "{head}: {text}");
    }
    let (status, text) = ask(host, "POST /whole", r#"{"line-2": "l", "ZIP_code": 5, "kind": "EU-28", "marks": []}"#);
    assert!(status == 400 && text.contains("did you mean `line_2`") && text.contains("/zip_code"), "{text}");
    let (status, text) = ask(host, "GET /query?line_2=x&user_ID=7", "");
    assert!(status == 400 && text.contains("user_ID"), "{text}");
}

#[test]
fn odd_names_work_in_routes_together_and_apart() {
    let apart = "[compartments.a]\nmodules = [\"post-2\"]\n[compartments.b-2]\nmodules = [\"desk-2\"]\n";
    for (settings, kind) in [("", "fused"), (apart, "bridged")] {
        let app = app(settings);
        assert_eq!(app.problems(), []);
        let calls = &app.json(&["graph", "--json", "."])["calls"];
        assert_eq!(calls[0]["interface"], "field:post-2/VAT-2025@1.0.0");
        assert_eq!(calls[0]["kind"], kind);
        check_answers(&app.start());
    }
}

#[test]
fn odd_names_work_on_the_command_line_and_in_suites() {
    let suite = json!({"interface": "field:post-2/VAT-2025@1.0.0", "cases": [{"name": "names", "steps": [
        {"call": "get-2fa", "arguments": ["l", 7], "answer": {"ok": "l"}},
        {"call": "get-2fa", "arguments": ["l", 2], "answer": {"err": "needs_2fa"}},
        {"call": "get-2fa", "arguments": ["l", 404], "answer": {"err": {"not_found": "l"}}},
    ]}]});
    let app = app("").file("wit/post/suite/names.json", &suite.to_string());
    let inspected = app.out(&["inspect", "post-2.wasm"]);
    assert!(
        inspected.contains("    field:post-2/VAT-2025@1.0.0\n      get-2fa: func(line-2: string, user-ID: u32)"),
        "{inspected}"
    );
    let called = app.json(&["call", "post-2/VAT-2025.get-2fa", "\"l\"", "7", "--json"]);
    assert_eq!(called, json!({"ok": "l"}));
    // A typed error is a result, and the command fails.
    let called = app.run(&["call", "desk-2/desk-24H.ask-2", "\"l\"", "404", "--json"]);
    assert_eq!(String::from_utf8_lossy(&called.stdout).trim(), r#"{"err":{"not_found":"l"}}"#);
    let tested = app.run(&["test", "post-2"]);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}

#[test]
fn what_is_no_name_of_wit_is_refused_with_its_spelling() {
    let app = app("").file(
        "routes.toml",
        r#"
            [[route]]
            method = "GET"
            path   = "/a/{2fa}"
            call   = "post-2/VAT-2025.get-2fa"
            errors = { needs_2fa = 403, not-FOUND = 404 }
            [[route]]
            method = "GET"
            path   = "/b"
            call   = "post-2/VAT-2025.get-2Fa"
        "#,
    );
    let problems = app.problems();
    let messages: Vec<&str> = problems.iter().map(|(_, message)| message.as_str()).collect();
    assert!(messages.iter().any(|message| message.contains("`2fa` is not a valid parameter name")), "{messages:?}");
    assert!(
        messages.iter().any(|message| message.contains("`needs_2fa` is not the name of an error case")),
        "{messages:?}"
    );
    assert!(
        messages.iter().any(|message| message.contains("`post-2/VAT-2025.get-2Fa` is not a function")),
        "{messages:?}"
    );
}
