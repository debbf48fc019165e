//! Tests of bodies that flow, and of clients that leave while they do.

use std::time::{Duration, Instant};

use axum::http::Version;
use bytes::Bytes;
use hyper::body::Frame;
use watertight_testkit::client::{Raw, request};
use watertight_testkit::http2::{DATA, END, Http2, RST_STREAM};

use crate::client::{ask, flowing, get, piece, read, start, whole};
use crate::{SOON, VERSIONS, app, metric, until, until_idle};

const ABANDONED: &str = "watertight_instances_dropped_total{compartment=\"web\",reason=\"dropped\"}";

/// An application whose mounted module has a compartment of its own, named `web`.
fn apart(settings: &str) -> watertight_testkit::app::App {
    app(&format!("{settings}\n[compartments.web]\nmodules = [\"web\"]\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_flow_both_ways_at_once() {
    let host = apart("").launch().start();
    for version in VERSIONS {
        let (sender, body) = flowing();
        let asking = ask(host.listen(), version, start(version, "POST", "/web/echo").body(body).unwrap());
        let mut answer = asking.await;
        assert_eq!(answer.status(), 200);
        for number in 0..20 {
            let text = format!("piece {number}");
            sender.send(Frame::data(Bytes::from(text.clone()))).await.unwrap();
            assert_eq!(piece(&mut answer).await.unwrap(), Some(text), "{version:?}");
        }
        drop(sender);
        assert_eq!(piece(&mut answer).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_come_and_go_whole() {
    const SIZE: usize = 3 << 20;
    let host = apart("[defaults.limits]\nbody = \"4MiB\"\n").launch().start();
    for version in VERSIONS {
        let large = whole(host.listen(), version, &format!("/web/large?bytes={SIZE}")).await.expect(200);
        assert!(large.text.len() == SIZE && large.text.bytes().all(|byte| byte == b'l'));
        let body: String = (0..SIZE).map(|number| char::from(b'a' + (number % 23) as u8)).collect();
        let echo = start(version, "POST", "/web/echo").body(body.clone().into()).unwrap();
        let echo = read(ask(host.listen(), version, echo).await).await.expect(200);
        assert!(echo.text == body, "{} bytes", echo.text.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_whose_client_leaves_learns_it_and_may_go_on() {
    let host = apart("").launch().start();
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let mut answer = get(host.listen(), version, "/web/leave").await;
        assert_eq!(piece(&mut answer).await.unwrap(), Some("piece\n".to_owned()));
        drop(answer);
        let told = |line: &str| host.log().matches(line).count() == number + 1;
        until("its write fails", async || told("the write failed")).await;
        until("it goes on", async || told("the handler went on")).await;
        until_idle(&host, 1).await;
    }
    // The handler ended by itself, so that its instance is used again.
    assert_eq!(
        (metric(&host, ABANDONED).await, whole(host.listen(), Version::HTTP_11, "/web/hello").await.status),
        (0, 200)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_goes_on_without_a_client_is_ended() {
    let host = apart("").launch().start();
    for version in VERSIONS {
        let mut answer = get(host.listen(), version, "/web/hang").await;
        assert_eq!(piece(&mut answer).await.unwrap(), Some("a piece".to_owned()));
        drop(answer);
    }
    // This client leaves before there is an answer.
    let mut silent = Raw::connect(host.listen());
    silent.send(request("GET", "/web/silent", &[], b""));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(silent);
    until("all are ended", async || metric(&host, ABANDONED).await == 3).await;
    until_idle(&host, 1).await;
    // A client that leaves is no failure.
    let failures = "watertight_call_errors_total{compartment=\"web\",kind=\"deadline\"}";
    assert_eq!((metric(&host, failures).await, host.log().contains("ran past its deadline")), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_flow_to_many_clients_while_others_are_served() {
    let host = apart("").launch().start();
    let mut clients = Vec::new();
    for number in 0..40 {
        let version = VERSIONS[number % 2];
        clients.push(get(host.listen(), version, "/web/events?millis=50").await);
    }
    for number in 0..5 {
        for client in &mut clients {
            assert_eq!(client.headers()["content-type"], "text/event-stream; charset=utf-8");
            assert_eq!(piece(client).await.unwrap(), Some(format!("data: {number}\n\n")));
        }
        whole(host.listen(), Version::HTTP_11, "/web/hello").await.expect(200);
    }
    assert_eq!(metric(&host, "watertight_module_calls_running{module=\"web\"}").await, 40);
    let requests = "watertight_http_requests_total{method=\"*\",route=\"/web/*\",status=\"200\"}";
    assert_eq!(metric(&host, requests).await, 45);
    drop(clients);
    until_idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_costs_little_and_is_cut_off() {
    let host = apart("[http]\nstall = \"1s\"\n").launch().start();
    whole(host.listen(), Version::HTTP_11, "/web/large?bytes=100000").await.expect(200);
    let before = resident(host.process());
    let mut slow: Vec<Raw> = (0..20).map(|_| Raw::connect(host.listen())).collect();
    for client in &mut slow {
        client.send(request("GET", "/web/large?bytes=1000000000", &[], b""));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let grown = resident(host.process()).saturating_sub(before);
    // Each has an instance, and some pieces of 64 KiB.
    assert!(grown < 64 << 20, "{grown} bytes");
    let stalled = "watertight_http_cut_off_total{listener=\"data\",reason=\"connection-stalled\"}";
    until("all are cut off", async || metric(&host, stalled).await == 20).await;
    until_idle(&host, 1).await;
}

/// A client of HTTP/2 that takes each piece late, but in time, is never too slow: the time between the pieces does not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_each_piece_in_time_gets_them_all() {
    let host = apart("[http]\nstall = \"500ms\"\n").launch().start();
    let address = host.listen();
    let taken = tokio::task::spawn_blocking(move || {
        let mut client = Http2::connect(address, 2);
        let stream = client.get("/web/trickle?pieces=4&millis=700");
        client.head(stream);
        let mut taken = Vec::new();
        while let Ok(Some(frame)) = client.next_within(SOON) {
            assert_ne!(frame.kind, RST_STREAM, "after {taken:?}");
            if frame.kind == DATA {
                taken.extend(frame.payload);
                if frame.flags & END != 0 {
                    break;
                }
                // The next piece waits for the client already when it is made, for a part of the time that it may.
                std::thread::sleep(Duration::from_millis(750));
                client.window(stream, 2);
            }
        }
        String::from_utf8(taken).unwrap()
    });
    assert_eq!(taken.await.unwrap(), "0\n1\n2\n3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_that_takes_nothing_is_cut_off() {
    let host = apart("[http]\nstall = \"500ms\"\n").launch().start();
    let address = host.listen();
    let ended = tokio::task::spawn_blocking(move || {
        let mut client = Http2::connect(address, 0);
        let streams: Vec<u32> = (0..20).map(|_| client.get("/web/large?bytes=1000000000")).collect();
        let (start, mut ended) = (Instant::now(), 0);
        while ended < streams.len() && start.elapsed() < SOON {
            ended += client.frames(Duration::from_millis(200)).iter().filter(|frame| frame.kind == RST_STREAM).count();
        }
        ended
    });
    assert_eq!(ended.await.unwrap(), 20);
    until_idle(&host, 1).await;
}

/// A client that resets its request while the handler reads it is one that leaves: the read fails, and so does the write.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_break_off_end_their_exchange() {
    let host = apart("").launch().start();
    for version in VERSIONS {
        let (sender, body) = flowing();
        let mut answer = ask(host.listen(), version, start(version, "POST", "/web/echo").body(body).unwrap()).await;
        sender.send(Frame::data(Bytes::from_static(b"x"))).await.unwrap();
        assert_eq!(piece(&mut answer).await.unwrap(), Some("x".to_owned()));
        drop((answer, sender));
    }
    // This one has no answer yet.
    let mut half = Raw::connect(host.listen());
    half.send("POST /web/count HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx");
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(half);
    until_idle(&host, 1).await;
    assert!(!host.log().contains("ERROR"), "{}", host.log());
}

/// Returns the resident memory of a process in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_and_the_access_log_name_the_mount() {
    let host = app("").launch().variable("WATERTIGHT_LOG", "info,request=debug").start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request =
        start(Version::HTTP_11, "GET", "/web/seen").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-00"));
    let answer =
        read(ask(host.listen(), Version::HTTP_11, request.body(axum::body::Body::empty()).unwrap()).await).await;
    let seen = answer.text.lines().find(|line| line.starts_with("traceparent: ")).unwrap();
    assert!(seen.contains(trace) && !seen.contains("00f067aa0ba902b7") && answer.header("traceparent").contains(trace));
    until("the access log has it", async || {
        host.log().lines().any(|line| line.contains("answered") && line.contains("/web/*") && line.contains(trace))
    })
    .await;
}
