//! Changes under a load of all kinds of requests: routes, handlers of both versions, a chain of middlewares, and streams. No request may
//! fail, and each must be answered by modules of one generation.
//!
//! `MIXED_CHANGES` is the number of changes, 8 by default. The test prints the latencies of requests in seconds with a change and without.

#![allow(clippy::print_stdout, reason = "the test reports latencies")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::Version;
use watertight_testkit::admin::{Operator, parts_of, published};
use watertight_testkit::app::{App, guest, handler_p3};
use watertight_testkit::builds::with_build_id;
use watertight_testkit::host::Host;

use crate::VERSIONS;
use crate::client::{Answer, get, piece, read, start};

/// The number of clients of each kind.
const CLIENTS: usize = 2;
/// The time between two changes.
const PAUSE: Duration = Duration::from_millis(1_500);

const ROUTES: &str = r#"
[[middleware]]
path = "/"
module = "first"

[[middleware]]
path = "/web"
module = "second"

[[mount]]
path = "/stamp"
module = "second"

[[mount]]
path = "/web"
module = "web"

[[mount]]
path = "/three"
module = "three"
strip = true

[[route]]
method = "GET"
path = "/route"
call = "web/serves.handled"
"#;

/// The requests of the load. Each has what its answer must contain.
const REQUESTS: [(&str, &str); 6] = [
    ("/route", ""),
    ("/stamp/here", "s"),
    ("/web/hello", "hello"),
    ("/three/hello", "Hello, world!"),
    ("/web/trickle?pieces=10&millis=20", "9\n"),
    ("/three/trickle/10/20", "data: one piece"),
];

/// Returns the application in its state after so many changes: all modules are new builds, and all middlewares have a new stamp.
fn app(change: usize) -> App {
    let mut app = String::from("[app]\nname = \"mixed\"\nroutes = [\"routes/*.toml\"]\n");
    for (module, uses) in [
        ("first", ""),
        ("second", ""),
        ("web", "\"sql\", \"context\""),
        ("probe", "\"sql\", \"logging\""),
        ("three", ""),
    ] {
        let calls = if module == "web" { "calls = [\"probe\"]\n" } else { "" };
        let uses = if matches!(module, "first" | "second") {
            let mounted = if module == "second" { ", mounted = \"yes\"" } else { "" };
            format!("uses = [\"clocks\", \"config\"]\nconfig = {{ stamp = \"s{change}\"{mounted} }}")
        } else {
            format!("uses = [{uses}{}\"clocks\"]", if uses.is_empty() { "" } else { ", " })
        };
        app += &format!("[modules.{module}]\ncomponent = \"{module}.wasm\"\n{calls}{uses}\n");
    }
    let app = App::new(&app).routes(ROUTES);
    let built = |name: &str| with_build_id(&fs::read(guest(name)).unwrap(), &format!("{name}{change}"));
    let components = [
        ("first", built("passes")),
        ("second", built("passes")),
        ("web", built("serves")),
        ("probe", built("probe")),
        ("three", fs::read(handler_p3()).unwrap()),
    ];
    for (module, component) in components {
        fs::write(app.path().join(module).with_extension("wasm"), component).unwrap();
    }
    app
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    /// The stamps that were seen of each generation.
    stamps: BTreeMap<u64, BTreeSet<String>>,
    wrong: Vec<String>,
    answers: usize,
    /// The end and the duration of each request that is no stream.
    latencies: Vec<(Instant, Duration)>,
}

impl Seen {
    fn add(&mut self, path: &str, expected: &str, answer: &Answer, time: Duration) {
        self.answers += 1;
        let passed =
            answer.headers.get_all("x-stamp").iter().map(|value| value.to_str().unwrap_or_default().to_owned());
        let mut stamps: BTreeSet<String> = passed.collect();
        if path.starts_with("/stamp") {
            stamps.insert(answer.text.clone());
        }
        let is_right = answer.status == 200 && answer.is_whole && answer.text.contains(expected) && stamps.len() == 1;
        if !is_right && self.wrong.len() < 10 {
            self.wrong.push(format!("{path}: {answer:?}"));
        }
        let generation = answer.header("watertight-generation").parse().unwrap_or(0);
        self.stamps.entry(generation).or_default().extend(stamps);
        if !path.contains("trickle") {
            self.latencies.push((Instant::now(), time));
        }
    }
}

async fn client(
    host: Arc<Host>,
    version: Version,
    path: &str,
    expected: &str,
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
) {
    while !ended.load(Relaxed) {
        let begun = Instant::now();
        let request = start(version, "GET", path).header("x-middleware", "stamp").body(Default::default()).unwrap();
        let answer = read(crate::client::ask(host.listen(), version, request).await).await;
        seen.lock().unwrap().add(path, expected, &answer, begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_under_a_mixed_load_cost_no_request() {
    let changes = std::env::var("MIXED_CHANGES").map_or(8, |changes| changes.parse().unwrap());
    let first = app(0);
    let host = Arc::new(first.launch().start());
    let (seen, ended) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
    let mut clients = tokio::task::JoinSet::new();
    for version in VERSIONS {
        for (path, expected) in REQUESTS {
            for _ in 0..CLIENTS {
                clients.spawn(client(host.clone(), version, path, expected, seen.clone(), ended.clone()));
            }
        }
    }
    // A stream that outlives several changes.
    let mut long = get(host.listen(), Version::HTTP_2, "/web/trickle?pieces=1000000&millis=50").await;
    piece(&mut long).await.unwrap().unwrap();
    let (mut spans, mut generations) = (Vec::new(), vec![1]);
    for change in 1..=changes {
        tokio::time::sleep(PAUSE).await;
        let operator = Operator::of(&host);
        let begun = Instant::now();
        let applied =
            tokio::task::spawn_blocking(move || published(&operator.upload(&parts_of(app(change).path()), false)));
        generations.push(applied.await.unwrap());
        spans.push((begun, Instant::now()));
        assert!(piece(&mut long).await.is_ok_and(|piece| piece.is_some()) || change > 3, "the long stream broke");
    }
    tokio::time::sleep(PAUSE).await;
    ended.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(seen.wrong.is_empty(), "{}\n{}", seen.wrong.join("\n"), host.log());
    for (number, generation) in generations.iter().enumerate() {
        let stamps = seen.stamps.get(generation).cloned().unwrap_or_default();
        assert!(stamps.iter().all(|stamp| *stamp == format!("s{number}")), "generation {generation}: {stamps:?}");
    }
    let is_beside = |at: &Instant| spans.iter().any(|(begun, done)| begun <= at && at <= done);
    let percentile = |with: bool| {
        let mut times: Vec<Duration> =
            seen.latencies.iter().filter(|(at, _)| is_beside(at) == with).map(|(_, time)| *time).collect();
        times.sort();
        times.get(times.len() * 99 / 100).copied().unwrap_or_default()
    };
    println!(
        "{} answers, {changes} changes; p99 beside a change {:?}, otherwise {:?}",
        seen.answers,
        percentile(true),
        percentile(false)
    );
}
