//! Tests of `/metrics`, before and after requests, failures and swaps.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watertight_telemetry::table::{self, Kind, Metric};
use watertight_testkit::app::{App, apart, guest};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::{Host, Launch};

use crate::scrape::Scrape;
use crate::shop::{card, draft};

/// The maximum time to wait until the metrics show work that the host does in the background.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns an application of the test guest `probe`. A route leads to each of its functions that fail. `settings` is appended to the
/// manifest.
fn probe(settings: &str) -> App {
    let mut routes = String::new();
    for act in ["count", "trap", "spin", "take-memory"] {
        routes += &format!("[[route]]\nmethod = \"GET\"\npath = \"/{act}\"\ncall = \"a/acts.{act}\"\n");
    }
    routes += "[[route]]\nmethod = \"POST\"\npath = \"/wait\"\ncall = \"a/acts.wait\"\nbody = \"*\"\n";
    App::new(&format!(
        "[app]\nname = \"probe\"\nroutes = [\"routes/*.toml\"]\n[modules.a]\ncomponent = {:?}\n\
         uses = [\"sql\", \"logging\", \"clocks\"]\n{settings}\n",
        guest("probe")
    ))
    .routes(&routes)
}

/// Returns the shop with its module of notifications in a compartment of its own.
fn shop_apart() -> App {
    App::shop(
        "[compartments.core]\nmodules = [\"orders\", \"payments\"]\n\
         [compartments.aside]\nmodules = [\"notifications\"]\n",
    )
}

/// Returns a component with one more custom section, which contains `mark`: it does the same as before, and counts as another build.
pub(crate) fn another_build(component: &Path, mark: u8) -> Vec<u8> {
    let mut bytes = fs::read(component).unwrap();
    bytes.extend_from_slice(&[0, 6, 4, b'm', b'a', b'r', b'k', mark]);
    bytes
}

/// Asks the host for its metrics again and again, until they satisfy `wanted`. `what` describes the wanted state for a failure's message.
async fn until(host: &Host, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let start = Instant::now();
    loop {
        let now = Scrape::of(host).await;
        if wanted(&now) {
            return now;
        }
        assert!(start.elapsed() < TIMEOUT, "timed out waiting for {what}:\n{now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn requests(now: &Scrape, method: &str, route: &str, status: &str) -> f64 {
    now.value(&table::REQUESTS, &[("method", method), ("route", route), ("status", status)])
}

fn dropped(now: &Scrape, compartment: &str, reason: &str) -> f64 {
    now.value(&table::INSTANCES_DROPPED, &[("compartment", compartment), ("reason", reason)])
}

#[tokio::test]
async fn what_is_documented_is_there_and_nothing_else() {
    let host = shop_apart().launch().start();
    host.get("/metrics").await.expect(404);
    let now = Scrape::of(&host).await;
    // No module of the shop is granted `http`. The tests of `grants` cover the metric of outbound requests.
    let documented = || table::ALL.iter().filter(|metric| metric.name != table::OUTBOUND.name);
    assert_eq!(now.names(), documented().map(|metric| metric.name).collect::<BTreeSet<&str>>());
    for Metric { name, kind, labels, help } in documented() {
        let (found, text) = now.described(name);
        assert_eq!((found, text), (kind.as_str(), *help), "{name}");
        let labels: BTreeSet<&str> = labels.iter().copied().collect();
        assert_eq!(now.labels(name), labels, "{name}");
        assert!((*kind == Kind::Counter) == name.ends_with("_total"), "{name}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let host = Launch::shop().start();
    let before = Scrape::of(&host).await;
    assert_eq!(requests(&before, "POST", "/orders", "201"), 0.0);
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    host.post("/orders", &draft("ada", card("tok_declined"))).await.expect(402);
    host.post("/orders", &json!({})).await.expect(400);
    let path = format!("/orders/{}", order.at("/id"));
    host.get(&path).await.expect(200);
    host.get("/orders/nothing").await.expect(404);
    send(client().head(host.url(&path))).await.expect(200);
    let after = Scrape::of(&host).await;
    assert_eq!(["201", "402", "400"].map(|status| requests(&after, "POST", "/orders", status)), [1.0; 3]);
    // The route of `GET` answers `HEAD` requests.
    assert_eq!(["200", "404"].map(|status| requests(&after, "GET", "/orders/{id}", status)), [2.0, 1.0]);
    let time = after.histogram(&table::REQUEST_TIME, &[("method", "POST"), ("route", "/orders")]);
    assert_eq!(time.count, 3.0);
    assert!(time.sum > 0.0 && time.sum < 30.0, "{time:?}");
    after.grew_from(&before);
}

#[tokio::test]
async fn nothing_that_a_client_sends_becomes_a_label() {
    let host = Launch::shop().start();
    host.get("/nothing").await.expect(404);
    host.get("/orders?customer=nobody").await.expect(200);
    send(client().delete(host.url("/orders"))).await.expect(405);
    send(client().request("BREW".parse().unwrap(), host.url("/orders"))).await.expect(501);
    let before = Scrape::of(&host).await;
    for number in 0..200 {
        host.get(&format!("/nothing/{number}")).await.expect(404);
        host.get(&format!("/orders?customer=c{number}")).await.expect(200);
        let method = reqwest::Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        send(client().request(method, host.url("/orders"))).await.expect(501);
    }
    let after = Scrape::of(&host).await;
    assert_eq!(after.series(), before.series());
    assert_eq!(["404", "405", "501"].map(|status| requests(&after, "other", "other", status)), [201.0, 1.0, 201.0]);
    let named = |line: &&str| !line.starts_with('#') && (line.contains("customer") || line.contains("nothing"));
    assert_eq!(after.text().lines().find(named), None);
}

#[tokio::test]
async fn calls_are_counted_by_edge_and_kind() {
    let host = shop_apart().launch().start();
    let calls = |now: &Scrape, from: &str, to: &str, kind: &str| {
        now.value(&table::CALLS, &[("from", from), ("to", to), ("kind", kind)])
    };
    let before = Scrape::of(&host).await;
    assert_eq!(calls(&before, "core", "aside", "bridged"), 0.0);
    // Each start calls `resume` of orders once.
    assert_eq!(calls(&before, "outside", "core", "resume"), 1.0);
    for _ in 0..3 {
        host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    }
    host.called("orders/orders.list-orders", json!(["nobody"])).await;
    let after = Scrape::of(&host).await;
    assert_eq!(calls(&after, "core", "aside", "bridged"), 3.0);
    assert_eq!(calls(&after, "outside", "core", "route"), 3.0);
    assert_eq!(calls(&after, "outside", "core", "operator"), 1.0);
    // Payments are called within their compartment, by fused calls, which are not counted.
    assert_eq!(after.sum(&table::CALLS, &[("kind", "bridged")]), 3.0);
    assert_eq!(calls(&after, "outside", "aside", "route"), 0.0);
    after.grew_from(&before);
}

#[tokio::test]
async fn instances_are_counted_as_they_come_and_go() {
    let host = probe("[defaults.limits]\nrequest = \"3s\"\nmemory = \"128MiB\"").launch().start();
    host.get("/count").await.expect(200);
    host.get("/trap").await.expect(500);
    host.get("/spin").await.expect(504);
    host.get("/take-memory?mebibytes=200").await.expect(500);
    host.get("/take-memory?mebibytes=100").await.expect(200);
    host.get("/count").await.expect(200);
    let now = Scrape::of(&host).await;
    let errors = |kind: &str| now.value(&table::CALL_ERRORS, &[("compartment", "main"), ("kind", kind)]);
    assert_eq!(["trap", "deadline", "limit"].map(errors), [1.0; 3]);
    assert_eq!(["queue-full", "no-room", "callee"].map(errors), [0.0; 3]);
    assert_eq!(["trap", "deadline", "limit", "memory"].map(|reason| dropped(&now, "main", reason)), [1.0; 4]);
    let all = now.sum(&table::INSTANCES_DROPPED, &[]);
    let (made, warm) = (now.sum(&table::INSTANCES_MADE, &[]), now.sum(&table::INSTANCES_WARM, &[]));
    assert_eq!((all, made, warm), (4.0, 5.0, 1.0), "without running calls, each instance made must be warm or dropped");
    assert_eq!(now.value(&table::CALLS_LIMIT, &[("module", "a")]), 256.0);
}

#[tokio::test]
async fn instances_that_are_left_alone_or_used_up_are_counted() {
    let idle = probe("[defaults.instances]\nidle = \"100ms\"").launch().start();
    until(&idle, "an idle instance's end", |now| dropped(now, "main", "idle") == 1.0).await;
    let used = probe("[defaults.instances]\nmax_calls = 2").launch().start();
    for _ in 0..4 {
        used.get("/count").await.expect(200);
    }
    // The host made the first instance before the first request.
    assert_eq!(dropped(&Scrape::of(&used).await, "main", "max-calls"), 2.0);
    let fresh = probe("[defaults.instances]\nmode = \"fresh\"").launch().start();
    for _ in 0..3 {
        fresh.get("/count").await.expect(200);
    }
    assert_eq!(dropped(&Scrape::of(&fresh).await, "main", "fresh"), 4.0);
}

#[tokio::test]
async fn the_pool_shows_who_runs_and_who_waits() {
    let host = probe("[defaults.limits]\ncalls = 2\nqueue = 1").launch().start();
    let slow = || async { host.post("/wait", &json!({ "milliseconds": 1500 })).await };
    let look = async {
        let shown = |now: &Scrape| {
            let seen = |metric: &Metric| now.value(metric, &[("module", "a")]);
            [seen(&table::CALLS_RUNNING), seen(&table::CALLS_WAITING), seen(&table::CALLS_LIMIT)] == [2.0, 1.0, 2.0]
        };
        let now = until(&host, "two that run and one that waits", shown).await;
        assert_eq!(now.value(&table::IN_FLIGHT, &[("generation", "1")]), 3.0);
        slow().await.expect(503);
    };
    let (one, two, three, ()) = tokio::join!(slow(), slow(), slow(), look);
    for answer in [one, two, three] {
        answer.expect(200);
    }
    let now = Scrape::of(&host).await;
    assert_eq!(now.value(&table::CALL_ERRORS, &[("compartment", "main"), ("kind", "queue-full")]), 1.0);
    assert_eq!(requests(&now, "POST", "/wait", "503"), 1.0);
    assert_eq!(now.value(&table::IN_FLIGHT, &[("generation", "1")]), 0.0);
}

#[tokio::test]
async fn a_swap_shows_and_no_counter_goes_back() {
    let host = probe("").launch().start();
    let component = guest("probe");
    for _ in 0..5 {
        host.get("/count").await.expect(200);
    }
    let before = Scrape::of(&host).await;
    let changes = |now: &Scrape, cause: &str, outcome: &str| {
        now.value(&table::CHANGES, &[("cause", cause), ("outcome", outcome)])
    };
    assert_eq!(changes(&before, "run", "published"), 1.0);
    host.swap("a", another_build(&component, 1), "").await.expect(200);
    let swapped = until(&host, "the first one's end", |now| now.value(&table::GENERATIONS_ALIVE, &[]) == 1.0).await;
    swapped.grew_from(&before);
    assert_eq!(dropped(&swapped, "main", "retired"), 1.0);
    // A generation that was freed has no series any more.
    assert_eq!(swapped.find(&table::IN_FLIGHT, &[("generation", "1")]), None);

    let slow = async { host.post("/wait", &json!({ "milliseconds": 2000 })).await.expect(200) };
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        send(client().post(host.admin_url("/rollback")).bearer_auth(host.token())).await.expect(200);
        let now = Scrape::of(&host).await;
        now.grew_from(&swapped);
        let seen = |metric: &Metric| now.value(metric, &[]);
        assert_eq!((seen(&table::GENERATION), seen(&table::GENERATIONS_ALIVE)), (3.0, 2.0));
        let in_flight = |generation: &str| now.value(&table::IN_FLIGHT, &[("generation", generation)]);
        assert_eq!((in_flight("2"), in_flight("3")), (1.0, 0.0));
        now
    };
    let (answer, during) = tokio::join!(slow, back);
    assert_eq!(answer.header("watertight-generation"), "2");

    host.swap("a", fs::read(&component).unwrap(), "").await.expect(200);
    host.swap("a", another_build(&component, 2), "?dry_run=true").await.expect(200);
    host.swap("a", b"no component".to_vec(), "").await.expect(409);
    for _ in 0..5 {
        host.get("/count").await.expect(200);
    }
    let last = until(&host, "the second's end", |now| now.value(&table::GENERATIONS_ALIVE, &[]) == 1.0).await;
    last.grew_from(&during);
    let outcomes = ["published", "unchanged", "planned", "refused"].map(|outcome| changes(&last, "swap", outcome));
    assert_eq!((outcomes, changes(&last, "rollback", "published")), ([1.0; 4], 1.0));
    let took = last.histogram(&table::CHANGE_TIME, &[("cause", "swap"), ("outcome", "published")]);
    assert!(took.count == 1.0 && took.sum > 0.0, "{took:?}");
    assert_eq!(requests(&last, "GET", "/count", "200"), 10.0);
    assert_eq!(last.value(&table::GENERATION, &[]), 3.0);
}

#[tokio::test]
async fn a_call_that_a_drain_cut_off_is_an_error() {
    // The endless loop outlasts the compilation of the swap.
    let host =
        probe("[http]\ndrain = \"200ms\"\n[defaults.limits]\ncpu = \"5min\"\nrequest = \"5min\"").launch().start();
    let slow = async { host.get("/spin").await.expect(504) };
    let swap = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        host.swap("a", another_build(&guest("probe"), 3), "").await.expect(200)
    };
    tokio::join!(slow, swap);
    let now = Scrape::of(&host).await;
    assert_eq!(now.value(&table::CALL_ERRORS, &[("compartment", "main"), ("kind", "deadline")]), 1.0);
    assert_eq!((requests(&now, "GET", "/spin", "504"), dropped(&now, "main", "dropped")), (1.0, 1.0));
}

#[tokio::test]
async fn a_database_shows_its_work() {
    let host = probe("").launch().start();
    let seen = |now: &Scrape, metric: &Metric| now.value(metric, &[("module", "a")]);
    let before = Scrape::of(&host).await;
    let write = |text: &str| json!([format!("INSERT INTO note (text) VALUES ('{text}')"), []]);
    let writes = (0..40).map(|number| host.called("a/raw.execute", write(&number.to_string())));
    let written: Vec<Value> = futures::future::join_all(writes).await;
    assert!(written.iter().all(|answer| answer["ok"] == 1), "{written:?}");
    host.called("a/raw.query", json!(["SELECT text FROM note", []])).await;
    let said = host.called("a/raw.script", json!([["begin", { "execute": "DELETE FROM note" }, "drop"]])).await;
    assert_eq!(said, json!(["ok", "40", "ok"]));
    // A guest doesn't wait for the rollback of a dropped transaction.
    let rolled_back = |now: &Scrape| seen(now, &table::ROLLBACKS) - seen(&before, &table::ROLLBACKS) == 1.0;
    let after = until(&host, "the rollback", rolled_back).await;
    assert_eq!(seen(&after, &table::COMMITS) - seen(&before, &table::COMMITS), 40.0);
    let syncs = seen(&after, &table::SYNCS) - seen(&before, &table::SYNCS);
    assert!((1.0..=40.0).contains(&syncs), "{syncs}");
    assert!((1.0..=40.0).contains(&seen(&after, &table::LARGEST_BATCH)));
    assert!(after.sum(&table::READS, &[("module", "a")]) >= 1.0);
    assert_eq!((seen(&after, &table::WRITER_QUEUE), seen(&after, &table::READ_QUEUE)), (0.0, 0.0));
    after.grew_from(&before);

    // The transaction holds the writer while another call waits. Each statement renews its lease, so it may hold the writer for longer than
    // one lease.
    let steps: Vec<Value> =
        (0..30).flat_map(|_| [json!({ "execute": "UPDATE note SET text = text" }), json!({ "wait": 40 })]).collect();
    let steps = [vec![json!("begin")], steps, vec![json!("commit")]].concat();
    let holder = json!([steps]);
    let wait = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        host.called("a/raw.execute", write("late")).await
    };
    let look = until(&host, "a write that waits", |now| seen(now, &table::WRITER_QUEUE) == 1.0);
    let (_, waited, _) = tokio::join!(host.called("a/raw.script", holder), wait, look);
    assert_eq!(waited["ok"], 1);
    assert_eq!(seen(&Scrape::of(&host).await, &table::WRITER_QUEUE), 0.0);
}

#[tokio::test]
async fn a_failing_callee_shows_on_both_sides() {
    let app = App::failing_notices("trap", &apart(""));
    let host = app.launch().start();
    host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let now = Scrape::of(&host).await;
    let errors =
        |compartment: &str, kind: &str| now.value(&table::CALL_ERRORS, &[("compartment", compartment), ("kind", kind)]);
    // The caller got a typed error and went on.
    assert_eq!((errors("aside", "trap"), errors("core", "callee")), (1.0, 0.0));
    assert_eq!(
        (dropped(&now, "aside", "trap"), now.sum(&table::INSTANCES_DROPPED, &[("compartment", "core")])),
        (1.0, 0.0)
    );
}
