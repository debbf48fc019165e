//! Tests of the command line's output and exit codes: 0 is success, 1 a refusal or a failure, 2 a usage error.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::shop::{card, draft};
use watertight_testkit::app::{App, guest, wasi_probe};
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host;
use watertight_testkit::paths::repository;
use watertight_testkit::setup::Setup;

placements! {
    fn every_fault_is_told_at_once;
    async fn functions_are_called_in_the_running_host;
    fn functions_are_called_without_a_host_too;
}

fn watertight(arguments: &[&str]) -> CommandOutput {
    run(host::binary().args(arguments))
}

fn path(app: &App) -> &str {
    app.path().to_str().unwrap()
}

#[test]
fn help_names_every_command() {
    let help = watertight(&["--help"]).expect(0).out;
    for command in ["run", "dev", "check", "graph", "call", "inspect", "build", "test"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        let own = watertight(&[command, "--help"]).expect(0).out;
        assert!(own.contains("Usage: watertight"), "{own}");
    }
    assert!(!help.contains("compile-component"), "{help}");
    assert!(watertight(&["--version"]).expect(0).out.starts_with("watertight "));
}

#[test]
fn what_is_not_understood_ends_with_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--fly"],
        &["run", "--listen", "nowhere"],
        &["run", "a", "b"],
        &["call"],
        &["call", "no-function"],
        &["graph", "--format", "png"],
        &["inspect"],
    ] {
        let said = watertight(arguments).expect(2);
        assert!(said.out.is_empty() && said.err.contains("--help"), "{arguments:?}: {}{}", said.out, said.err);
    }
}

#[test]
fn a_whole_application_is_found_fine() {
    host::shop();
    let repository = repository();
    // The argument may be the repository, the folder or the file.
    for place in ["", "modules", "modules/app.toml"] {
        let place = repository.join(place);
        let said = watertight(&["check", place.to_str().unwrap()]).expect(0);
        assert!(said.err.contains("`shop` is complete: 4 modules, 2 calls between them, 17 routes"), "{}", said.err);
    }
    let said = watertight(&["check", "--json", repository.to_str().unwrap()]).expect(0);
    assert_eq!(said.json(), json!({ "problems": [], "notes": [] }));
}

fn every_fault_is_told_at_once(setup: Setup) {
    let app = setup.shop_with("");
    let manifest = app.path().join("app.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let routes = app.path().join("routes/orders.toml");
    let orders = std::fs::read_to_string(&routes).unwrap();

    // The application gets five faults. The components are needed to find each of them.
    let faulty =
        text.replacen(r#"calls     = ["payments", "notifications"]"#, r#"calls     = ["payments"]"#, 1).replacen(
            r#"uses      = ["sql", "logging", "clocks", "random"]"#,
            r#"uses      = ["logging", "clocks", "random"]"#,
            1,
        );
    assert_ne!(faulty, text);
    std::fs::write(&manifest, faulty).unwrap();
    let faulty = orders
        .replacen("orders/orders.get-order", "orders/orders.get-orders", 1)
        .replacen("body    = \"draft\"", "body    = \"drafts\"", 1)
        .replacen("declined = 402, ", "", 1);
    std::fs::write(&routes, faulty).unwrap();
    let codes = ["undeclared-call", "ungranted", "unknown-function", "bad-binding", "error-table"];

    let said = watertight(&["check", path(&app)]).expect(1);
    for code in codes {
        assert!(said.err.contains(&format!("error[{code}]")), "{code} is not in {}", said.err);
    }
    assert!(said.err.contains("nothing was started or changed"), "{}", said.err);
    assert!(said.out.is_empty());

    let said = watertight(&["check", "--json", path(&app)]).expect(1);
    let problems = said.json()["problems"].take();
    let problems = problems.as_array().unwrap();
    let found: BTreeSet<&str> = problems.iter().map(|problem| problem["code"].as_str().unwrap()).collect();
    assert_eq!(found, codes.into(), "{problems:?}");
    let keys = [
        "code",
        "message",
        "module",
        "interface",
        "function",
        "type_path",
        "expected",
        "found",
        "file",
        "line",
        "help",
    ];
    for problem in problems {
        let present: BTreeSet<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(present, keys.into());
        assert_eq!(problem["module"], "orders");
    }
    let route = problems.iter().find(|problem| problem["code"] == "unknown-function").unwrap();
    assert!(route["file"].as_str().unwrap().ends_with("orders.toml") && route["line"].is_u64(), "{route}");

    // `run` reports the same faults and starts nothing.
    let (status, log) = app.launch().expect_end();
    assert_eq!(status.code(), Some(1));
    assert!(codes.iter().all(|code| log.contains(&format!("error[{code}]"))), "{log}");
}

#[test]
fn faults_of_text_are_told_at_once_too() {
    let app = App::new(
        "[app]\nname = \"Shop!\"\nlisten = \"here\"\nspeed = 9\n[modules.a]\ncomponent = \"a/b/c\"\ncalls = [\"z\"]\nuses = [\"magic\"]\n\
         [defaults.limits]\nmemory = \"1\"\n",
    );
    let problems = watertight(&["check", "--json", path(&app)]).expect(1).json()["problems"].take();
    let lines: Vec<(u64, &str)> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["line"].as_u64().unwrap(), problem["code"].as_str().unwrap()))
        .collect();
    let expected = [
        (2, "bad-value"),
        (3, "bad-value"),
        (4, "unknown-key"),
        (6, "bad-value"),
        (7, "unknown-name"),
        (8, "bad-value"),
        (10, "bad-value"),
    ];
    assert_eq!(lines, expected, "{problems:#}");
}

#[test]
fn what_is_missing_is_named() {
    let nowhere = host::folder();
    let said = watertight(&["check", nowhere.path().to_str().unwrap()]).expect(1);
    assert!(said.err.contains("app.toml") && said.err.contains(nowhere.path().to_str().unwrap()), "{}", said.err);
    let app =
        App::new("[app]\nname = \"x\"\n[modules.a]\ncomponent = \"a\"\n[modules.b]\ncomponent = \"app.toml.wasm\"\n");
    std::fs::write(app.path().join("app.toml.wasm"), "not wasm").unwrap();
    let said = watertight(&["check", path(&app)]).expect(1);
    assert!(said.err.contains("target/components/a.wasm") && said.err.contains("watertight build"), "{}", said.err);
    assert!(said.err.contains("[not-a-component]"), "{}", said.err);
}

#[test]
fn a_graph_is_drawn_in_every_format() {
    let app = App::shop("");
    let draw = |format: &str| watertight(&["graph", path(&app), "--format", format]).expect(0).out;
    let text = draw("text");
    assert_eq!(watertight(&["graph", path(&app)]).expect(0).out, text);
    let fused = "  fused calls run no host code: metrics and traces don't show them, unless the modules are in different compartments";
    assert!(text.ends_with(&format!("{fused}\n")), "{text}");
    for line in [
        "shop",
        "  compartment main (reuse instances)",
        "      calls   shop:payments/payments@1.0.0 of payments (fused)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    let mermaid = draw("mermaid");
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("  orders -->|\"shop:payments/payments@1.0.0\"| payments\n"), "{mermaid}");
    let dot = draw("dot");
    assert!(dot.starts_with("digraph \"shop\" {\n") && dot.ends_with("}\n"), "{dot}");
    assert!(dot.contains("  \"orders\" -> \"notifications\" [label="), "{dot}");
    let json: Value = serde_json::from_str(&draw("json")).unwrap();
    assert_eq!(json["app"], "shop");
    assert_eq!(json["calls"].as_array().unwrap().len(), 2);
    assert_eq!(json["calls"][0]["counted"], false);
    assert_eq!(watertight(&["graph", path(&app), "--json"]).expect(0).json(), json);
}

#[test]
fn a_graph_shows_compartments_with_reasons_and_what_is_bridged() {
    let app = App::shop("[compartments.core]\nmodules = [\"orders\", \"payments\"]");
    let draw = |format: &str| watertight(&["graph", path(&app), "--format", format]).expect(0).out;
    let (told, charged) = ("shop:notifications/notifications@1.0.0", "shop:payments/payments@1.0.0");
    for (format, lines) in [
        (
            "text",
            [
                "    placed: the manifest says so".to_owned(),
                "    placed: nothing keeps its modules apart".to_owned(),
                "    engine: reuse (small modules, whose instances are reused)".to_owned(),
                format!("      calls   {told} of notifications (bridged)"),
                format!("      calls   {charged} of payments (fused)"),
            ],
        ),
        (
            "mermaid",
            [
                "  subgraph core_c [\"core (reuse)\"]".to_owned(),
                "  subgraph main_c [\"main (reuse)\"]".to_owned(),
                "    notifications[\"notifications\"]".to_owned(),
                format!("  orders -.->|\"{told}\"| notifications"),
                format!("  orders -->|\"{charged}\"| payments"),
            ],
        ),
        (
            "dot",
            [
                "  subgraph \"cluster_core\" {".to_owned(),
                "    label=\"core (reuse)\";".to_owned(),
                "  subgraph \"cluster_main\" {".to_owned(),
                format!("  \"orders\" -> \"notifications\" [label=\"{told}\", style=dashed];"),
                format!("  \"orders\" -> \"payments\" [label=\"{charged}\", style=solid];"),
            ],
        ),
    ] {
        let drawn = draw(format);
        for line in lines {
            assert!(drawn.lines().any(|found| found == line), "{line:?} is not in\n{drawn}");
        }
    }
    let json: Value = serde_json::from_str(&draw("json")).unwrap();
    let core = json!({
        "name": "core", "modules": ["payments", "orders"], "instances": "reuse", "concurrent": 1,
        "reason": "the manifest says so",
        "profile": "reuse", "profile_reason": "small modules, whose instances are reused",
    });
    assert_eq!(json["compartments"][0], core);
    assert_eq!((&json["calls"][0]["kind"], &json["calls"][1]["kind"]), (&json!("bridged"), &json!("fused")));
}

async fn functions_are_called_in_the_running_host(setup: Setup) {
    let app = setup.shop_with("");
    let state = app.path().join("state");
    let host = app.launch().state(&state).start();
    let order = host.post("/orders", &draft("ada", card("t"))).await.expect(201).body;
    let id = order["id"].to_string();
    let place = ["--app", path(&app), "--state", state.to_str().unwrap()];
    let call = |arguments: &[&str]| watertight(&[&["call"], &place[..], arguments].concat());
    assert_eq!(call(&["orders/orders.get-order", &id]).expect(0).json(), json!({ "ok": order }));
    let line = call(&["--json", "orders/orders.get-order", &id]).expect(0).out;
    assert_eq!(line.lines().count(), 1);
    // The host is named by its address, and the token is in the environment.
    let told = host::binary()
        .args(["call", "--app", path(&app), "--admin", &host.admin().to_string(), "orders/orders.get-order", &id])
        .env("WATERTIGHT_ADMIN_TOKEN", host.token())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));

    // A typed error is printed like any result, and the exit code is 1.
    let refused = call(&["orders/orders.get-order", "\"x\""]).expect(1);
    assert_eq!(refused.json(), json!({ "err": { "not_found": "x" } }));
    assert_eq!(refused.err, "");
    for (arguments, words) in [
        (&["orders/orders.get-order", "7"][..], "/id"),
        (&["orders/orders.get-order"], "missing argument"),
        (&["orders/orders.get-order", "{"], "an argument is not JSON"),
        (&["orders/orders.nothing"], "has no function `nothing`"),
        (&["nobody/orders.get-order"], "there is no module `nobody`"),
    ] {
        let said = call(arguments).expect(1);
        assert!(said.out.is_empty() && said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

fn functions_are_called_without_a_host_too(setup: Setup) {
    let app = setup.shop_with("");
    let state = app.path().join("state");
    let place = ["--app", path(&app), "--state", state.to_str().unwrap()];
    let call = |arguments: &[&str]| watertight(&[&["call"], &place[..], arguments].concat());
    let draft = draft("ada", card("t")).to_string();
    let order = call(&["orders/orders.place-order", &draft, "\"k\""]).expect(0).json();
    assert_eq!(order["ok"]["status"], "paid");
    // The next call sees the effect of this one, and so does a host.
    let id = order["ok"]["id"].to_string();
    assert_eq!(call(&["orders/orders.get-order", &id]).expect(0).json(), order);
    assert_eq!(call(&["orders/orders.get-order", "\"x\""]).expect(1).json()["err"]["not_found"], "x");
    let said = call(&["orders/orders.get-order", "7"]).expect(1);
    assert!(said.err.contains("expected a string"), "{}", said.err);
    let host = app.launch().state(&state).start();
    let said = call(&["orders/orders.get-order", &id]).expect(0);
    assert_eq!(said.json(), order);
    drop(host);
}

#[test]
fn a_component_is_told_about() {
    host::shop();
    let app = App::shop("");
    let said = watertight(&["inspect", "orders", "--app", path(&app)]).expect(0).out;
    for part in [
        "orders\n",
        "language  rust",
        "migration 0001_orders.sql (sha256:",
        "  imports\n",
        "shop:payments/payments@1.0.0",
        "watertight:sql/sql@1.0.0",
        "  exports\n",
        "place-order: func(draft: record draft, idempotency-key: option<string>)",
        "Places an order: stores it",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let file = repository().join("target/components/orders.wasm");
    let file = file.to_str().unwrap();
    let json = watertight(&["inspect", file, "--json"]).expect(0).json();
    assert_eq!(json["name"], "orders");
    assert_eq!(json["size"], std::fs::metadata(file).unwrap().len());
    let imports: Vec<&str> = json["imports"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    // The component imports contracts and capabilities only.
    let expected = [
        "shop:notifications/notifications@1.0.0",
        "shop:payments/payments@1.0.0",
        "wasi:clocks/wall-clock@0.2.6",
        "wasi:logging/logging@0.1.0-draft",
        "wasi:random/random@0.2.6",
        "watertight:lifecycle/failure@1.0.0",
        "watertight:lifecycle/requests@1.0.0",
        "watertight:sql/sql@1.0.0",
    ];
    let functions: Vec<&str> = imports.into_iter().filter(|import| !import.starts_with("shop:common/")).collect();
    assert_eq!(functions, expected);
    let module = watertight(&["inspect", "orders", "--app", path(&app), "--json"]).expect(0).json();
    assert_eq!(module["digest"], json["digest"]);

    let said = watertight(&["inspect", "nothing", "--app", path(&app)]).expect(1);
    assert!(said.err.contains("orders") && said.err.contains("payments"), "{}", said.err);
    let said = watertight(&["inspect", app.path().join("app.toml").to_str().unwrap()]).expect(1);
    assert!(said.err.contains("[not-a-component]"), "{}", said.err);
}

/// Returns an application with the test guest `probe` as its module `a`.
fn probe(component: &std::path::Path) -> App {
    App::new(&format!(
        "[app]\nname = \"demo\"\n[modules.a]\ncomponent = {component:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n"
    ))
}

#[test]
fn what_a_module_writes_is_shown_where_it_is_called_without_a_host() {
    let app = probe(&guest("probe"));
    let said = watertight(&["call", "a/acts.log", "\"hello there\"", "--app", path(&app)]).expect(0);
    assert_eq!(said.out, "null\n");
    let line = said.err.lines().find(|line| line.contains("hello there"));
    let line = line.unwrap_or_else(|| panic!("{}", said.err));
    assert!(line.contains("module=\"a\"") && line.contains("request=\"call\""), "{line}");
    let app = probe(&wasi_probe());
    for (to_error, stream) in [("false", "stdout"), ("true", "stderr")] {
        let said = watertight(&["call", "a/acts.print", "\"printed\"", to_error, "--app", path(&app)]).expect(0);
        assert!(said.err.lines().any(|line| line.contains("printed") && line.contains(stream)), "{}", said.err);
    }
}

#[test]
fn a_panic_is_told_with_its_message_and_place() {
    let app = probe(&guest("probe"));
    let said = watertight(&["call", "a/acts.fail", "\"out of tea\"", "--app", path(&app)]).expect(1);
    let words = "out of tea (host/tests/guests/probe/src/acts.rs:";
    let lines: Vec<&str> = said.err.lines().filter(|line| line.contains(words)).collect();
    let [own, trap, error] = lines.as_slice() else { panic!("{}", said.err) };
    assert!(own.contains("module=\"a\"") && own.contains("failure"), "{own}");
    assert!(trap.contains("a module trapped in `a`: ") && trap.contains("stack="), "{trap}");
    assert!(error.contains("a module trapped in `a`: "), "{error}");
}

#[test]
fn a_debug_build_has_the_authors_functions_with_file_and_line() {
    let folder = host::folder();
    let guests = repository().join("host/tests/guests");
    let mut build = host::binary();
    build.args(["build", "probe", "--debug", "--app"]).arg(guests).arg("--out").arg(folder.path());
    run(&mut build).expect(0);
    let app = probe(&folder.path().join("probe.wasm"));
    let said = watertight(&["call", "a/acts.fail", "\"out of tea\"", "--app", path(&app)]).expect(1);
    let stack = said.err.lines().find_map(|line| line.split_once("stack=")).map(|(_, stack)| stack);
    let stack = stack.unwrap_or_else(|| panic!("{}", said.err));
    let functions: Vec<&str> = stack.split(" < ").collect();
    for (function, name) in functions.iter().zip(["fail_deep_inside", "fail"]) {
        assert!(function.starts_with("a!") && function.contains(name), "{name}: {stack}");
        assert!(function.contains("probe/src/acts.rs:"), "{name}: {stack}");
    }
    assert!(!stack.contains("panicking"), "{stack}");
}

#[test]
fn a_negative_number_is_json() {
    let app = probe(&guest("probe"));
    for (number, answer) in [("-1", "-1.0\n"), ("-1.5", "-1.5\n"), ("-1e-2", "-0.01\n"), ("-0", "-0.0\n")] {
        let said = watertight(&["call", "a/acts.echo", number, "--app", path(&app)]).expect(0);
        assert_eq!(said.out, answer, "{number}");
    }
    let said = watertight(&["call", "a/acts.take-memory", "-1", "--app", path(&app)]).expect(1);
    assert!(said.err.contains("the arguments don't match the function's parameters"), "{}", said.err);
    watertight(&["call", "a/acts.echo", "-x", "--app", path(&app)]).expect(2);
}

#[test]
fn a_closed_pipe_is_no_fault() {
    use std::process::Stdio;
    host::shop();
    let mut child = host::binary()
        .args(["inspect", repository().join("target/components/orders.wasm").to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}
