//! Tests of traces: the header `traceparent` of requests and answers, and the spans that a collector gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use watertight_testkit::app::{App, apart};
use watertight_testkit::client::{Answer, client, send};
use watertight_testkit::host::{Host, Launch};

use crate::collector::{Collector, Span};
use crate::shop::{card, draft};
use crate::wire::probe;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Returns a `traceparent` header for a request. If `recorded` is true, it says that the client records the trace.
fn parent(recorded: bool) -> String {
    format!("00-{TRACE}-{CALLER}-{}", if recorded { "01" } else { "00" })
}

async fn get(host: &Host, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(client().get(host.url(path)), |request, (name, value)| request.header(*name, *value));
    send(request).await
}

/// Returns the trace id, span id and flags in the `traceparent` header of an answer.
fn told(answer: &Answer) -> (String, String, String) {
    let parts: Vec<&str> = answer.header("traceparent").split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { panic!("{answer:?}") };
    assert_eq!((trace.len(), span.len()), (32, 16));
    assert!(parts.concat().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{parts:?}");
    (trace.to_owned(), span.to_owned(), flags.to_owned())
}

/// Returns the shop with each module in a compartment of its own. `more` is appended to the manifest.
fn shop_apart(more: &str) -> App {
    let alone = ["orders", "payments", "notifications"];
    let alone = alone.map(|module| format!("[compartments.{module}-alone]\nmodules = [\"{module}\"]\n"));
    App::shop(&format!("{}{more}", alone.concat()))
}

/// Returns the number of the host's threads that collect spans and send them.
fn senders(host: &Host) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.process())).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("OpenTelemetry") || name.starts_with("reqwest")).count()
}

#[tokio::test]
async fn the_spans_of_a_request_are_a_tree() {
    let collector = Collector::start().await;
    let host = shop_apart(&collector.manifest("")).launch().start();
    assert!(senders(&host) > 0);
    let request = client().post(host.url("/orders")).json(&draft("ada", card("tok_visa")));
    let request = request.header("traceparent", parent(true)).header("tracestate", "vendor=theirs");
    let answer = send(request.header("x-request-id", "ada-1")).await.expect(201);
    let spans = collector.wait_for(|span| span.name == "POST /orders").await;
    let spans: Vec<&Span> = spans.iter().filter(|span| span.trace == TRACE).collect();
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), *span)).collect();
    assert_eq!(by_id.len(), spans.len(), "some span ids are duplicates");

    let roots: Vec<&&Span> = spans.iter().filter(|span| !by_id.contains_key(&*span.parent)).collect();
    let [root] = roots[..] else { panic!("{roots:?}") };
    assert_eq!((root.name.as_str(), root.kind, root.parent.as_str(), root.remote), ("POST /orders", 2, CALLER, true));
    assert_eq!(told(&answer), (TRACE.to_owned(), root.id.clone(), "01".to_owned()));
    let expected = [
        ("http.request.method", "POST"),
        ("http.route", "/orders"),
        ("http.response.status_code", "201"),
        ("url.path", "/orders"),
        ("watertight.request", "ada-1"),
        ("watertight.generation", "1"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!((&root.attributes, &root.error), (&BTreeMap::from(expected), &None));

    let bridged: BTreeMap<&str, &Span> =
        spans.iter().filter(|span| span.is_bridged()).map(|span| (span.at("watertight.callee"), *span)).collect();
    let names: Vec<&str> = bridged.values().map(|span| span.name.as_str()).collect();
    assert_eq!(names[0], "notifications/shop:notifications/notifications@1.0.0.notify");
    assert!(names[1].starts_with("payments/shop:payments/payments@1.0.0."), "{names:?}");
    for span in bridged.values() {
        assert_eq!((span.kind, span.parent.as_str(), span.at("watertight.caller")), (1, root.id.as_str(), "orders"));
    }
    // The parent of a statement's span is the call of its module.
    let statements: Vec<&&Span> = spans.iter().filter(|span| span.is_sql()).collect();
    for span in &statements {
        let module = span.at("db.namespace");
        let above = by_id[&*span.parent];
        match module {
            "orders" => assert_eq!(above.id, root.id),
            callee => assert_eq!(above.at("watertight.callee"), callee),
        }
        assert_eq!((span.kind, span.at("db.system.name")), (3, "sqlite"));
        assert_eq!(span.name, format!("{} {module}", span.at("db.operation.name")));
    }
    let modules: BTreeSet<&str> = statements.iter().map(|span| span.at("db.namespace")).collect();
    assert_eq!(modules, BTreeSet::from(["notifications", "orders", "payments"]));
    let operations: BTreeSet<&str> = statements.iter().map(|span| span.at("db.operation.name")).collect();
    assert!(operations.is_superset(&BTreeSet::from(["query", "execute"])), "{operations:?}");
    assert!(
        statements
            .iter()
            .any(|span| span.attributes.get("db.query.text").is_some_and(|s| s.to_lowercase().contains("insert")))
    );
    assert_eq!(spans.len(), 1 + spans.iter().filter(|span| span.is_bridged()).count() + statements.len());

    for span in &spans {
        assert_eq!((&*span.service, &*span.scope, &*span.state), ("shop", "watertight", "vendor=theirs"));
        let Some(above) = by_id.get(&*span.parent) else { continue };
        assert!(above.start <= span.start && span.end <= above.end, "{span:?} is not within {above:?}");
        assert!(!span.remote);
    }
}

#[tokio::test]
async fn transactions_show_each_step() {
    let collector = Collector::start().await;
    let app = probe(&collector.manifest(""));
    let host = app.launch().start();
    let script =
        |steps: &serde_json::Value| client().post(host.url("/script")).json(steps).header("traceparent", parent(true));
    let steps = json!(["begin", { "execute": "INSERT INTO note (text) VALUES ('a')" }, { "query": "SELECT 1" }, "commit",
        "begin", { "execute": "no SQL" }, "drop"]);
    send(script(&steps)).await.expect(200);
    let spans = collector.wait_for(|span| span.name == "POST /script").await;
    let mut statements: Vec<&Span> = spans.iter().filter(|span| span.is_sql()).collect();
    statements.sort_by_key(|span| span.start);
    let operations: Vec<&str> = statements.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(operations, ["begin a", "execute a", "query a", "commit a", "begin a", "execute a", "rollback a"]);
    let errors: Vec<bool> = statements.iter().map(|span| span.error.is_some()).collect();
    assert_eq!(errors, [false, false, false, false, false, true, false]);
    assert!(statements[5].error.as_ref().unwrap().contains("syntax"), "{:?}", statements[5]);
    // A long statement is cut off.
    let long = format!("SELECT '{}'", "é".repeat(20_000));
    send(script(&json!([{ "query_outside": long }]))).await.expect(200);
    let spans = collector.wait_for(|span| span.attributes.get("db.query.text").is_some_and(|s| s.contains('é'))).await;
    let texts = spans.iter().filter_map(|span| span.attributes.get("db.query.text")).map(String::len);
    assert!((2_000..=2_048).contains(&texts.max().unwrap()));
}

#[tokio::test]
async fn failures_show_where_they_are() {
    let collector = Collector::start().await;
    let app = App::failing_notices("trap", &apart(&collector.manifest("")));
    let host = app.launch().start();
    let answer = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let (trace, ..) = told(&answer);
    let spans = collector.wait_for(|span| span.name == "POST /orders").await;
    let [bridged] = spans.iter().filter(|span| span.is_bridged()).collect::<Vec<_>>()[..] else { panic!("{spans:?}") };
    assert!(bridged.error.as_ref().unwrap().contains("trapped"), "{bridged:?}");
    assert_eq!(bridged.trace, trace);
    // The order was placed despite the failure.
    assert_eq!(spans.iter().find(|span| span.name == "POST /orders").unwrap().error, None);
    // The trap's log line has the trace id, although the trap is in another compartment.
    let log = host.log();
    let line = log.lines().find(|line| line.contains("unreachable")).unwrap();
    assert!(line.contains(&format!("trace={trace}")), "{line}");
}

#[tokio::test]
async fn a_failing_request_fails_its_span_and_strangers_make_no_names() {
    let collector = Collector::start().await;
    let routes = "[[route]]\nmethod = \"GET\"\npath = \"/trap\"\ncall = \"a/acts.trap\"\n";
    let app = probe(&collector.manifest("")).routes(routes);
    let host = app.launch().start();
    get(&host, "/trap", &[]).await.expect(500);
    get(&host, "/no/such/path", &[]).await.expect(404);
    send(client().request("ODD".parse().unwrap(), host.url("/trap"))).await.expect(501);
    let spans =
        collector.wait_for(|span| span.attributes.get("http.response.status_code").is_some_and(|s| s == "501")).await;
    let span = |status: &str| spans.iter().find(|span| span.at("http.response.status_code") == status).unwrap();
    assert_eq!((span("500").name.as_str(), span("500").error.as_deref()), ("GET /trap", Some("status 500")));
    let (lost, odd) = (span("404"), span("501"));
    assert_eq!((lost.name.as_str(), lost.at("url.path"), &lost.error), ("HTTP", "/no/such/path", &None));
    assert_eq!((odd.name.as_str(), odd.at("http.request.method")), ("HTTP", "_OTHER"));
    assert!(spans.iter().all(|span| span.parent.is_empty() && !span.remote), "a span has a parent");
}

#[tokio::test]
async fn a_trace_is_begun_where_none_is_given_and_stands_in_the_log() {
    let host = Launch::shop().variable("WATERTIGHT_LOG", "info,request=debug").start();
    assert_eq!(senders(&host), 0, "threads collect spans without a collector");
    let path = "/orders?customer=nobody";
    let one = told(&get(&host, path, &[("x-request-id", "one")]).await.expect(200));
    let two = told(&get(&host, path, &[("x-request-id", "two")]).await.expect(200));
    assert!(one.0 != two.0 && one.1 != two.1);
    assert_eq!(one.2, "00", "the trace is marked as recorded");
    let continued = told(&get(&host, path, &[("traceparent", &parent(true)), ("x-request-id", "three")]).await);
    assert_eq!((continued.0.as_str(), continued.2.as_str()), (TRACE, "00"));
    assert_ne!(continued.1, CALLER);
    let twice = [("traceparent", &*parent(true)), ("traceparent", &*parent(true))];
    assert_ne!(told(&get(&host, path, &twice).await.expect(200)).0, TRACE);
    let malformed = [
        String::new(),
        "00".to_owned(),
        parent(true).to_uppercase(),
        format!("{}-more", parent(true)),
        parent(true).replace(CALLER, "0000000000000000"),
        parent(true).replacen("00-", "ff-", 1),
        parent(true).replace('-', " "),
        "x".repeat(8_000),
    ];
    for value in malformed {
        let answer = get(&host, path, &[("traceparent", &value)]).await.expect(200);
        let (trace, _, flags) = told(&answer);
        assert!(trace != TRACE && trace != "0".repeat(32) && flags == "00", "{value}");
    }
    // An answer without a route has a trace, too.
    assert_eq!(told(&get(&host, "/nothing", &[("traceparent", &parent(true))]).await.expect(404)).0, TRACE);
    let log = host.log();
    for (request, trace) in [("one", &*one.0), ("two", &*two.0), ("three", TRACE)] {
        let line = log.lines().find(|line| line.contains(&format!("request=\"{request}\""))).unwrap();
        assert!(line.contains(&format!("trace={trace}")), "{line}");
    }
}

#[tokio::test]
async fn what_is_recorded_is_the_callers_choice_or_the_ratio() {
    let collector = Collector::start().await;
    let app = App::shop(&collector.manifest("ratio = 0"));
    let host = app.launch().start();
    let path = "/orders?customer=nobody";
    assert_eq!(told(&get(&host, path, &[]).await.expect(200)).2, "00");
    assert_eq!(told(&get(&host, path, &[("traceparent", &parent(false))]).await.expect(200)).2, "00");
    assert_eq!(told(&get(&host, path, &[("traceparent", &parent(true))]).await.expect(200)).2, "01");
    let spans = collector.wait_for(|span| span.name == "GET /orders").await;
    assert!(spans.iter().all(|span| span.trace == TRACE));
    assert_eq!(spans.iter().filter(|span| span.name == "GET /orders").count(), 1, "{spans:?}");

    let half = App::shop(&collector.manifest("ratio = 0.5"));
    let host = half.launch().start();
    let client = client();
    let mut recorded = 0;
    for _ in 0..100 {
        let answer = send(client.get(host.url(path))).await.expect(200);
        recorded += usize::from(told(&answer).2 == "01");
    }
    assert!((20..=80).contains(&recorded), "{recorded} of 100");
}

#[tokio::test]
async fn the_standard_variable_names_a_collector_and_the_last_spans_are_sent_at_the_end() {
    let collector = Collector::start().await;
    // The variable overrides the manifest.
    let app = App::shop("[telemetry]\notlp = \"http://127.0.0.1:1/\"\ninterval = \"5m\"");
    let mut host = app.launch().variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("{}/", collector.url())).start();
    get(&host, "/orders?customer=nobody", &[]).await.expect(200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(collector.spans().is_empty(), "spans were sent before the interval");
    host.signal(Signal::TERM);
    assert!(tokio::task::spawn_blocking(move || host.wait()).await.unwrap().success());
    collector.wait_for(|span| span.name == "GET /orders").await;
    // An empty value means no collector. An invalid address is refused.
    let host = App::shop("").launch().variable("OTEL_EXPORTER_OTLP_ENDPOINT", "").start();
    assert_eq!(senders(&host), 0);
    let (status, log) = App::shop("").launch().variable("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost").expect_end();
    assert!(!status.success() && log.contains("`localhost` is not a collector's address"), "{log}");
}

#[tokio::test]
async fn a_collector_that_says_nothing_holds_up_nobody() {
    // The collector accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!(
        "[telemetry]\notlp = \"http://{}\"\nqueue = 4\ninterval = \"10ms\"\ntimeout = \"300ms\"",
        silent.local_addr().unwrap()
    );
    let mut host = App::shop(&settings).launch().start();
    let client = client();
    let start = Instant::now();
    for _ in 0..50 {
        send(client.get(host.url("/orders?customer=nobody"))).await.expect(200);
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(host.has_logged("dropped a Span due to queue full"), "{}", host.log());
    host.signal(Signal::TERM);
    let start = Instant::now();
    let ended = tokio::task::spawn_blocking(move || host.wait()).await.unwrap();
    assert!(ended.success() && start.elapsed() < Duration::from_secs(10), "{ended} after {:?}", start.elapsed());
    drop(silent);
}
