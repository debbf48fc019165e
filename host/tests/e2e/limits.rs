//! Tests of limits that do not end the call that meets them: the number of concurrent calls, and the resources of SQL statements.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watertight_telemetry::table;
use watertight_testkit::app::{App, guest};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;

use crate::metrics::another_build;
use crate::scrape::Scrape;

/// Returns an application with two modules, `a` and `b`, of the test guest `probe`. The paths of each module's routes begin with its name.
/// Both share a compartment unless `settings`, which are appended to the manifest, say otherwise.
fn two(settings: &str) -> App {
    let (probe, mut manifest, mut routes) = (guest("probe"), String::new(), String::new());
    for module in ["a", "b"] {
        manifest += &format!(
            "[modules.{module}]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\", \"config\"]\n"
        );
        routes += &format!(
            "[[route]]\nmethod = \"POST\"\npath = \"/{module}/wait\"\ncall = \"{module}/acts.wait\"\nbody = \"*\"\n\
             [[route]]\nmethod = \"GET\"\npath = \"/{module}/count\"\ncall = \"{module}/acts.count\"\n"
        );
    }
    App::new(&format!("[app]\nname = \"two\"\nroutes = [\"routes/*.toml\"]\n{manifest}{settings}\n")).routes(&routes)
}

async fn query(host: &Host, module: &str, statement: &str) -> Value {
    host.called(&format!("{module}/raw.query"), json!([statement, []])).await
}

async fn execute(host: &Host, module: &str, statement: &str) -> Value {
    host.called(&format!("{module}/raw.execute"), json!([statement, []])).await
}

/// Waits until `running` calls of the module run and `waiting` calls wait.
async fn until_busy(host: &Host, module: &str, running: f64, waiting: f64) {
    let start = Instant::now();
    loop {
        let now = Scrape::of(host).await;
        let seen = |metric| now.value(metric, &[("module", module)]);
        if (seen(&table::CALLS_RUNNING), seen(&table::CALLS_WAITING)) == (running, waiting) {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "timed out waiting for {running} running and {waiting} waiting calls: {now:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_module_s_calls_hold_up_nobody_else_and_are_counted_over_all_generations() {
    let host = two("[defaults.limits]\ncalls = 2\nqueue = 1").launch().start();
    // Both builds are compiled before, so that the swap below is fast.
    host.swap("a", another_build(&guest("probe"), 1), "").await.expect(200);
    host.swap("a", std::fs::read(guest("probe")).unwrap(), "").await.expect(200);
    let slow = || async { host.post("/a/wait", &json!({ "milliseconds": 4000 })).await };
    let others = async {
        until_busy(&host, "a", 2.0, 1.0).await;
        // The module has two places and a queue of one. The module that shares its compartment has its own.
        slow().await.expect(503);
        host.get("/b/count").await.expect(200);
        // A new generation gives the module no further places.
        host.swap("a", another_build(&guest("probe"), 1), "").await.expect(200);
        let refused = host.get("/a/count").await.expect(503);
        assert_eq!((refused.problem(), refused.header("watertight-generation")), ("overloaded", "4"));
        host.get("/b/count").await.expect(200);
    };
    let (one, two, three, ()) = tokio::join!(slow(), slow(), slow(), others);
    for answer in [one, two, three] {
        assert_eq!(answer.expect(200).header("watertight-generation"), "3");
    }
    host.get("/a/count").await.expect(200);
    until_busy(&host, "a", 0.0, 0.0).await;
}

#[tokio::test]
async fn a_body_may_be_as_large_as_its_compartment_says() {
    let apart = "[compartments.one]\nmodules = [\"a\"]\nlimits.body = \"4KiB\"\n\
                 [compartments.other]\nmodules = [\"b\"]\nlimits.body = \"3MiB\"\n";
    let host = two(apart).launch().start();
    let post = async |module: &str, spaces: usize| {
        let body = format!("{{\"milliseconds\": 0{}}}", " ".repeat(spaces));
        let request = client().post(host.url(&format!("/{module}/wait"))).header("content-type", "application/json");
        send(request.body(body)).await
    };
    post("a", 4000).await.expect(200);
    assert_eq!(post("a", 5000).await.expect(413).problem(), "body-too-large");
    post("b", 2 << 20).await.expect(200);
    let count = Scrape::of(&host).await.value(&table::LIMITS, &[("compartment", "one"), ("limit", "body")]);
    assert_eq!(count, 1.0);
    assert!(host.has_logged("a limit was met: a request's body has more than 4096 bytes"), "{}", host.log());
    assert!(host.log().contains("module=a "), "{}", host.log());
}

#[tokio::test]
async fn what_sql_may_take_is_the_compartment_s_and_hitting_it_is_told() {
    let host = two("[defaults.limits.sql]\nrows = 5\ntime = \"50ms\"\nbytes = \"16KiB\"\nsize = \"256KiB\"\n\
         [compartments.roomy]\nmodules = [\"b\"]\nlimits = { sql = { rows = 500 } }")
    .launch()
    .start();
    let numbers = |n: u32| {
        format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) SELECT i FROM n")
    };
    let too_large = json!({ "err": "too_large" });
    assert_eq!(query(&host, "a", &numbers(6)).await, too_large);
    assert_eq!(query(&host, "b", &numbers(6)).await["ok"].as_array().unwrap().len(), 6);
    assert_eq!(query(&host, "b", &numbers(501)).await, too_large);
    assert_eq!(query(&host, "a", "SELECT zeroblob(16400)").await, too_large);
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert_eq!(query(&host, "b", endless).await, json!({ "err": "timeout" }));
    let fill = "INSERT INTO note (text) VALUES (hex(zeroblob(200000)))";
    assert_eq!(execute(&host, "a", fill).await, json!({ "err": { "storage": "the database is full" } }));
    assert_eq!(execute(&host, "a", "INSERT INTO note (text) VALUES ('fits')").await, json!({ "ok": 1 }));
    let metrics = Scrape::of(&host).await;
    for (compartment, limit, count) in [
        ("main", "sql.rows", 1.0),
        ("roomy", "sql.rows", 1.0),
        ("main", "sql.bytes", 1.0),
        ("roomy", "sql.time", 1.0),
        ("main", "sql.size", 1.0),
    ] {
        let counted = metrics.value(&table::LIMITS, &[("compartment", compartment), ("limit", limit)]);
        assert_eq!(counted, count, "{compartment} {limit}");
    }
    for line in [
        "the statement would return more than 5 rows",
        "ran for longer than 50ms",
        "the database would have more than 262144 bytes",
    ] {
        assert!(host.has_logged(line), "{line}: {}", host.log());
    }
}
