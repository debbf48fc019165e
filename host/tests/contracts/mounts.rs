//! Tests of mounts as the commands show them: `graph`, `call`, and changes of the running application.

use serde_json::json;

use crate::app::{App, text};

const HANDLER: &str = "
    package t:t; world component { export wasi:http/incoming-handler@0.2.6; }
    package wasi:http@0.2.6 {
        interface types { resource incoming-request {} resource response-outparam {} }
        interface incoming-handler {
            use types.{incoming-request, response-outparam};
            handle: func(request: incoming-request, response-out: response-outparam);
        }
    }
";
const PLAIN: &str = "
    package t:t; world component { export t:plain/plain@1.0.0; }
    package t:plain@1.0.0 { interface plain { f: func() -> u32; } }
";
const MOUNT: &str = "[[mount]]\npath = \"/files\"\nmodule = \"web\"\n";

fn app() -> App {
    App::new("[app]\nname = \"mounted\"\nroutes = [\"routes/*.toml\"]\n[modules.web]\ncomponent = \"web.wasm\"\n")
        .file("routes/a.toml", MOUNT)
        .dummy("web", HANDLER)
        .dummy("plain", PLAIN)
}

#[test]
fn graph_shows_mounts_and_call_refuses_handlers() {
    let routes =
        format!("{MOUNT}strip = true\nmethods = [\"GET\", \"PURGE\"]\n[[mount]]\npath = \"/\"\nmodule = \"web\"\n");
    let app = app().file("routes/a.toml", &routes);
    let handler = "wasi:http/incoming-handler@0.2.6";
    let expected = json!([
        { "path": "/files", "module": "web", "handler": handler, "strip": true, "methods": ["GET", "PURGE"] },
        { "path": "/", "module": "web", "handler": handler, "strip": false, "methods": null },
    ]);
    assert_eq!(app.json(&["graph", "--json", "."])["mounts"], expected);
    for (format, part) in [
        ("text", "serves  /files (wasi:http/incoming-handler@0.2.6; GET, PURGE; stripped)"),
        ("mermaid", "mount_0([\"/files\"]) --> web"),
        ("dot", "\"/files\" -> \"web\""),
    ] {
        let drawn = app.out(&["graph", "--format", format, "."]);
        assert!(drawn.contains(part), "{drawn}");
    }
    let checked = app.run(&["check", "."]);
    assert!(checked.status.success() && text(&checked.stderr).contains("0 routes, 2 mounts"), "{checked:?}");
    let called = app.run(&["call", "web/incoming-handler.handle"]);
    let said = text(&called.stderr);
    assert!(!called.status.success() && said.contains("a handle of the resource `incoming-request`"), "{said}");
}

#[test]
fn a_change_of_a_mount_is_shown_and_a_build_without_a_handler_is_refused() {
    let app = app();
    let host = app.start();
    let state = host.state().to_str().unwrap().to_owned();
    let changed = app.file("routes/a.toml", &format!("{MOUNT}methods = [\"GET\"]\n"));
    let applied = changed.run(&["apply", "--state", &state, "."]);
    let said = text(&applied.stdout) + &text(&applied.stderr);
    assert!(applied.status.success() && said.contains("~ mount /files, answered by web"), "{said}");
    let swapped = changed.run(&["swap", "web", "plain.wasm", "--state", &state]);
    let said = text(&swapped.stderr);
    assert!(!swapped.status.success() && said.contains("[no-handler]"), "{said}");
}
