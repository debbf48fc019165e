//! Tests that a guest's damage to its instance affects only the request that caused it.

use std::time::{Duration, Instant};

use serde_json::json;
use watertight_testkit::app::{App, guest, wasi_probe};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;

/// Returns an application whose module `a` is the component `component` of the test guest `probe`. A route leads to each of the functions
/// that the tests call. `settings` is appended to the manifest.
fn acts(component: &std::path::Path, settings: &str) -> App {
    let mut routes = String::new();
    for act in
        ["count", "trap", "spin", "recurse", "take-memory", "text", "not-a-number", "wait", "log", "surroundings"]
    {
        routes += &format!("[[route]]\nmethod = \"GET\"\npath = \"/{act}\"\ncall = \"a/acts.{act}\"\n");
    }
    App::new(&format!(
        "[app]\nname = \"acts\"\nroutes = [\"routes/*.toml\"]\n[modules.a]\ncomponent = {component:?}\n\
         uses = [\"sql\", \"logging\", \"clocks\", \"random\"]\n{settings}\n"
    ))
    .routes(&routes)
}

async fn start(settings: &str) -> (App, Host) {
    let app = acts(&guest("probe"), settings);
    let host = app.launch().start();
    (app, host)
}

async fn counts(host: &Host) -> Vec<i64> {
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(host.get("/count").await.expect(200).body.as_i64().unwrap());
    }
    counts
}

async fn assert_fails(host: &Host, path: &str) {
    let answer = host.get(path).await.expect(500);
    assert_eq!(answer.problem(), "module-failed");
    assert_eq!(
        answer.at("/detail"),
        "the application failed to process the request",
        "the answer tells of the host's inside"
    );
    assert!(answer.body.get("payload").is_none() && answer.body.get("errors").is_none(), "{answer:?}");
}

/// A component whose instances have 60 memories each, so that 68 of them fill the pool of an engine.
fn greedy() -> Vec<u8> {
    let memories = "(core instance (instantiate $memory))\n".repeat(60);
    let component = format!(
        "(component (core module $memory (memory 1)) {memories}
           (core module $m (func (export \"spin\") (loop (br 0))))
           (core instance $i (instantiate $m))
           (func $spin (canon lift (core func $i \"spin\")))
           (instance $api (export \"spin\" (func $spin)))
           (export \"t:t/api\" (instance $api)))"
    );
    wat::parse_str(component).unwrap()
}

#[tokio::test]
async fn a_call_that_finds_no_room_is_no_trap() {
    let app = App::new(
        "[app]\nname = \"greedy\"\nroutes = [\"routes/*.toml\"]\n[modules.a]\ncomponent = \"a.wasm\"\n\
         [defaults.limits]\nrequest = \"2s\"\n",
    )
    .routes("[[route]]\nmethod = \"GET\"\npath = \"/spin\"\ncall = \"a/api.spin\"\n");
    std::fs::write(app.path().join("a.wasm"), greedy()).unwrap();
    let host = app.launch().start();
    let answers = futures::future::join_all((0..80).map(|_| host.get("/spin"))).await;
    assert!(answers.iter().any(|answer| answer.status == 503), "{answers:?}");
    let log = host.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("there is no room")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(" WARN limit:")), "{lines:?}");
}

#[tokio::test]
async fn reused_instances_keep_their_globals() {
    let (_app, host) = start("").await;
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn fresh_instances_know_nothing_of_each_other() {
    let (_app, host) = start("[defaults.instances]\nmode = \"fresh\"").await;
    assert_eq!(counts(&host).await, [1, 1, 1, 1]);
    let instances = host.admin_get("/modules").await.expect(200).body["modules"][0]["instances"].take();
    assert_eq!((&instances["warm"], &instances["calls"]), (&json!(0), &json!(4)));
}

#[tokio::test]
async fn an_instance_serves_a_bounded_number_of_calls() {
    let (_app, host) =
        start("[compartments.main]\nmodules = [\"a\"]\n[compartments.main.instances]\nmax_calls = 3").await;
    assert_eq!(counts(&host).await, [1, 2, 3, 1]);
}

#[tokio::test]
async fn an_idle_instance_is_freed() {
    let (_app, host) = start("[defaults.instances]\nidle = \"100ms\"").await;
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
    let warm = async || host.admin_get("/modules").await.expect(200).body["modules"][0]["instances"]["warm"].as_i64();
    let start = Instant::now();
    while warm().await != Some(0) {
        assert!(start.elapsed() < Duration::from_secs(10), "an idle instance stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_trap_costs_its_own_request() {
    let (_app, host) = start("").await;
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
    assert_fails(&host, "/trap").await;
    // The damaged instance was dropped, together with its globals.
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
    assert_fails(&host, "/recurse").await;
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
    assert!(host.has_logged("unreachable"), "{}", host.log());
}

#[tokio::test]
async fn traps_do_not_flood_the_log() {
    let (_app, host) = start("").await;
    let client = client();
    for _ in 0..100 {
        send(client.get(host.url("/trap"))).await.expect(500);
    }
    let lines = host.log().lines().filter(|line| line.contains("ERROR")).count();
    assert!((1..60).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_deadline_and_holds_up_nobody() {
    let (_app, host) = start("[defaults.limits]\nrequest = \"400ms\"").await;
    let client = client();
    let start = Instant::now();
    // There are more loops than worker threads.
    let loops = futures::future::join_all((0..8).map(|_| send(client.get(host.url("/spin")))));
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            let start = Instant::now();
            host.get("/count").await.expect(200);
            slowest = slowest.max(start.elapsed());
        }
        slowest
    };
    let (loops, slowest) = tokio::join!(loops, others);
    assert!(slowest < Duration::from_millis(350), "a request took {slowest:?} beside endless loops");
    for answer in loops {
        assert_eq!(answer.expect(504).problem(), "deadline");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    host.get("/count").await.expect(200);
}

#[tokio::test]
async fn a_memory_bomb_bursts_alone() {
    let (_app, host) = start("[defaults.limits]\nmemory = \"32MiB\"").await;
    assert_eq!(host.get("/take-memory?mebibytes=16").await.expect(200).body, 16);
    assert_fails(&host, "/take-memory?mebibytes=4000").await;
    assert!(host.has_logged("of 33554432 allowed"), "{}", host.log());
    // The next call runs on a new instance, which holds no memory yet.
    assert_eq!(host.get("/take-memory?mebibytes=16").await.expect(200).body, 16);
}

#[tokio::test]
async fn an_instance_that_has_grown_is_not_kept() {
    let (_app, host) = start("").await;
    assert_eq!(host.get("/take-memory?mebibytes=10").await.expect(200).body, 10);
    assert_eq!(host.get("/take-memory?mebibytes=100").await.expect(200).body, 110);
    assert_eq!(host.get("/take-memory?mebibytes=1").await.expect(200).body, 1);
}

#[tokio::test]
async fn results_are_bounded_and_must_be_json() {
    let (_app, host) = start("[defaults.limits]\nresult = \"64KiB\"").await;
    assert_eq!(host.get("/text?bytes=60000").await.expect(200).text.len(), 60_002);
    assert_fails(&host, "/text?bytes=70000").await;
    assert_fails(&host, "/text?bytes=100000000").await;
    assert_fails(&host, "/not-a-number").await;
    assert_eq!(host.get("/text?bytes=1").await.expect(200).body, "x");
}

#[tokio::test]
async fn a_log_line_says_whose_it_is_and_stays_one_line() {
    let (_app, host) = start("").await;
    let request = client().get(host.url("/log?message=first%0A2030-01-01+ERROR+forged+%1B[31m"));
    send(request.header("x-request-id", "log-1")).await.expect(200);
    let log = host.log();
    let line = log.lines().find(|line| line.contains("first")).unwrap();
    assert!(line.contains("log-1") && line.contains("module=\"a\""), "{line}");
    assert!(line.contains("forged"), "a guest's line break ended the log line: {log}");
    assert!(!log.contains('\u{1b}'), "a guest's escape sequence reached the log: {log:?}");
}

#[tokio::test]
async fn a_component_of_wasi_runs_and_finds_nothing_there() {
    let app = acts(&wasi_probe(), "");
    let host = app.launch().start();
    assert_eq!(counts(&host).await, [1, 2, 3, 4]);
    let surroundings = host.get("/surroundings").await.expect(200).body;
    let expected = ["0 arguments", "0 variables", "file: false", "folder: false", "connection: false"];
    assert_eq!(surroundings, json!(expected));
    assert_eq!(host.get("/wait?milliseconds=5").await.expect(200).body, "waited");
    assert_fails(&host, "/trap").await;
    // The component has no section of Watertight, so it has no migrations: its database exists and is empty.
    let note = host.called("a/raw.query", json!(["SELECT text FROM note", []])).await;
    assert_eq!(note["err"]["syntax"], "no such table: note");
}
