//! Runs the scripts that drive Chromium, and serves pages of other origins.

use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::paths::repository;

/// A page without scripts. The scripts of the tests run in it.
const PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>A page of another origin</title>\
    <link rel=\"icon\" href=\"data:,\"></head><body><h1>A page of another origin</h1></body></html>";
/// The policy of that page. It may ask this machine's address, and nothing else by another name.
const POLICY: &str = "default-src 'self'; connect-src http://127.0.0.1:*; img-src http://127.0.0.1:* data:";

/// Serves [`PAGE`] on a free port, and returns the origin.
pub(crate) async fn serve_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    let page = Router::new().fallback(move || async move { (headers, PAGE) });
    tokio::spawn(async move { axum::serve(listener, page).await.unwrap() });
    origin
}

/// Runs a script of this folder, such as `trip.js`. The script gets `facts`, with `folder` added: the folder for its pictures. Returns what
/// the script reports at its end.
///
/// # Panics
///
/// If a step of the script fails. The message names the steps before it.
pub(crate) async fn drive(script: &'static str, mut facts: Value, folder: &Path) -> Value {
    facts["folder"] = json!(folder);
    let said = tokio::task::spawn_blocking(move || run(node(script).arg(facts.to_string()))).await.unwrap();
    let CommandOutput { code, out, err } = said;
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{script} said: {line}")));
    let lines: Vec<Value> = lines.collect();
    let steps = lines.iter().filter_map(|line| Some(format!("{:>6} ms  {}", line.get("millis")?, line["step"])));
    let steps = steps.collect::<Vec<_>>().join("\n");
    if let Some(failed) = lines.iter().find(|line| line.get("fault").is_some()) {
        let text = |key: &str| failed[key].as_str().unwrap_or_default();
        panic!("{script}, step \"{}\": {}\nafter\n{steps}\n{err}", text("step"), text("fault"));
    }
    assert_eq!(code, 0, "{script}: {err}\nafter\n{steps}");
    eprintln!("{script}\n{steps}");
    lines.iter().find_map(|line| line.get("report").cloned()).unwrap_or_else(|| panic!("{script} has no end: {err}"))
}

/// Returns a command that runs a script of this folder with Node.js.
fn node(script: &str) -> Command {
    let folder: PathBuf = repository().join("host/tests/browser");
    assert!(folder.join("node_modules/playwright-core").is_dir(), "playwright-core is missing: run `make tools-test`");
    let mut node = Command::new("node");
    node.arg(folder.join(script));
    node
}
