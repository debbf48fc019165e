//! Tests of HTTP on the wire: connections, request ids, limits, and clients that misbehave.

use std::time::{Duration, Instant};

use serde_json::json;
use watertight_testkit::app::{App, guest};
use watertight_testkit::client::{Raw, client, request, send};
use watertight_testkit::host::Host;
use watertight_testkit::setup::Setup;

use crate::shop::{card, draft};

placements_and_languages! {
    async fn request_ids_go_in_out_and_into_the_log;
    fn a_connection_serves_many_requests;
    fn pipelined_requests_are_answered_in_order;
    async fn http2_is_spoken_without_tls;
    fn what_is_no_http_is_refused;
    fn a_client_is_told_to_go_on_only_where_its_body_is_wanted;
    fn slow_clients_are_cut_off;
    fn a_body_that_does_not_come_is_given_up;
    async fn clients_that_go_away_leave_whole_orders;
    async fn connections_come_and_go;
}

/// Returns the bytes of a request that places an order. `headers` are further header lines.
fn order(customer: &str, headers: &[&str]) -> Vec<u8> {
    let body = draft(customer, card("tok_visa")).to_string();
    let mut all = vec!["Content-Type: application/json"];
    all.extend(headers);
    request("POST", "/orders", &all, body.as_bytes())
}

fn list(headers: &[&str]) -> Vec<u8> {
    request("GET", "/orders?customer=nobody", headers, b"")
}

async fn request_ids_go_in_out_and_into_the_log(setup: Setup) {
    let host = setup.shop().start();
    let id_of = |given: &[u8]| {
        let mut head = b"GET /orders?customer=nobody HTTP/1.1\r\nHost: shop\r\nX-Request-Id: ".to_vec();
        head.extend_from_slice(given);
        head.extend_from_slice(b"\r\n\r\n");
        Raw::connect(host.listen()).send(head).answer(true).expect(200).header("x-request-id").to_owned()
    };
    for kept in ["7", "a-B_c.d/e:f", &"x".repeat(128)] {
        assert_eq!(id_of(kept.as_bytes()), kept);
    }
    // Invalid ids are replaced, since they would be written to the log and sent back.
    let long = "x".repeat(129);
    for replaced in [&b""[..], long.as_bytes(), b"a b", b"caf\xc3\xa9", b"\xff", b"a\tb"] {
        let id = id_of(replaced);
        assert!(id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
    assert_ne!(id_of(b""), id_of(b""));

    let answer = Raw::connect(host.listen()).send(order("ada", &["X-Request-Id: find-me"])).answer(true).expect(201);
    assert_eq!(answer.header("x-request-id"), "find-me");
    let log = host.log();
    let line = log.lines().find(|line| line.contains("was placed")).unwrap();
    assert!(line.contains("find-me") && line.contains("notifications"), "{line}");
}

fn a_connection_serves_many_requests(setup: Setup) {
    let host = setup.shop().start();
    let mut connection = Raw::connect(host.listen());
    for _ in 0..3 {
        connection.send(order("ada", &[])).answer(true).expect(201);
        connection.send(request("GET", "/nothing", &[], b"")).answer(true).expect(404);
    }
    // A refused body leaves the connection in step or closes it. Its bytes never become the next request.
    connection.send(list(&["Connection: close"])).answer(true).expect(200);
    assert_eq!(connection.rest(), b"");
}

fn pipelined_requests_are_answered_in_order(setup: Setup) {
    let host = setup.shop().start();
    let mut all = list(&["X-Request-Id: 1"]);
    all.extend(order("ada", &["X-Request-Id: 2"]));
    all.extend(request("GET", "/nothing", &["X-Request-Id: 3"], b""));
    all.extend(list(&["X-Request-Id: 4"]));
    let mut connection = Raw::connect(host.listen());
    connection.send(all);
    for (id, status) in [("1", 200), ("2", 201), ("3", 404), ("4", 200)] {
        assert_eq!(connection.answer(true).expect(status).header("x-request-id"), id);
    }
}

async fn http2_is_spoken_without_tls(setup: Setup) {
    let host = setup.shop().start();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let place = |customer: usize| {
        let body = draft(&format!("c{customer}"), card("tok_visa"));
        client.post(host.url("/orders")).json(&body).send()
    };
    for response in futures::future::join_all((0..20).map(place)).await {
        let response = response.unwrap();
        assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 201));
        assert_eq!(response.headers()["watertight-generation"], "1");
    }
    let large = client.post(host.url("/orders")).header("content-type", "application/json").body(vec![b' '; 2 << 20]);
    let refused = large.send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 413);
    send(client.get(host.url("/orders?customer=c1"))).await.expect(200);
}

fn what_is_no_http_is_refused(setup: Setup) {
    let host = setup.shop().start();
    let status = |bytes: &[u8]| {
        let mut connection = Raw::connect(host.listen());
        connection.try_send(bytes);
        let text = String::from_utf8_lossy(&connection.rest()).into_owned();
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), "400");
    assert_eq!(status(b"GARBAGE\r\n\r\n"), "400");
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n"), "400");
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n"), "400");
    assert_eq!(status(b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), "400");
    assert_eq!(status(b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"), "400");
    let many = "A: b\r\n".repeat(200);
    assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()), "431");
    let long = "x".repeat(1 << 20);
    assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}\r\n\r\n").as_bytes()), "431");
    let path = &long[..70_000];
    assert_eq!(status(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()), "414");
    // The host still serves.
    Raw::connect(host.listen()).send(list(&[])).answer(true).expect(200);
}

fn a_client_is_told_to_go_on_only_where_its_body_is_wanted(setup: Setup) {
    let host = setup.shop().start();
    let head = |kind: &str| {
        format!(
            "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut connection = Raw::connect(host.listen());
    connection.send(head("application/json")).answer(true).expect(100);
    connection.send("{}").answer(true).expect(400);
    Raw::connect(host.listen()).send(head("text/plain")).answer(true).expect(415);
}

/// Returns for how long the host keeps a connection open on which the client sends `first`, and then `drip` every 50 ms. Stops after 5 s.
fn kept(host: &Host, first: &[u8], drip: &[u8]) -> Duration {
    let mut connection = Raw::connect(host.listen());
    connection.send(first);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) && !connection.is_closed(Duration::from_millis(50)) {
        connection.try_send(drip);
    }
    start.elapsed()
}

fn slow_clients_are_cut_off(setup: Setup) {
    let app = setup.shop_with("[http]\nheader_timeout = \"300ms\"");
    let host = app.launch().start();
    let beginnings: [(&str, &[u8], &[u8]); 6] = [
        ("nothing at all", b"", b""),
        ("a first byte", b"P", b""),
        ("a head without end", b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"x"),
        ("half of HTTP/2's greeting", b"PRI * HTTP/2.0\r\n", b""),
        ("silence after a request", &list(&[]), b""),
        ("silence after HTTP/2's greeting", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b""),
    ];
    let times = beginnings.map(|(what, first, drip)| (what, kept(&host, first, drip)));
    let patient: Vec<_> = times.iter().filter(|(_, time)| *time > Duration::from_secs(3)).collect();
    assert!(patient.is_empty(), "kept too long: {patient:?}");
}

fn a_body_that_does_not_come_is_given_up(setup: Setup) {
    let app = setup.shop_with("[defaults.limits]\nrequest = \"300ms\"");
    let host = app.launch().start();
    let mut connection = Raw::connect(host.listen());
    connection.send("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{");
    let start = Instant::now();
    assert_eq!(connection.answer(true).expect(408).problem(), "body-too-slow");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn too_many_requests_at_once_are_turned_away() {
    let host = probe("[http]\nin_flight = 1").launch().start();
    let wait = |milliseconds: u32| {
        let body = json!({ "milliseconds": milliseconds }).to_string();
        request("POST", "/wait", &["Content-Type: application/json"], body.as_bytes())
    };
    // A request without its whole body takes no place.
    let mut slow = Raw::connect(host.listen());
    let whole = wait(3000);
    slow.send(&whole[..whole.len() - 1]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    Raw::connect(host.listen()).send(wait(1)).answer(true).expect(200);
    slow.send(&whole[whole.len() - 1..]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let turned_away = Raw::connect(host.listen()).send(wait(1)).answer(true).expect(503);
    assert_eq!((turned_away.problem(), turned_away.header("retry-after")), ("overloaded", "1"));
    assert_eq!(turned_away.header("watertight-generation"), "1");
    slow.answer(true).expect(200);
    Raw::connect(host.listen()).send(wait(1)).answer(true).expect(200);
}

#[tokio::test]
async fn calls_beyond_a_compartments_places_and_queue_are_turned_away() {
    let settings = "[defaults.limits]\ncalls = 1\nqueue = 1";
    let host = probe(settings).launch().start();
    let body = json!({ "milliseconds": 400 });
    let wait = || host.post("/wait", &body);
    let answers = futures::future::join_all([wait(), wait(), wait(), wait()]).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!((refused.problem(), refused.header("retry-after")), ("overloaded", "1"));
}

/// Returns an application of the test guest `probe`, with a route to its function that waits and one to its function that runs a script.
/// `settings` is appended to the manifest.
pub(crate) fn probe(settings: &str) -> App {
    let component = guest("probe");
    App::new(&format!(
        "[app]\nname = \"probe\"\nroutes = [\"routes/*.toml\"]\n[modules.a]\ncomponent = {component:?}\n\
         uses = [\"sql\", \"logging\", \"clocks\"]\n{settings}\n"
    ))
    .routes(
        "[[route]]\nmethod = \"POST\"\npath = \"/wait\"\ncall = \"a/acts.wait\"\nbody = \"*\"\n\
         [[route]]\nmethod = \"POST\"\npath = \"/script\"\ncall = \"a/raw.script\"\nbody = \"steps\"\n",
    )
}

/// Returns the bytes of a request that runs a script: it waits for `milliseconds` and then writes a note to the database.
pub(crate) fn late_note(milliseconds: u32) -> Vec<u8> {
    let steps = json!([{ "wait": milliseconds }, { "execute_outside": "INSERT INTO note (text) VALUES ('late')" }]);
    request("POST", "/script", &["Content-Type: application/json"], steps.to_string().as_bytes())
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let host = probe("").launch().start();
    let mut connection = Raw::connect(host.listen());
    connection.send(late_note(300));
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(connection);
    let notes = || host.called("a/raw.query", json!(["SELECT text FROM note", []]));
    assert_eq!(notes().await["ok"], json!([]));
    let start = Instant::now();
    while notes().await["ok"] != json!([[{ "text": "late" }]]) {
        assert!(start.elapsed() < Duration::from_secs(10), "the note was never written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn clients_that_go_away_leave_whole_orders(setup: Setup) {
    let host = setup.shop().start();
    for customer in 0..40 {
        let customer = format!("c{customer}");
        let mut connection = Raw::connect(host.listen());
        connection.send(order(&customer, &[]));
        tokio::time::sleep(Duration::from_micros(customer.len() as u64 * 300)).await;
    }
    let path = host.state().join("data/orders.db");
    let orders = rusqlite::Connection::open(path).unwrap();
    let count = |condition: &str| -> i64 {
        orders.query_row(&format!("SELECT count(*) FROM orders WHERE {condition}"), [], |row| row.get(0)).unwrap()
    };
    let start = Instant::now();
    while count("status <> 'paid' OR notice <> 'sent'") > 0 || count("true") == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "an order stays unfinished");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn connections_come_and_go(setup: Setup) {
    let app = setup.shop_with("[http]\nconnections = 20");
    let host = app.launch().start();
    for round in 0..500 {
        let mut connection = Raw::connect(host.listen());
        match round % 3 {
            0 => {}
            1 => drop(connection.send("GET /orders?customer=")),
            _ => drop(connection.send(list(&[])).answer(true).expect(200)),
        }
    }
    // Idle connections take all places. The host closes one of them for a new connection, and many for many.
    let mut idle: Vec<Raw> = (0..20).map(|_| Raw::connect(host.listen())).collect();
    for connection in &mut idle {
        connection.send(list(&[])).answer(true).expect(200);
    }
    Raw::connect(host.listen()).send(list(&[])).answer(true).expect(200);
    let mut crowd: Vec<Raw> = (0..300).map(|_| Raw::connect(host.listen())).collect();
    for connection in &mut crowd {
        connection.send(list(&[]));
    }
    for mut connection in crowd {
        connection.answer(true).expect(200);
    }
    drop(idle);
    send(client().get(host.url("/orders?customer=nobody"))).await.expect(200);
}
