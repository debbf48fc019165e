//! Tests of the metrics and the log of slow SQL statements, and of the number of a module's commits.

use std::time::Duration;

use serde_json::json;
use watertight_telemetry::table;
use watertight_testkit::app::{App, apart};
use watertight_testkit::host::Host;

use crate::metrics::another_build;
use crate::scrape::Scrape;
use crate::shop::{card, draft};

/// The time for which the test locks a database. It exceeds the threshold above which the host logs slow statements, and is below the
/// host's time limit for a lock.
const HELD: Duration = Duration::from_millis(500);

fn statements(now: &Scrape, module: &str, outcome: &str) -> f64 {
    now.histogram(&table::SQL_TIME, &[("module", module), ("outcome", outcome)]).count
}

/// Locks a module's database for writing during the time [`HELD`], from a connection of the test.
fn hold(host: &Host, module: &str) -> std::thread::JoinHandle<()> {
    let file = host.state().join(format!("data/{module}.db"));
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(HELD);
        other.execute_batch("ROLLBACK").unwrap();
    })
}

#[tokio::test]
async fn slow_statements_are_told_without_their_values() {
    let app = App::shop("[log]\nslow_sql = \"200ms\"\nformat = \"json\"");
    let host = app.launch().start();
    host.post("/orders", &draft("a quick customer", card("tok_visa"))).await.expect(201);
    let before = Scrape::of(&host).await;
    assert!(!host.log().contains("slow statement"), "{}", host.log());
    // On a busy machine the request may come after the lock was released. Then try again.
    for _ in 0..5 {
        let held = hold(&host, "payments");
        host.post("/orders", &draft("a patient customer", card("tok_visa"))).await.expect(201);
        held.join().unwrap();
        if host.log().contains("slow statement") {
            break;
        }
    }
    assert!(host.has_logged("slow statement"), "{}", host.log());
    let log = host.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("slow statement"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        assert_eq!((&line["target"], &line["module"]), (&json!("sql"), &json!("payments")), "{line}");
        assert!(line["millis"].as_u64().unwrap() >= 200 && line["outcome"] == "ok", "{line}");
        assert!(line["request"].as_str().unwrap().len() == 26 && line["operation"].is_string(), "{line}");
        assert!(!line.to_string().contains("tok_visa"), "{line}");
    }
    assert!(!lines.is_empty() && lines.len() <= 3, "{lines:?}");
    let after = Scrape::of(&host).await;
    for module in ["orders", "payments", "notifications"] {
        assert!(statements(&after, module, "ok") > statements(&before, module, "ok"), "{module}");
    }
    let payments = |now: &Scrape| now.histogram(&table::SQL_TIME, &[("module", "payments"), ("outcome", "ok")]).sum;
    assert!(payments(&after) - payments(&before) >= 0.2);
    after.grew_from(&before);
}

#[tokio::test]
async fn a_change_is_no_commit_of_a_module() {
    let app = App::shop(&apart(""));
    let host = app.launch().start();
    host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let commits = |now: &Scrape| {
        ["orders", "payments", "notifications"].map(|module| now.value(&table::COMMITS, &[("module", module)]))
    };
    let before = commits(&Scrape::of(&host).await);
    assert!(before.iter().all(|count| *count > 0.0), "{before:?}");
    for mark in 1..4 {
        let component = another_build(&watertight_testkit::host::component("notifications"), mark);
        host.swap("notifications", component, "").await.expect(200);
    }
    assert_eq!(commits(&Scrape::of(&host).await), before);
}
