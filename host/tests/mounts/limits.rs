//! Tests of the limits of handlers: time, processor time, the size of bodies, and the number of requests at once.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::Frame;
use watertight_testkit::client::{Raw, request};

use crate::client::{ask, flowing, get, piece, read, start, whole};
use crate::{VERSIONS, app, metric, until, until_idle};

/// Returns an application with these limits for the mounted module's compartment.
fn limited(limits: &str, settings: &str) -> watertight_testkit::app::App {
    app(&format!("{settings}\n[compartments.web]\nmodules = [\"web\"]\n[compartments.web.limits]\n{limits}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_gave_no_answer_serves_no_further_request() {
    let host = app("[compartments.web]\nmodules = [\"web\"]\n").launch().start();
    let dropped = "watertight_instances_dropped_total{compartment=\"web\",reason=\"no-answer\"}";
    let handled = async || whole(host.listen(), Version::HTTP_11, "/web/handled").await.expect(200).text;
    // An error is an answer.
    assert_ne!(whole(host.listen(), Version::HTTP_11, "/web/error").await.status, 200);
    assert_eq!((&*handled().await, metric(&host, dropped).await), ("1", 0));
    whole(host.listen(), Version::HTTP_11, "/web/none").await.expect(500);
    assert_eq!((&*handled().await, metric(&host, dropped).await), ("0", 1));
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_after_the_head_of_an_answer_is_counted() {
    let app = app("");
    let host = app.launch().variable("FAILPOINTS", "handler::ran=1*panic(for a test)").start();
    let (sender, body) = flowing();
    let request = start(Version::HTTP_11, "POST", "/web/echo").body(body).unwrap();
    let mut answer = ask(host.listen(), Version::HTTP_11, request).await;
    sender.send(Frame::data(Bytes::from_static(b"piece"))).await.unwrap();
    assert_eq!(piece(&mut answer).await.unwrap(), Some("piece".to_owned()));
    // The handler ends when the request's body has ended, in a task of its own.
    drop(sender);
    let counted = "watertight_request_panics_total{listener=\"data\"}";
    until("the panic is counted", async || metric(&host, counted).await == 1).await;
    whole(host.listen(), Version::HTTP_11, "/web/hello").await.expect(200);
    until_idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_limit_whether_it_tells_its_length_or_not() {
    let host = limited("body = \"64KiB\"", "").launch().start();
    for version in VERSIONS {
        let post = |path: &str| start(version, "POST", path);
        let large = ask(host.listen(), version, post("/web/count").body("x".repeat(65_537).into()).unwrap()).await;
        let large = read(large).await.expect(413);
        assert_eq!(large.problem(), "body-too-large");
        for (path, status) in [("/web/count", 400), ("/web/count?trap=1", 413)] {
            let (sender, body) = flowing();
            tokio::spawn(async move {
                // The host may stop to read. Few more bytes than the limit: an HTTP/1.1 client that never stops to write may not see the answer.
                for _ in 0..80 {
                    if sender.send(Frame::data(Bytes::from_static(&[b'x'; 1000]))).await.is_err() {
                        break;
                    }
                }
            });
            let answer = read(ask(host.listen(), version, post(path).body(body).unwrap()).await).await.expect(status);
            let expected = if status == 413 { "body-too-large" } else { "body size exceeds limit: 65536 bytes" };
            assert!(answer.text.contains(expected), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_answers_is_given_up() {
    let host = limited("request = \"300ms\"", "").launch().start();
    for version in VERSIONS {
        let late = whole(host.listen(), version, "/web/silent").await.expect(504);
        assert_eq!(late.problem(), "deadline");
    }
    // The time counts until the answer begins, and no longer.
    whole(host.listen(), Version::HTTP_2, "/web/trickle?pieces=5&millis=200").await.expect(200);
    until_idle(&host, 1).await;
}

/// Asserts that the answer to a request is cut off, and that the host's log says why.
async fn is_cut(limits: &str, path: &str, reason: &str) {
    let host = limited(limits, "").launch().start();
    for version in VERSIONS {
        let answer = whole(host.listen(), version, path).await;
        assert_eq!((answer.status, answer.is_whole), (200, false), "{answer:?}");
    }
    assert!(host.has_logged(reason), "{}", host.log());
    until_idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_pieces_is_cut_off() {
    is_cut("stream = { idle = \"1s\" }", "/web/hang", "no piece of a body moved for 1s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_a_total_time() {
    is_cut("stream = { total = \"1s\" }", "/web/events?millis=50", "its stream had 1s at most").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_counts_throughout() {
    is_cut("cpu = \"100ms\"", "/web/spin", "has used all its 100ms of processor time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_keep_a_stream_alive_in_either_direction() {
    let host = limited("request = \"1s\"\nstream = { idle = \"2s\" }", "[http]\nstall = \"500ms\"\n").launch().start();
    for version in VERSIONS {
        whole(host.listen(), version, "/web/trickle?pieces=4&millis=600").await.expect(200);
        // A client may be silent for longer than it may stall a request that has no answer yet.
        let (sender, body) = flowing();
        let mut answer = ask(host.listen(), version, start(version, "POST", "/web/echo").body(body).unwrap()).await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(600)).await;
            sender.send(Frame::data(Bytes::from_static(b"x"))).await.unwrap();
            assert_eq!(piece(&mut answer).await.unwrap(), Some("x".to_owned()));
        }
        // Nothing moves any more.
        assert!(piece(&mut answer).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_before_the_answer_fails() {
    let host = limited("", "[http]\nstall = \"500ms\"\n").launch().start();
    for version in VERSIONS {
        let (sender, body) = flowing();
        let asking = ask(host.listen(), version, start(version, "POST", "/web/count").body(body).unwrap());
        let answer = read(asking.await).await;
        assert_eq!((answer.status, &*answer.text), (400, "connection read timeout"), "{version:?}");
        drop(sender);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_one_place_until_it_ends() {
    let calls = limited("calls = 1\nqueue = 0", "");
    let flight = limited("", "[http]\nin_flight = 1\n");
    for app in [calls, flight] {
        let host = app.launch().start();
        for version in VERSIONS {
            let mut events = get(host.listen(), version, "/web/events?millis=20").await;
            piece(&mut events).await.unwrap();
            let refused = whole(host.listen(), version, "/web/hello").await.expect(503);
            assert_eq!((refused.problem(), refused.header("retry-after")), ("overloaded".to_owned(), "1"));
            drop(events);
            until_idle(&host, 1).await;
            until("there is room", async || whole(host.listen(), version, "/web/hello").await.status == 200).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_to_go_on_when_the_handler_reads() {
    let host = app("").launch().start();
    let head =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    let mut connection = Raw::connect(host.listen());
    connection.send(head("/web/count")).answer(true).expect(100);
    assert_eq!(connection.send("ab").answer(true).expect(200).text, "2");
    assert_eq!(Raw::connect(host.listen()).send(head("/web/ignore")).answer(true).expect(200).text, "ignored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_has_one_for_the_handler() {
    let host = app("").launch().start();
    let mut connection = Raw::connect(host.listen());
    connection.send("GET /web/seen HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(connection.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("\nauthority: localhost\n"), "{answer}");
    // An answer of HTTP/1.0 without a length ends with its connection.
    let mut connection = Raw::connect(host.listen());
    connection.send("GET /web/trickle?pieces=2&millis=10 HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(connection.rest()).unwrap();
    assert!(answer.ends_with("\r\n\r\n0\n1\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_each_kind_of_answer() {
    let host = app("").launch().start();
    let mut connection = Raw::connect(host.listen());
    for _ in 0..3 {
        assert_eq!(connection.send(request("GET", "/web/hello", &[], b"")).answer(true).expect(200).text, "hello");
        connection.send(request("HEAD", "/web/hello", &[], b"")).answer(false).expect(200);
        connection.send(request("GET", "/web/status?code=204", &[], b"")).answer(true).expect(204);
        connection.send(request("GET", "/web/trap", &[], b"")).answer(true).expect(500);
        connection.send(request("POST", "/web/ignore", &[], b"text")).answer(true).expect(200);
    }
    let start = Instant::now();
    drop(connection);
    let post = Body::from("text");
    let request = crate::client::start(Version::HTTP_11, "POST", "/web/count").body(post).unwrap();
    read(ask(host.listen(), Version::HTTP_11, request).await).await.expect(200);
    assert!(start.elapsed() < crate::SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookies_of_a_request_stand_in_one_field() {
    let host = limited("", "").launch().start();
    for version in VERSIONS {
        let request = start(version, "GET", "/web/seen").header("cookie", "a=1").header("cookie", "b=2");
        let seen = read(ask(host.listen(), version, request.body(Default::default()).unwrap()).await).await.expect(200);
        assert!(seen.text.contains("cookie: a=1; b=2\n"), "{seen:?}");
    }
}

/// A host that closed the connection at once would reset it, and the client could lose the answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_upload_that_nobody_reads_arrives() {
    let host = app("").launch().start();
    let body = vec![b'a'; 4 << 20];
    for (path, status) in [("/web/ignore", 413), ("/web/handled", 413), ("/nowhere", 404), ("/some/seen", 405)] {
        for _ in 0..20 {
            let mut connection = Raw::connect(host.listen());
            connection.send(request("POST", path, &[], &body)).answer(true).expect(status);
            // The rest is read, so the connection goes on.
            connection.send(request("GET", "/web/hello", &[], b"")).answer(true).expect(200);
        }
    }
}
