//! Large and hostile uploads: each gets its answer, nothing stays in the state folder, and a neighbour is served meanwhile.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use watertight_testkit::host::Host;
use watertight_testkit::wire::{self, Answer, Connection};

use crate::app;

/// The limit of uploads in these tests.
pub(crate) const LIMIT: usize = 2 << 20;
pub(crate) const KIND: (&str, &str) = ("content-type", "multipart/form-data; boundary=X");

pub(crate) fn start(settings: &str) -> Host {
    app("requests-routes.toml", &format!("[defaults.limits]\nupload = \"{LIMIT}B\"\nbody = \"4KiB\"\n{settings}"))
        .launch()
        .start()
}

pub(crate) fn post(host: &Host, path: &str, kind: (&str, &str), body: &[u8]) -> Answer {
    wire::once(host.listen(), &wire::request("POST", path, &[kind], body)).unwrap()
}

/// Returns a part of a form.
pub(crate) fn part(name: &str, file: Option<&str>, content: &str) -> String {
    let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
    format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n")
}

/// Returns a form with a title and a cover of so many bytes.
pub(crate) fn form(length: usize) -> String {
    part("title", None, "t") + &part("cover", Some("c"), &"c".repeat(length)) + "--X--\r\n"
}

/// Returns the answer to the first number of bytes of a form, after which the client sends no more.
fn cut(address: SocketAddr, form: &str, sent: usize) -> std::io::Result<Answer> {
    let mut connection = Connection::open(address)?;
    connection.send(wire::head("POST", "/upload", &[KIND], form.len()).as_bytes())?;
    connection.send(&form.as_bytes()[..sent])?;
    connection.finish()?;
    connection.answer()
}

/// Asserts that the folder of a host's state has nothing of an upload.
#[track_caller]
fn nothing_is_left(state: &Path, before: &[String]) {
    assert_eq!(names(state), before);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn uploads_up_to_their_limit_arrive_whole() {
    let host = start("");
    // Below and above what is kept in memory.
    for length in [0, 1, 100 << 10, 300 << 10, LIMIT - 500] {
        let answer = post(&host, "/upload", KIND, form(length).as_bytes()).expect(200);
        assert!(
            answer.text.contains(&format!("Some(\\\"c\\\") \\\"application/octet-stream\\\" {length} ")),
            "{answer:?}"
        );
        let raw = vec![7; length];
        let sum = raw.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let answer = post(&host, "/raw", ("content-type", "image/png"), &raw).expect(200);
        assert!(answer.text.starts_with(&format!("\"{length} {sum} ")), "{answer:?}");
    }
}

#[test]
fn hostile_forms_are_answered_and_leave_nothing() {
    let host = start("");
    let before = names(host.state());
    let many = (0..10_000).fold(String::new(), |mut all, _| {
        let _ = write!(all, "{}", part("more", None, ""));
        all
    });
    let head = format!("--X\r\nContent-Disposition: form-data; name=\"title\"\r\nx: {}", "y".repeat(LIMIT - 100));
    let fields = format!("--X\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long_name = part(&"n".repeat(100_000), None, "") + "--X--\r\n";
    let nested = part("cover", Some("c"), "--X \r\n--Y\r\n--X-\r\n") + "--X--\r\n";
    let rows: [(&str, &str, u16, &str); 8] = [
        ("larger than the limit", &form(LIMIT), 413, "body-too-large"),
        ("10,000 parts", &(many + "--X--\r\n"), 400, "invalid-request"),
        ("a head that does not end", &head, 400, "invalid-request"),
        ("1,000 fields in a head", &fields, 400, "invalid-request"),
        ("a long name", &long_name, 400, "invalid-request"),
        ("boundaries that are none", &nested, 400, "invalid-request"),
        (
            "a text that is larger than a document",
            &(part("title", None, &"t".repeat(LIMIT - 1000)) + "--X--\r\n"),
            400,
            "invalid-request",
        ),
        ("only a boundary", "--X", 400, "invalid-request"),
    ];
    for (what, body, status, problem) in rows {
        let answer = post(&host, "/upload", KIND, body.as_bytes());
        let kind = answer.body["type"].as_str().unwrap_or_default();
        assert_eq!((answer.status, kind), (status, &*format!("/problems/{problem}")), "{what}: {answer:?}");
        assert!(answer.text.len() < 4096, "{what}: {answer:?}");
        nothing_is_left(host.state(), &before);
    }
    let whole = form(1 << 20);
    for sent in [0, 10, 1000, whole.len() / 2, whole.len() - 4] {
        // The client may be gone before the answer.
        if let Ok(answer) = cut(host.listen(), &whole, sent) {
            assert_eq!(answer.status, 400, "{sent}: {answer:?}");
        }
        nothing_is_left(host.state(), &before);
    }
    post(&host, "/upload", KIND, form(10).as_bytes()).expect(200);
}

/// A client that sends slowly holds little memory, and the place of nobody.
#[test]
fn slow_uploads_hold_nobody_up() {
    let host = start("");
    let whole = form(1 << 20);
    let slow: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(host.listen()).unwrap();
            connection.send(wire::head("POST", "/upload", &[KIND], whole.len()).as_bytes()).unwrap();
            connection.send(&whole.as_bytes()[..whole.len() - 10]).unwrap();
            connection
        })
        .collect();
    wire::once(host.listen(), &wire::get("/plain?a=x")).unwrap().expect(200);
    for mut connection in slow {
        connection.exchange(&whole.as_bytes()[whole.len() - 10..]).unwrap().expect(200);
    }
}
