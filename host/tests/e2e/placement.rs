//! Tests of modules in separate compartments: a called module may fail without failing its callers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watertight_testkit::app::{App, apart};
use watertight_testkit::client::Answer;
use watertight_testkit::host::Host;

use crate::shop::{card, draft};

async fn place(host: &Host) -> Answer {
    host.post("/orders", &draft("ada", card("tok_visa"))).await
}

/// Asserts that the answer has an order that was placed, and whose customer has not been notified yet.
fn assert_placed(answer: Answer) {
    let answer = answer.expect(201);
    assert_eq!((answer.at("/status"), answer.at("/notice")), ("paid", "pending"));
}

#[tokio::test]
async fn an_order_is_placed_though_notifications_trap_apart() {
    let app = App::failing_notices("trap", &apart(""));
    let host = app.launch().start();
    for _ in 0..3 {
        assert_placed(place(&host).await);
    }
    let orders = host.get("/orders?customer=ada").await.expect(200).body;
    assert_eq!(orders["items"].as_array().unwrap().len(), 3);
    assert!(host.has_logged("unreachable"), "{}", host.log());
    // Each trap dropped the instance of notifications, and none of the callers.
    let modules = host.admin_get("/modules").await.expect(200).body["modules"].take();
    let counts = |module: usize| modules[module]["instances"].clone();
    assert_eq!(counts(0)["dropped"], json!(3), "{modules}");
    assert_eq!(counts(1)["dropped"], json!(0), "{modules}");
}

#[tokio::test]
async fn a_trap_in_notifications_ends_the_order_placed_together() {
    let app =
        App::failing_notices("trap", "[compartments.all]\nmodules = [\"orders\", \"payments\", \"notifications\"]");
    let host = app.launch().start();
    assert_eq!(place(&host).await.expect(500).problem(), "module-failed");
    // The next request succeeds. The order was paid before the trap, and its notice is still due.
    let orders = host.get("/orders?customer=ada").await.expect(200).body;
    assert_eq!((&orders["items"][0]["status"], &orders["items"][0]["notice"]), (&json!("paid"), &json!("pending")));
    host.get("/notifications?recipient=ada").await.expect(200);
}

#[tokio::test]
async fn a_callee_that_takes_too_long_leaves_its_caller_time() {
    let app = App::failing_notices("spin", &apart("limits.request = \"200ms\""));
    let host = app.launch().start();
    let start = Instant::now();
    assert_placed(place(&host).await);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_callee_gets_what_is_left_of_its_callers_time() {
    let app = App::failing_notices("spin", &apart("[defaults.limits]\nrequest = \"500ms\""));
    let host = app.launch().start();
    assert_eq!(place(&host).await.expect(504).problem(), "deadline");
    host.get("/orders?customer=ada").await.expect(200);
}

#[tokio::test]
async fn a_callee_that_meets_its_limit_is_unavailable() {
    let app = App::failing_notices("eat", &apart("limits.memory = \"8MiB\""));
    let host = app.launch().start();
    assert_placed(place(&host).await);
    assert!(host.has_logged("of 8388608 allowed"), "{}", host.log());
}

#[tokio::test]
async fn a_callee_with_a_full_queue_is_unavailable() {
    let app = App::failing_notices("spin", &apart("limits = { calls = 1, queue = 0, request = \"2s\" }"));
    let host = app.launch().start();
    let late = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let start = Instant::now();
        assert_placed(place(&host).await);
        start.elapsed()
    };
    let (first, waited) = tokio::join!(place(&host), late);
    assert_placed(first);
    assert!(waited < Duration::from_millis(1200), "the call waited {waited:?} for a place");
}

#[tokio::test]
async fn nothing_of_the_inside_is_told_to_a_caller() {
    let app = App::failing_notices("trap", &apart(""));
    let host = app.launch().start();
    assert_placed(place(&host).await);
    let log = host.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("is unavailable")).collect();
    assert!(!told.is_empty(), "orders logs why its notice is due: {log}");
    for line in told {
        assert!(line.contains("module `notifications` is unavailable: it failed"), "{line}");
        assert!(!line.contains("secret") && !line.contains("unreachable"), "{line}");
    }
}

#[tokio::test]
async fn the_graph_shows_where_modules_stand_and_why() {
    let app = App::failing_notices("trap", &apart(""));
    let host = app.launch().start();
    let graph = host.admin_get("/graph").await.expect(200).body;
    let compartments: Vec<Value> = graph["compartments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| json!([c["name"], c["modules"], c["reason"]]))
        .collect();
    let reason = "the manifest says so";
    let expected = [json!(["aside", ["notifications"], reason]), json!(["core", ["payments", "orders"], reason])];
    assert_eq!(compartments, expected);
    let kinds: Vec<&str> = graph["calls"].as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["bridged", "fused"]);
}
