//! Tests of clients that attack a host by their connections: they send nothing, read nothing, or take as much memory as they can. Other
//! clients must not notice.
//!
//! The HTTP/2 frames are written by hand: see the test kit's `http2.rs`.

mod others;

use std::time::{Duration, Instant};

use crate::scrape::Scrape;
use serde_json::json;
use watertight_telemetry::table;
use watertight_testkit::app::{App, guest};
use watertight_testkit::client::{Raw, client, request, send};
use watertight_testkit::host::{Host, Launch};
use watertight_testkit::http2::{DATA, GOAWAY, HEADERS, Http2, RST_STREAM};

use others::Others;

/// The maximum time to wait for something that takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(10);
/// The maximum number of streams that the host allows on one HTTP/2 connection.
const STREAMS: usize = 256;

/// Returns an application of the test guest `probe`, which answers with texts of any length, waits, and runs scripts.
fn texts(settings: &str) -> App {
    let component = guest("probe");
    App::new(&format!(
        "[app]\nname = \"probe\"\nroutes = [\"routes/*.toml\"]\n{settings}\n[modules.a]\ncomponent = {component:?}\n\
         uses = [\"sql\", \"logging\", \"clocks\"]\n"
    ))
    .routes(
        "[[route]]\nmethod = \"GET\"\npath = \"/text\"\ncall = \"a/acts.text\"\n\
         [[route]]\nmethod = \"POST\"\npath = \"/wait\"\ncall = \"a/acts.wait\"\nbody = \"*\"\n\
         [[route]]\nmethod = \"POST\"\npath = \"/script\"\ncall = \"a/raw.script\"\nbody = \"steps\"\n",
    )
}

async fn metric(host: &Host, metric: &table::Metric, labels: &[(&str, &str)]) -> f64 {
    Scrape::of(host).await.value(metric, labels)
}

/// Returns the resident memory of the host in bytes.
fn resident(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.process())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Waits until the condition `is` holds. `what` describes the condition for a failure's message.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < 6 * SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const ANSWER_STALLED: [(&str, &str); 2] = [("listener", "data"), ("reason", "answer-stalled")];
const REQUEST_STALLED: [(&str, &str); 2] = [("listener", "data"), ("reason", "request-stalled")];

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_stop_nobody_else_and_their_streams_end() {
    let app = texts("[http]\nin_flight = 64\nstall = \"1s\"\n[defaults.limits]\ncalls = 4");
    let host = app.launch().start();
    for answer in futures::future::join_all((0..30).map(|_| host.get("/text?bytes=60000"))).await {
        answer.expect(200);
    }
    let others = Others::with_operator(&host).await;
    let before = resident(&host);
    let mut attackers: Vec<Http2> = (0..4).map(|_| Http2::connect(host.listen(), 0)).collect();
    for attacker in &mut attackers {
        for _ in 0..STREAMS {
            attacker.get("/text?bytes=60000");
        }
    }
    let ended = tokio::task::spawn_blocking(move || {
        let (start, mut ended) = (Instant::now(), [0; 4]);
        while start.elapsed() < 3 * SOON && ended.iter().sum::<usize>() < 4 * STREAMS {
            for (attacker, ended) in attackers.iter_mut().zip(&mut ended) {
                // A byte from time to time doesn't count as progress.
                for stream in 0..STREAMS as u32 {
                    attacker.window(2 * stream + 1, 1);
                }
                let is_end = |frame: &&watertight_testkit::http2::Frame| {
                    frame.kind == RST_STREAM || (frame.kind == DATA && frame.flags & 1 == 1)
                };
                let frames = attacker.frames(Duration::from_millis(200));
                assert!(!frames.iter().any(|frame| frame.kind == GOAWAY), "the host ended the whole connection");
                *ended += frames.iter().filter(is_end).count();
            }
        }
        // Another stream of the same connection is still served.
        attackers[0].window(0, 1 << 20);
        let stream = attackers[0].get("/text?bytes=5");
        attackers[0].head(stream);
        (ended, attackers)
    });
    let (ended, attackers) = ended.await.unwrap();
    assert_eq!(ended, [STREAMS; 4]);
    others.stop();
    assert!(metric(&host, &table::CUT_OFF, &ANSWER_STALLED).await > 0.0);
    drop(attackers);
    until("bytes are still held", async || metric(&host, &table::HELD_BYTES, &[("listener", "data")]).await < 10_000.0)
        .await;
    until("memory is not returned", async || resident(&host) < before + (16 << 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_take_no_place_and_are_given_up() {
    let app = texts("[http]\nin_flight = 8\nstall = \"1s\"");
    let host = app.launch().start();
    host.get("/text?bytes=100").await.expect(200);
    let others = Others::with_operator(&host).await;
    let json = [("content-type", "application/json")];
    let mut attackers: Vec<Http2> = (0..4).map(|_| Http2::connect(host.listen(), 65_535)).collect();
    for attacker in &mut attackers {
        for _ in 0..STREAMS {
            attacker.ask("POST", "/wait", &json, false);
        }
    }
    let mut http1: Vec<Raw> = (0..20).map(|_| Raw::connect(host.listen())).collect();
    for connection in &mut http1 {
        connection
            .send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{");
    }
    let answered = tokio::task::spawn_blocking(move || {
        let (start, mut answered) = (Instant::now(), [0; 4]);
        while start.elapsed() < 3 * SOON && answered.iter().sum::<usize>() < 4 * STREAMS {
            for (attacker, answered) in attackers.iter_mut().zip(&mut answered) {
                // A trickle of bytes doesn't count as progress.
                for stream in 0..STREAMS as u32 {
                    attacker.frame(DATA, 0, 2 * stream + 1, b" ");
                }
                let frames = attacker.frames(Duration::from_millis(200));
                *answered += frames.iter().filter(|frame| frame.kind == HEADERS).count();
            }
        }
        // The answers say why the requests are given up.
        for connection in &mut http1 {
            assert_eq!(connection.answer(true).expect(408).problem(), "body-too-slow");
        }
        answered
    });
    assert_eq!(answered.await.unwrap(), [STREAMS; 4]);
    others.stop();
    assert!(metric(&host, &table::CUT_OFF, &REQUEST_STALLED).await >= 20.0);
}

#[tokio::test]
async fn a_connection_that_takes_nothing_is_ended() {
    let app = texts("[http]\nstall = \"1s\"");
    let host = app.launch().start();
    let mut connection = Raw::connect(host.listen());
    for _ in 0..30 {
        connection.try_send(&request("GET", "/text?bytes=1000000", &[], b""));
    }
    let stalled = [("listener", "data"), ("reason", "connection-stalled")];
    until("the stalled connection stays open", async || metric(&host, &table::CUT_OFF, &stalled).await == 1.0).await;
    until("bytes are still held", async || metric(&host, &table::HELD_BYTES, &[("listener", "data")]).await < 10_000.0)
        .await;
    assert!(connection.rest().len() < 30_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_takes_all_places() {
    let app = texts("[http]\nin_flight = 16");
    let host = app.launch().start();
    let mut greedy = Http2::connect(host.listen(), 65_535);
    let fields = [("content-type", "application/json")];
    let streams: Vec<u32> = (0..40)
        .map(|_| {
            let stream = greedy.ask("POST", "/wait", &fields, false);
            greedy.frame(DATA, 1, stream, br#"{"milliseconds":1000}"#);
            stream
        })
        .collect();
    // One connection gets at most half of the places: 24 of its requests are refused, and those of other connections are served.
    let mut refused = 0;
    while refused < 24 {
        let frame = greedy.next_within(SOON).unwrap().unwrap();
        refused += usize::from(frame.kind == HEADERS);
        assert!(frame.kind != GOAWAY, "{frame:?}");
    }
    for answer in futures::future::join_all((0..4).map(|_| host.get("/text?bytes=3"))).await {
        answer.expect(200);
    }
    assert!(
        metric(&host, &table::REQUESTS, &[("method", "POST"), ("route", "/wait"), ("status", "503")]).await >= 16.0
    );
    let mut answered = refused;
    while answered < streams.len() {
        answered += usize::from(greedy.next_within(3 * SOON).unwrap().unwrap().kind == HEADERS);
    }
    // One request at a time is served as usual.
    let stream = greedy.get("/text?bytes=3");
    greedy.head(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_clients_is_bounded() {
    let app = texts("[http]\nheld = \"8MiB\"\nstall = \"30s\"\n[defaults.limits]\nbody = \"2MiB\"");
    let host = app.launch().start();
    // A connection may hold an eighth, 1 MiB. A single larger answer is allowed.
    host.get("/text?bytes=1500000").await.expect(200);
    let attackers: Vec<Http2> = (0..40)
        .map(|_| {
            let mut attacker = Http2::connect(host.listen(), 0);
            (0..8).for_each(|_| _ = attacker.get("/text?bytes=400000"));
            attacker
        })
        .collect();
    let held = async || metric(&host, &table::HELD_BYTES, &[("listener", "data")]).await;
    until("no answer is refused", async || {
        metric(&host, &table::CUT_OFF, &[("listener", "data"), ("reason", "held")]).await > 0.0
            && held().await <= f64::from(8 << 20)
    })
    .await;
    for _ in 0..10 {
        // One more answer may be held for a moment.
        assert!(held().await <= f64::from(9 << 20));
        assert_eq!(host.get("/text?bytes=1000").await.expect(200).text.len(), 1002);
    }
    drop(attackers);
    until("bytes are still held", async || held().await < 10_000.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_http2_says_which_requests_it_answers() {
    let app = texts("[http]\nheader_timeout = \"600ms\"");
    let host = app.launch().start();
    host.get("/text?bytes=1").await.expect(200);
    let listen = host.listen();
    let connections = (0..24).map(|number| {
        std::thread::spawn(move || {
            let mut http = Http2::connect(listen, 65_535);
            let first = http.get("/text?bytes=1");
            http.head(first);
            // The delays lie around the moment at which the connection has been idle for too long.
            std::thread::sleep(Duration::from_millis(560 + 4 * number));
            let fields = [("content-type", "application/json")];
            let asked: Vec<u32> = (0..3)
                .map(|_| {
                    let stream = http.ask("POST", "/wait", &fields, false);
                    http.frame(DATA, 1, stream, br#"{"milliseconds":1}"#);
                    stream
                })
                .collect();
            let frames = http.frames(SOON);
            let goaway = frames.iter().rfind(|frame| frame.kind == GOAWAY).expect("the host sends GOAWAY");
            assert_eq!(goaway.number(4), 0, "GOAWAY has an error code");
            let last = goaway.number(0);
            let answered: Vec<u32> =
                frames.iter().filter(|frame| frame.kind == HEADERS).map(|frame| frame.stream).collect();
            for stream in asked {
                assert!(
                    answered.contains(&stream) || stream > last,
                    "{stream} of {last} was neither answered nor refused: {frames:?}"
                );
            }
        })
    });
    let connections: Vec<_> = connections.collect();
    tokio::task::spawn_blocking(move || connections.into_iter().for_each(|connection| connection.join().unwrap()))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_request_gets_an_id_a_line_and_a_count() {
    let host = Launch::shop().start();
    let long = "x".repeat(70_000);
    let cases = [
        ("GARBAGE\r\n\r\n".to_owned(), 400, "malformed-request", "malformed"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "target-too-long", "target-too-long"),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(200)),
            431,
            "head-too-large",
            "head-too-large",
        ),
    ];
    for (bytes, status, problem, reason) in cases {
        let mut connection = Raw::connect(host.listen());
        connection.try_send(bytes.as_bytes());
        let answer = connection.answer(true).expect(status);
        assert_eq!(answer.problem(), problem, "{answer:?}");
        let id = answer.header("x-request-id").to_owned();
        assert_eq!((id.len(), answer.body["instance"].as_str()), (26, Some(&*id)), "{answer:?}");
        assert!(host.has_logged(&id), "{}", host.log());
        assert_eq!(metric(&host, &table::REFUSED, &[("listener", "data"), ("reason", reason)]).await, 1.0, "{reason}");
    }
    // The same faults over HTTP/2.
    let mut http = Http2::connect(host.listen(), 65_535);
    let large = "x".repeat(20 << 10);
    let stream = http.ask("GET", "/orders", &[("a", &large)], true);
    assert_eq!(http.head(stream).status(), 431);
    let large = [("listener", "data"), ("reason", "head-too-large")];
    assert_eq!(metric(&host, &table::REFUSED, &large).await, 2.0);
    let mut http = Http2::connect(host.listen(), 65_535);
    // This is a data frame on stream 0, which is not allowed.
    http.frame(DATA, 0, 0, b"x");
    assert!(http.frames(SOON).iter().any(|frame| frame.kind == GOAWAY && frame.number(4) != 0));
    until("the protocol error is not counted", async || {
        metric(&host, &table::REFUSED, &[("listener", "data"), ("reason", "protocol")]).await == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_for_others() {
    let app = texts("[http]\nconnections = 20\nheader_timeout = \"60s\"");
    let host = app.launch().start();
    // The silent connections never send anything. Those of the other clients are idle between requests.
    let silent: Vec<Raw> = (0..30).map(|_| Raw::connect(host.listen())).collect();
    let others = Others::of(&host);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more: Vec<Raw> = (0..30).map(|_| Raw::connect(host.listen())).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    others.stop();
    assert!(metric(&host, &table::CUT_OFF, &[("listener", "data"), ("reason", "room")]).await > 0.0);
    drop((silent, more));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_nobody_reads_take_little_memory() {
    let host = texts("").launch().argument("--probe=127.0.0.1:0").start();
    for address in [host.admin(), host.probe()] {
        let mut greedy = Http2::connect(address, 0);
        for _ in 0..100 {
            greedy.get("/metrics");
        }
        let (mut begun, mut refused, start) = (0, 0, Instant::now());
        while begun + refused < 100 && start.elapsed() < SOON {
            let frames = greedy.frames(Duration::from_millis(100));
            begun += frames.iter().filter(|frame| frame.kind == HEADERS).count();
            refused += frames.iter().filter(|frame| frame.kind == RST_STREAM && frame.number(0) == 7).count();
        }
        assert_eq!((begun, refused), (8, 92), "REFUSED_STREAM");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_the_token_do_not_shut_out_the_operator() {
    let host = texts("").launch().argument("--probe=127.0.0.1:0").start();
    let open = || {
        let mut all: Vec<Raw> = (0..400).map(|_| Raw::connect(host.admin())).collect();
        for (number, connection) in all.iter_mut().enumerate() {
            match number % 4 {
                0 => {}
                1 => drop(connection.try_send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nA: ")),
                2 => drop(connection.try_send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")),
                _ => drop(connection.try_send(b"POST /call HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")),
            }
        }
        all
    };
    let mut open_now = open();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        host.admin_get("/modules").await.expect(200);
        send(client().get(host.admin_url("/healthz"))).await.expect(200);
        send(client().get(format!("http://{}/livez", host.probe()))).await.expect(200);
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        open_now.extend(open());
        open_now.drain(..200);
    }
    // The host closes the idle connections.
    until("connections without the token stay open", async || {
        metric(&host, &table::CONNECTIONS, &[("listener", "admin")]).await < 20.0
    })
    .await;
    assert_eq!(host.called("a/acts.text", json!([3])).await.as_str().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_and_probes_have_files_of_their_own() {
    let app = texts("");
    // The host raises the soft limit to the hard one. If that is too low, the data listener gets fewer connections.
    let limited = ["sh", "-c", "ulimit -Sn 256 && ulimit -Hn 900 && exec \"$0\" \"$@\""];
    let host = app.launch().under(&limited).argument("--probe=127.0.0.1:0").start();
    assert!(host.has_logged("this process is allowed to open too few files"), "{}", host.log());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.process())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(files.split_whitespace().filter(|word| *word == "900").count() == 2, "{files}");
    let others = Others::of(&host);
    let idle: Vec<Raw> = (0..700).map(|_| Raw::connect(host.listen())).collect();
    for _ in 0..5 {
        for path in ["/livez", "/readyz", "/metrics"] {
            send(client().get(format!("http://{}{path}", host.probe()))).await.expect(200);
        }
        host.admin_get("/modules").await.expect(200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    others.stop();
    assert!(!host.log().contains("could not be accepted"), "{}", host.log());
    drop(idle);
}

#[tokio::test]
async fn the_listener_for_probes_answers_probes_alone() {
    let app = texts("probe = \"127.0.0.1:0\"");
    let host = app.launch().start();
    let ask = async |path: &str| send(client().get(format!("http://{}{path}", host.probe()))).await;
    for path in ["/livez", "/readyz"] {
        ask(path).await.expect(200);
    }
    assert!(ask("/metrics").await.expect(200).text.contains("watertight_http_connections{listener=\"probe\"} "));
    for path in ["/healthz", "/modules", "/generations", "/text?bytes=1"] {
        assert_eq!(ask(path).await.expect(404).problem(), "no-such-path");
    }
    let refused = client().post(format!("http://{}/livez", host.probe()));
    assert_eq!(send(refused).await.expect(405).problem(), "method-not-allowed");
}

#[test]
fn a_connection_is_not_idle_within_a_request() {
    let app = texts("[http]\nheader_timeout = \"400ms\"\nstall = \"400ms\"");
    let host = app.launch().start();
    let mut connection = Raw::connect(host.listen());
    for _ in 0..2 {
        let wait = request("POST", "/wait", &["Content-Type: application/json"], br#"{"milliseconds":1500}"#);
        connection.send(wait).answer(true).expect(200);
    }
    // A body that keeps coming is read to its end, however long that takes, and a large answer is written to its end.
    let spaces = vec![b' '; 10_000];
    connection
        .send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100018\r\n\r\n");
    for _ in 0..10 {
        connection.send(&spaces);
        std::thread::sleep(Duration::from_millis(150));
    }
    connection.send(br#"{"milliseconds":1}"#).answer(true).expect(200);
    let answer = connection.send(request("GET", "/text?bytes=3000000", &[], b"")).answer(true).expect(200);
    assert_eq!(answer.text.len(), 3_000_002);
    assert!(connection.is_closed(SOON));
}

#[test]
fn a_request_that_begins_as_its_connection_becomes_idle_is_answered() {
    let app = texts("[http]\nheader_timeout = \"500ms\"");
    let host = app.launch().start();
    let whole = request("GET", "/text?bytes=3", &[], b"");
    let mut connection = Raw::connect(host.listen());
    connection.send(&whole).answer(true).expect(200);
    std::thread::sleep(Duration::from_millis(350));
    connection.send(&whole[..20]);
    std::thread::sleep(Duration::from_millis(350));
    connection.send(&whole[20..]).answer(true).expect(200);
    // A request head that never ends doesn't keep the connection open.
    connection.send(&whole[..20]);
    let start = Instant::now();
    while start.elapsed() < SOON && !connection.is_closed(Duration::from_millis(50)) {
        connection.try_send(b"x");
    }
    assert!(start.elapsed() < SOON);
}
