//! Tests of the access log, and of the fields about the request in the log line about a trapped module.

use std::fs;

use serde_json::{Value, json};
use watertight_testkit::components::component_of;

use crate::protocol::{CORE, WIT, app, raw};

#[tokio::test]
async fn the_access_log_tells_each_answer_on_one_line() {
    let app = app("");
    let host = app.launch().variable("WATERTIGHT_LOG", "info,request=debug").start();
    let request =
        "GET /a:b/%0aWARN%20x?secret=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: find-me\r\n\r\n".replace("?secret=1", "");
    let (status, body, _) = raw(host.listen(), &request);
    assert_eq!((status, &body), (200, &json!("\nWARN x")));
    assert!(host.has_logged("find-me"), "{}", host.log());
    let log = host.log();
    let line = log.lines().find(|line| line.contains("find-me")).unwrap();
    for field in [
        "listener=\"data\"",
        "method=\"GET\"",
        "route=\"/a:b/{it}\"",
        "path=\"/a:b/%0aWARN%20x\"",
        "status=200",
        "bytes=10",
        "millis=",
        "request=\"find-me\"",
        "trace=",
        "generation=1",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    let millis = line.split("millis=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(millis.parse::<f64>().is_ok_and(|millis| millis > 0.0 && millis < 60_000.0), "{line}");
    // This request has no route. Its target is long and has bytes that a log line must not contain.
    let long = format!("/é\u{202e}{}", "y".repeat(5_000));
    raw(host.listen(), &format!("GET {long}?a=secret HTTP/1.1\r\nHost: a\r\nX-Request-Id: long\r\n\r\n"));
    raw(host.listen(), "brew /nothing HTTP/1.1\r\nHost: a\r\nX-Request-Id: brewed\r\n\r\n");
    host.admin_get("/modules").await.expect(200);
    assert!(host.has_logged("listener=\"admin\""), "{}", host.log());
    let log = host.log();
    let line = log.lines().find(|line| line.contains("request=\"long\"")).unwrap();
    assert!(
        line.len() < 1_000 && line.contains("status=404") && !line.contains("secret") && !line.contains('\u{202e}'),
        "{line}"
    );
    let line = log.lines().find(|line| line.contains("request=\"brewed\"")).unwrap();
    assert!(line.contains("method=\"_OTHER\"") && line.contains("status=501"), "{line}");
    assert!(log.lines().any(|line| line.contains("listener=\"admin\"") && line.contains("path=\"/modules\"")), "{log}");
}

#[test]
fn the_access_log_has_numbers_as_numbers_in_json() {
    let app = app("[log]\nformat = \"json\"");
    let host = app.launch().variable("WATERTIGHT_LOG", "info,request=debug").start();
    assert_eq!(raw(host.listen(), "GET /nothing HTTP/1.1\r\nHost: a\r\nX-Request-Id: find-me\r\n\r\n").0, 200);
    assert!(host.has_logged("find-me"), "{}", host.log());
    let log = host.log();
    let line: Value = serde_json::from_str(log.lines().find(|line| line.contains("find-me")).unwrap()).unwrap();
    assert_eq!((&line["status"], &line["bytes"], &line["generation"]), (&json!(200), &json!(2), &json!(1)));
    assert!(line["millis"].as_f64().is_some_and(|millis| millis > 0.0), "{line}");
    assert_eq!(
        (&line["method"], &line["route"], &line["path"]),
        (&json!("GET"), &json!("/nothing"), &json!("/nothing"))
    );
}

#[tokio::test]
async fn a_trap_s_line_names_the_request() {
    let core = CORE.replace(
        "(func (export \"t:t/api@1.0.0#text\") (param i32 i32) (result i32)",
        "(func (export \"t:t/api@1.0.0#text\") (param i32 i32) (result i32) unreachable",
    );
    let app = app("");
    fs::write(app.path().join("a.wasm"), component_of(WIT, "w", &core)).unwrap();
    let host = app.launch().start();
    host.get("/a:b/%0Ax").await.expect(500);
    host.call("a/api.text", &json!(["x"])).await.expect(500);
    let log = host.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("trap:")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for field in ["method=\"GET\"", "route=\"/a:b/{it}\"", "path=\"/a:b/%0Ax\"", "generation=1", "request=", "trace="] {
        assert!(lines[0].contains(field), "{field}: {}", lines[0]);
    }
    assert!(!lines[1].contains("route="), "{}", lines[1]);
}
