//! Clients that send forms in the worst ways: without end, drop by drop, many at once, and never to their end. Each gets a typed answer
//! soon, and nothing of theirs stays.
//!
//! The last test prints how long a neighbour waits for its answers, alone and beside such clients.

#![allow(clippy::print_stdout, reason = "a test reports latencies")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;
use watertight_testkit::wire::{self, Connection};

use crate::uploads::{KIND, LIMIT, form, part, post, start};

/// The maximum time to wait for something that takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);
const CHUNK: usize = 64 << 10;

/// Sends the head of a request whose body comes in chunks, and its first chunk.
fn chunked(host: &Host, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host.listen()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    let (name, kind) = KIND;
    let head = format!("POST /upload HTTP/1.1\r\nhost: test\r\n{name}: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    if !first.is_empty() {
        stream.write_all(&chunk(first.as_bytes())).unwrap();
    }
    stream
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends further chunks until the host takes no more, or this many bytes. Returns how many bytes were sent, and the answer's text.
fn flood(mut stream: TcpStream, piece: &[u8], most: usize) -> (usize, String) {
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        // The host may end the connection after its answer.
        let _ = reading.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    let (piece, mut sent) = (chunk(piece), 0);
    while sent < most && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    let _ = stream.shutdown(Shutdown::Write);
    (sent, reader.join().unwrap())
}

/// Returns the number of files of uploads that a host has open.
fn spooled(host: &Host) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", host.process())).unwrap();
    let state = host.state().canonicalize().unwrap();
    let target = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
    let is_spool =
        |path: &std::path::PathBuf| path.starts_with(&state) && path.to_string_lossy().ends_with(" (deleted)");
    open.filter_map(target).filter(is_spool).count()
}

/// Waits until nothing is open or held of what clients have sent.
async fn released(host: &Host) {
    let begun = Instant::now();
    loop {
        let text = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
        let held = text.lines().find(|line| line.starts_with("watertight_http_held_bytes{listener=\"data\"}"));
        let held = held.map_or("0", |line| line.rsplit(' ').next().unwrap());
        if (spooled(host), held) == (0, "0") {
            return;
        }
        assert!(begun.elapsed() < SOON, "{} files and {held} bytes are left", spooled(host));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_end_are_refused_early() {
    let host = start("");
    let title = part("title", None, "t");
    let cover = "--X\r\nContent-Disposition: form-data; name=\"cover\"; filename=\"c\"\r\n\r\n";
    let head = "--X\r\nContent-Disposition: form-data; name=\"title\"\r\nx: ";
    let (whole, more) = (form(1000), part("more", None, ""));
    let rows = [
        ("100 MB of a file", format!("{title}{cover}"), &[b'c'; CHUNK][..], "413", "body-too-large"),
        ("a part after the other", title.clone(), more.as_bytes(), "400", "more than 256 parts"),
        ("50 MB before the first boundary", String::new(), &[b'-'; CHUNK], "400", "more than 16 KiB"),
        ("a head without end", head.to_owned(), &[b'y'; 1000], "400", "more than 16 KiB"),
        ("a head without end, byte by byte", head.to_owned(), b"y", "400", "more than 16 KiB"),
        ("text after the last boundary", whole, &[b'e'; CHUNK], "200", ""),
    ];
    let most = 100 << 20;
    for (what, first, piece, status, text) in rows {
        let (sent, answer) = flood(chunked(&host, &first), piece, most);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text), "{what}: {answer}");
        // The host stops reading, apart from what is on its way.
        assert!(sent < most / 2, "{what}: {sent}");
        released(&host).await;
    }
    post(&host, "/upload", KIND, form(10).as_bytes()).expect(200);
}

#[test]
fn parts_that_drip_end_with_the_request_s_time() {
    let host = start("request = \"1s\"\n");
    let drips = (0..20).map(|_| {
        let mut stream = chunked(&host, "--X");
        std::thread::spawn(move || {
            let begun = Instant::now();
            let mut pieces =
                "\r\nContent-Disposition: form-data; name=\"more\"; filename=\"c\"\r\n\r\nc\r\n--X".bytes().cycle();
            while begun.elapsed() < SOON && stream.write_all(&chunk(&[pieces.next().unwrap()])).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
            begun.elapsed()
        })
    });
    let drips: Vec<_> = drips.collect();
    wire::once(host.listen(), &wire::get("/plain?a=x")).unwrap().expect(200);
    for drip in drips {
        assert!(drip.join().unwrap() < SOON);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_never_end_keep_nothing_when_their_clients_leave() {
    let host = start("");
    let before = fs::read_dir(host.state()).unwrap().count();
    for _ in 0..3 {
        let open = |length: usize| {
            let whole = form(length);
            let mut connection = Connection::open(host.listen()).unwrap();
            connection.send(wire::head("POST", "/upload", &[KIND], whole.len()).as_bytes()).unwrap();
            connection.send(&whole.as_bytes()[..whole.len() - 10]).unwrap();
            connection
        };
        // Some wait on the disk, and some in memory.
        let large: Vec<_> = (0..80).map(|_| open(1 << 20)).collect();
        let small: Vec<_> = (0..40).map(|_| open(10 << 10)).collect();
        let begun = Instant::now();
        while spooled(&host) < 80 {
            assert!(begun.elapsed() < SOON, "{} files", spooled(&host));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(fs::read_dir(host.state()).unwrap().count(), before);
        // Unfinished uploads take no room that others wait for.
        post(&host, "/upload", KIND, form(LIMIT - 500).as_bytes()).expect(200);
        drop((large, small));
        released(&host).await;
    }
    for _ in 0..10 {
        post(&host, "/upload", KIND, form(LIMIT - 500).as_bytes()).expect(200);
    }
}

#[test]
fn boundaries_and_names_of_any_length_are_met() {
    let host = start("");
    let boundary = format!("multipart/form-data; boundary={}", "b".repeat(10 << 10));
    let refused = post(&host, "/upload", ("content-type", &boundary), b"x").expect(400);
    assert!(refused.text.contains("more than 70 characters"), "{refused:?}");
    let long = (0..256).fold(String::new(), |mut all, number| {
        let _ = write!(all, "{}", part(&format!("{number}{}", "n".repeat(4000)), None, ""));
        all
    });
    let refused = post(&host, "/upload", KIND, (long + "--X--\r\n").as_bytes()).expect(400);
    assert!(refused.text.len() < 64 << 10, "{} bytes", refused.text.len());
}

/// Asks for a neighbour's answers until `stop` is set. Returns how long each took.
fn ask(host: &Host, stop: &AtomicBool) -> Vec<Duration> {
    let mut connection = Connection::open(host.listen()).unwrap();
    let mut times = Vec::new();
    while !stop.load(Relaxed) {
        let begun = Instant::now();
        connection.exchange(&wire::get("/plain?a=x")).unwrap().expect(200);
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    times
}

/// Attacks again and again until `stop` is set.
fn repeat(stop: &AtomicBool, attack: &dyn Fn()) {
    while !stop.load(Relaxed) {
        attack();
    }
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("{} answers, p50 {:?}, p99 {:?}, longest {:?}", times.len(), at(50), at(99), at(100))
}

#[test]
fn a_neighbour_is_answered_beside_hostile_forms() {
    let host = start("");
    let measured = |attack: &(dyn Fn(&AtomicBool) + Sync)| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| ask(&host, &stop));
            scope.spawn(|| attack(&stop));
            std::thread::sleep(Duration::from_secs(4));
            stop.store(true, Relaxed);
            shown(neighbour.join().unwrap())
        })
    };
    let quiet = measured(&|_| {});
    let many = (0..10_000).map(|_| part("more", None, "")).collect::<String>();
    let nasty = |stop: &AtomicBool| {
        let cover = "--X\r\nContent-Disposition: form-data; name=\"cover\"; filename=\"c\"\r\n\r\n";
        let slow: Vec<TcpStream> =
            (0..50).map(|_| chunked(&host, &format!("{cover}{}", "c".repeat(300 << 10)))).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| repeat(stop, &|| drop(flood(chunked(&host, cover), &[b'c'; CHUNK], 100 << 20))));
            scope.spawn(|| repeat(stop, &|| drop(flood(chunked(&host, "--X\r\nx: "), b"y", 1 << 20))));
            scope.spawn(|| repeat(stop, &|| drop(flood(chunked(&host, ""), &[b'-'; CHUNK], 50 << 20))));
            repeat(stop, &|| {
                drop(wire::once(host.listen(), &wire::request("POST", "/upload", &[KIND], many.as_bytes())));
            });
        });
        drop(slow);
    };
    let attacked = measured(&nasty);
    println!("a neighbour alone: {quiet}; beside hostile forms: {attacked}");
}
