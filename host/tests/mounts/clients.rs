//! Hostile clients of handlers and their streams: slow ones, ones that leave, ones that break the protocol, and ones that smuggle requests.
//! The host answers or closes, nobody else is harmed, and nothing is left behind.

#![allow(clippy::print_stdout, reason = "the test reports latencies")]

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use watertight_testkit::client::{Raw, request};
use watertight_testkit::host::Host;
use watertight_testkit::http2::{DATA, GOAWAY, Http2, PING, RST_STREAM, SETTINGS};
use watertight_testkit::paths::repository;

use crate::client::whole;
use crate::hostile::{app, released};
use crate::neighbours::Neighbours;
use crate::{SOON, VERSIONS, metric, until};

/// The settings of the listener.
const SETTINGS_OF_HTTP: &str = "[http]\nstall = \"1s\"\nheader_timeout = \"2s\"\n";
/// The time for which a client attacks that could go on for ever.
const ATTACK: Duration = Duration::from_secs(3);
/// The handlers that send a request's body back: of WASI 0.2, of 0.3, and behind a middleware.
const ECHOES: [&str; 3] = ["/two/echo", "/three/own", "/guarded/echo"];
/// Streams that a handler writes as fast as they are taken.
const FAST: [&str; 2] = ["/two/large?bytes=1000000000", "/three/endless"];
/// Streams that trickle.
const SLOW: [&str; 4] =
    ["/two/trickle?pieces=10000&millis=20", "/three/events/20", "/shared/events/20", "/guarded/trickle/10000/20"];

#[derive(Deserialize)]
struct Smuggling {
    case: Vec<Smuggled>,
}

/// A row of `smuggling.toml`.
#[derive(Deserialize)]
struct Smuggled {
    name: String,
    send: String,
    first: Vec<u16>,
    /// Whether the answer is that of a valid request.
    #[serde(default)]
    whole: bool,
}

impl Smuggled {
    /// Sends the bytes to the handler at `path`, and lists what is wrong with the answer.
    fn faults(&self, address: SocketAddr, path: &str) -> Vec<String> {
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut connection = Raw::connect(address);
        connection.try_send(self.send.replace("PATH", path).replace("NEXT", next).as_bytes());
        let rest = connection.rest();
        let text = String::from_utf8_lossy(&rest);
        // The space tells an answer from a request that the handler sends back.
        let heads = ["HTTP/1.0 ", "HTTP/1.1 "].map(|start| text.matches(start).count());
        let status: u16 = text.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let mut faults = Vec::new();
        if heads.iter().sum::<usize>() != 1 || !self.first.contains(&status) {
            faults.push(format!("{} at {path}: {text:?}", self.name));
        }
        // An answer that has begun when the fault is found is cut off: its chunks have no end. The handler behind the middleware does not look
        // whether its request is whole, so its answer may end.
        if status == 200 && !self.whole && !path.starts_with("/guarded") && text.ends_with("0\r\n\r\n") {
            faults.push(format!("{} at {path}: the answer is whole: {text:?}", self.name));
        }
        faults
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_to_a_handler_or_past_a_middleware() {
    let text = fs::read_to_string(repository().join("host/tests/mounts/smuggling.toml")).unwrap();
    let Smuggling { case: rows } = toml::from_str(&text).unwrap();
    let host = app(SETTINGS_OF_HTTP).launch().start();
    let address = host.listen();
    let neighbours = Neighbours::ask(&host);
    let asked = rows
        .into_iter()
        .map(|row| tokio::task::spawn_blocking(move || ECHOES.map(|path| row.faults(address, path)).concat()));
    let asked: Vec<_> = asked.collect();
    let mut wrong = Vec::new();
    for row in asked {
        wrong.extend(row.await.unwrap());
    }
    neighbours.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    gone(&host).await;
}

/// An attack by one client. It ends by itself.
type Attack = fn(SocketAddr);

/// The attacks, each with its name.
const ATTACKS: [(&str, Attack); 18] = [
    ("a slow reader of a fast stream", slow_reader),
    ("a reader that stops", reader_that_stops),
    ("a reset within a stream", reset_within),
    ("a half-close within a stream", half_close),
    ("connections that open a stream and vanish", vanishing),
    ("uploads that never end", endless_uploads),
    ("requests behind a stream", behind_a_stream),
    ("many streams on one connection, which vanishes", many_streams),
    ("no window", |address| windows(address, 0, 0)),
    ("a window of one byte", |address| windows(address, 1, 1)),
    ("a window that overflows", window_that_overflows),
    ("a window that grows by nothing", window_of_nothing),
    ("a window that shrinks below zero", window_below_zero),
    ("streams that are reset at once", reset_flood),
    ("streams that are reset when their head is there", late_resets),
    ("more data than the host takes", data_beyond_the_window),
    ("empty pieces of a body", empty_pieces),
    ("pings and settings", pings),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_of_streams_harm_nobody_and_leave_nothing() {
    let host = app(SETTINGS_OF_HTTP).launch().start();
    let address = host.listen();
    let quiet = Neighbours::ask(&host);
    tokio::time::sleep(ATTACK).await;
    let quiet = quiet.stop().await;
    let neighbours = Neighbours::ask(&host);
    let attacks = ATTACKS.map(|(name, attack)| (name, tokio::task::spawn_blocking(move || attack(address))));
    for (name, attack) in attacks {
        attack.await.unwrap_or_else(|error| panic!("{name}: {error}\n{}", host.log()));
    }
    let beside = neighbours.stop().await;
    gone(&host).await;
    println!("neighbours alone: {quiet}; beside hostile clients: {beside}");
    assert!(!host.log().contains("the host panicked"), "{}", host.log());
}

/// Waits until nothing is left of all clients.
async fn gone(host: &Host) {
    for series in ["watertight_http_connections", "watertight_http_held_bytes"] {
        let series = format!("{series}{{listener=\"data\"}}");
        until(&series, async || metric(host, &series).await == 0).await;
    }
    released(host).await;
}

fn get(address: SocketAddr, path: &str) -> Raw {
    let mut connection = Raw::connect(address);
    connection.send(request("GET", path, &[], b""));
    connection
}

/// Reads a little from time to time. The host may close the connection.
fn slow_reader(address: SocketAddr) {
    let mut readers = FAST.map(|path| get(address, path));
    let start = Instant::now();
    while start.elapsed() < ATTACK {
        readers.iter_mut().for_each(|reader| _ = reader.some(100));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads nothing. The host must close the connection.
fn reader_that_stops(address: SocketAddr) {
    let mut readers = FAST.map(|path| get(address, path));
    std::thread::sleep(ATTACK);
    readers.iter_mut().for_each(|reader| assert!(reader.is_closed(SOON)));
}

/// Closes a connection with bytes that were not read, which resets it.
fn reset_within(address: SocketAddr) {
    for path in FAST.iter().chain(&SLOW).cycle().take(60) {
        let mut connection = get(address, path);
        assert!(connection.some(64) > 0, "{path}");
    }
}

/// Closes the sending side. The host takes that for a client that leaves, and closes the connection.
fn half_close(address: SocketAddr) {
    for path in SLOW {
        let mut connection = get(address, path);
        assert!(connection.some(64) > 0, "{path}");
        assert!(connection.half_close().is_closed(SOON), "{path}");
    }
}

fn vanishing(address: SocketAddr) {
    for path in ["/two/trickle?pieces=10000&millis=20", "/shared/events/20"] {
        let open: Vec<Raw> = (0..200).map(|_| get(address, path)).collect();
        std::thread::sleep(Duration::from_millis(200));
        drop(open);
    }
}

/// Sends a body without end to handlers that do not read it. The host must end each exchange.
fn endless_uploads(address: SocketAddr) {
    let mut uploads =
        ["/two/silent", "/two/ignore", "/three/never-read", "/shared/ignore", "/guarded/hello"].map(|path| {
            let mut connection = Raw::connect(address);
            connection.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
            (path, connection)
        });
    let (start, piece) = (Instant::now(), [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n"].concat());
    while start.elapsed() < 3 * ATTACK {
        for (_, upload) in &mut uploads {
            // The host takes what fits into its buffers, and no more. A client that waits to write would not see the end.
            upload.send_now(&piece);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for (path, upload) in &mut uploads {
        assert!(upload.is_closed(SOON), "{path}");
    }
}

/// Sends requests behind one whose answer does not end. They are never answered, and wait in the host only as far as there is room.
fn behind_a_stream(address: SocketAddr) {
    for path in SLOW {
        let mut connection = get(address, path);
        connection.try_send(&request("GET", "/two/hello", &[], b"").repeat(200));
        let start = Instant::now();
        while start.elapsed() < ATTACK && connection.some(4096) > 0 {}
    }
}

fn many_streams(address: SocketAddr) {
    for path in ["/two/trickle?pieces=10000&millis=20", "/shared/events/20"] {
        let mut client = Http2::connect(address, 65_535);
        let streams: Vec<u32> = (0..100).map(|_| client.get(path)).collect();
        client.head(streams[99]);
        client.frames(Duration::from_millis(300));
    }
}

/// Opens streams with the window `window`, and widens it by `more` bytes from time to time. The host resets all streams.
fn windows(address: SocketAddr, window: u32, more: u32) {
    let mut client = Http2::connect(address, window);
    let streams: Vec<u32> = (0..10).flat_map(|_| FAST).map(|path| client.get(path)).collect();
    let (start, mut ended) = (Instant::now(), 0);
    while ended < streams.len() && start.elapsed() < SOON {
        if more > 0 {
            streams.iter().for_each(|stream| _ = client.window(*stream, more));
        }
        ended += client.frames(Duration::from_millis(100)).iter().filter(|frame| frame.kind == RST_STREAM).count();
    }
    assert_eq!(ended, streams.len());
}

/// Returns whether the host ends the connection or the stream for what the client has done.
fn is_refused(mut client: Http2) -> bool {
    let frames = client.frames(ATTACK);
    frames.iter().any(|frame| frame.kind == GOAWAY && frame.number(4) != 0 || frame.kind == RST_STREAM)
}

fn window_that_overflows(address: SocketAddr) {
    for stream in [0, 1] {
        let mut client = Http2::connect(address, 1 << 30);
        client.head_of(SLOW[0]);
        client.window(stream, (1 << 31) - 1);
        client.window(stream, (1 << 31) - 1);
        assert!(is_refused(client), "{stream}");
    }
}

fn window_of_nothing(address: SocketAddr) {
    for stream in [0, 1] {
        let mut client = Http2::connect(address, 65_535);
        client.head_of(SLOW[1]);
        client.window(stream, 0);
        assert!(is_refused(client), "{stream}");
    }
}

/// Changes the window of open streams up and down. It may be negative; the host sends nothing then.
fn window_below_zero(address: SocketAddr) {
    let mut client = Http2::connect(address, 65_535);
    FAST.iter().for_each(|path| _ = client.get(path));
    for number in 0..100_u32 {
        let window = if number % 2 == 0 { 0 } else { 65_535 * (number % 5) };
        client.frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
        client.frames(Duration::from_millis(10));
    }
}

/// Opens streams and resets them before there is an answer. The host must end the connection.
fn reset_flood(address: SocketAddr) {
    let mut client = Http2::connect(address, 65_535);
    for place in 0..2_000 {
        let stream = client.get(SLOW[place % 3]);
        if !client.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()) {
            break;
        }
    }
    assert!(is_ended(client));
}

/// Returns whether the host ends the connection.
fn is_ended(mut client: Http2) -> bool {
    let start = Instant::now();
    while start.elapsed() < SOON {
        match client.next_within(ATTACK) {
            Ok(Some(frame)) if frame.kind == GOAWAY => return true,
            Ok(None) => return true,
            Ok(Some(_)) | Err(_) => {}
        }
    }
    false
}

/// Opens streams and resets each once it has begun. Nobody can tell that from an ordinary client, so the host serves them all.
fn late_resets(address: SocketAddr) {
    let mut client = Http2::connect(address, 65_535);
    for place in 0..100 {
        let stream = client.head_of(SLOW[place % 3]);
        assert!(client.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.head_of("/two/hello");
}

/// Sends more of a body than the host has room for, to a handler that does not read it.
fn data_beyond_the_window(address: SocketAddr) {
    let mut client = Http2::connect(address, 65_535);
    let stream = client.ask("POST", "/three/never-read", &[], false);
    for _ in 0..200 {
        if !client.frame(DATA, 0, stream, &[b'x'; 16_384]) {
            break;
        }
    }
    assert!(is_refused(client));
}

/// Sends a body of empty pieces. The host must end the connection.
fn empty_pieces(address: SocketAddr) {
    let mut client = Http2::connect(address, 65_535);
    let stream = client.ask("POST", "/two/echo", &[], false);
    for _ in 0..10_000 {
        if !client.frame(DATA, 0, stream, &[]) {
            break;
        }
    }
    assert!(is_ended(client));
}

/// Sends pings and settings beside a stream, and reads no answer to them for a while. The connection goes on, or is ended.
fn pings(address: SocketAddr) {
    let mut client = Http2::connect(address, 65_535);
    client.head_of(SLOW[2]);
    for _ in 0..5_000 {
        if !client.frame(PING, 0, 0, &[0; 8]) || !client.frame(SETTINGS, 0, 0, &[]) {
            break;
        }
    }
    client.frames(Duration::from_millis(300));
}

/// A request with a length and with chunks has chunks. A handler that passes its headers on must not pass on the length.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_does_not_see_a_length_that_does_not_count() {
    let host = app("").launch().start();
    let mut connection = Raw::connect(host.listen());
    let head =
        "POST /two/seen HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let seen = connection.send(head).answer(true).expect(200);
    assert!(!seen.text.contains("content-length"), "{seen:?}");
}

/// The calls of one module take all room that the engine of its profile has for it. Other modules of the profile get further instances still.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_fill_an_engine_leave_room_for_others() {
    const STREAMS: usize = 300;
    let host = app("").launch().start();
    let address = host.listen();
    let open: Vec<Raw> = (0..STREAMS).map(|_| get(address, "/three/events/20")).collect();
    let refused = "watertight_call_errors_total{compartment=\"three\",kind=\"no-room\"}";
    until("the engine is full", async || metric(&host, refused).await > 0).await;
    for path in ["/quiet/three/hello", "/guarded/hello", "/shared/hello"] {
        let asked = (0..7).map(|number| whole(address, VERSIONS[number % 2], path));
        for answer in futures::future::join_all(asked).await {
            answer.expect(200);
        }
    }
    drop(open);
    gone(&host).await;
}
