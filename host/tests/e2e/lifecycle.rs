//! A host's beginning and end.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::app::App;
use crate::client::{Raw, client};
use crate::host::{self, Host, Launch};
use crate::shop::{card, draft};
use crate::wire::{late_note, probe};

/// An order of which only the head was sent, and which the host is waiting for; and its body.
fn begun(host: &Host) -> (Raw, String) {
    let body = draft("ada", card("tok_visa")).to_string();
    let mut connection = Raw::connect(host.listen());
    let head = "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
    connection.send(format!("{head}Content-Length: {}\r\n\r\n", body.len())).answer(true).expect(100);
    (connection, body)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refuses(host: &Host) -> bool {
    TcpStream::connect(host.listen()).is_err()
}

async fn finishes_what_is_in_flight(signal: Signal) {
    let state = host::folder();
    let folder = state.path().join("state");
    let mut host = Launch::shop().state(&folder).start();
    let (mut order, body) = begun(&host);
    // An idle connection holds nothing up.
    let mut idle = Raw::connect(host.listen());
    idle.send("GET /orders?customer=x HTTP/1.1\r\nHost: a\r\n\r\n").answer(true).expect(200);

    host.signal(signal);
    until("new connections are refused", || refuses(&host));
    let ready = client().get(host.admin_url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    assert!(idle.is_closed(Duration::from_secs(5)));

    let placed = order.send(body).answer(true).expect(201);
    assert_eq!(order.rest(), b"");
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
    assert!(host.has_logged("stopped"), "{}", host.log());

    let host = Launch::shop().state(&folder).start();
    assert_eq!(host.get(&format!("/orders/{}", placed.at("/id"))).await.expect(200).body, placed.body);
}

#[tokio::test]
async fn sigterm_ends_it_in_order() {
    finishes_what_is_in_flight(Signal::TERM).await;
}

#[tokio::test]
async fn ctrl_c_ends_it_in_order() {
    finishes_what_is_in_flight(Signal::INT).await;
}

#[test]
fn who_came_before_the_stop_is_answered() {
    let mut host = Launch::shop().start();
    // They come while it can't accept: what it finds then is that it was told to stop, and all of them.
    host.signal(Signal::STOP);
    let crowd: Vec<Raw> = (0..300)
        .map(|_| {
            let mut connection = Raw::connect(host.listen());
            connection.send("GET /orders?customer=x HTTP/1.1\r\nHost: a\r\n\r\n");
            connection
        })
        .collect();
    host.signal(Signal::TERM);
    host.signal(Signal::CONT);
    for mut connection in crowd {
        connection.answer(true).expect(200);
    }
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
}

#[test]
fn draining_has_an_end() {
    let app = App::shop("[http]\ndrain = \"200ms\"");
    let mut host = app.launch().start();
    let (_order, _body) = begun(&host);
    let start = Instant::now();
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(host.has_logged("did not end in time"), "{}", host.log());
}

#[test]
fn who_asks_twice_does_not_wait() {
    let mut host = Launch::shop().start();
    let (_order, _body) = begun(&host);
    host.signal(Signal::TERM);
    until("it stops", || refuses(&host));
    // One signal that comes twice, as from `timeout`, is one.
    host.signal(Signal::TERM);
    std::thread::sleep(Duration::from_secs(1));
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(1));
}

#[tokio::test]
async fn a_call_whose_client_left_is_finished_too() {
    let state = host::folder();
    let folder = state.path().join("state");
    let app = probe("");
    let mut host = app.launch().state(&folder).start();
    let mut connection = Raw::connect(host.listen());
    connection.send(late_note(600));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));

    let host = app.launch().state(&folder).start();
    let notes = host.called("a/raw.query", json!(["SELECT text FROM note", []])).await;
    assert_eq!(notes["ok"], json!([[{ "text": "late" }]]));
}

#[test]
fn a_state_folder_is_for_one_host() {
    let first = Launch::shop().start();
    let (status, log) = Launch::shop().state(first.state()).ends();
    assert_eq!(status.code(), Some(1));
    for part in ["another host is running", &first.process().to_string(), &first.admin().to_string()] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // The first goes on.
    Raw::connect(first.listen()).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer(true).expect(404);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for flag in ["--listen", "--admin"] {
        let (status, log) = Launch::shop().argument(&format!("{flag}={address}")).ends();
        assert_eq!(status.code(), Some(1));
        let words = format!("can't listen on {address}; choose another with {flag}");
        assert!(log.contains(&words), "{log}");
    }
}

#[test]
fn it_says_when_it_is_ready_and_keeps_its_code() {
    let state = host::folder();
    let folder = state.path().join("state");
    drop(Launch::shop().state(&folder).start());
    let start = Instant::now();
    let host = Launch::shop().state(&folder).start();
    assert!(start.elapsed() < Duration::from_secs(5));
    let log = host.log();
    assert!(log.contains("cached=true") && log.contains("ready"), "{log}");
    assert!(log.contains(&host.listen().to_string()) && log.contains(&host.admin().to_string()), "{log}");
}

#[test]
fn the_environment_goes_before_the_manifest_and_flags_before_both() {
    let app = App::shop("");
    let folder = host::folder();
    let token = "a-token-of-the-operator";
    let host =
        app.launch().variable("WATERTIGHT_ADMIN_TOKEN", token).variable("WATERTIGHT_LISTEN", "127.0.0.1:1").start();
    // The flag said another port; and the token is kept nowhere.
    assert_ne!(host.listen().port(), 1);
    assert!(!host.state().join("admin.token").exists());
    let head = |token: &str| format!("GET /modules HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    Raw::connect(host.admin()).send(head(token)).answer(true).expect(200);
    Raw::connect(host.admin()).send(head("another")).answer(true).expect(401);
    drop(folder);
}

#[test]
fn the_log_can_be_json() {
    let app = App::shop("[log]\nformat = \"json\"\nlevel = \"debug\"");
    let host = app.launch().start();
    let head = "GET /orders?customer=x HTTP/1.1\r\nHost: a\r\nX-Request-Id: json-1\r\n\r\n";
    Raw::connect(host.listen()).send(head).answer(true).expect(200);
    let has_line = || {
        host.log().lines().filter(|line| line.contains("json-1")).any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request"] == "json-1" && line["status"] == 200 && line["target"] == "request"
        })
    };
    until("a line of the request", has_line);
    assert!(host.log().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{}", host.log());
}
