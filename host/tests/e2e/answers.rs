//! Tests of the answers to valid and invalid requests. `answers.txt` has the cases: each is a request and the expected answer.
//!
//! `BLESS=1` rewrites the expected answers. Review the differences. A module that owns its routes gives the same answers; only where and why
//! a document is not JSON is said by another parser, in other words.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use watertight_testkit::client::{Answer, Raw};
use watertight_testkit::host::Host;
use watertight_testkit::paths::repository;
use watertight_testkit::setup::Setup;

every_setup! {
    fn every_case_of_the_table;
}

/// The settings of the shop's manifest that the cases assume.
const SETTINGS: &str = "[defaults.limits]\nbody = \"64KiB\"";
/// If an answer has at most this many errors, `answers.txt` lists all of them.
const MANY: usize = 16;
/// If an answer has more errors, `answers.txt` lists this many from the start, and the last one.
const FEW: usize = 3;
/// The maximum number of characters of a text in `answers.txt`. Longer texts are cut.
const SHORT: usize = 120;
/// The size of a chunk in bytes, if a body is sent in chunks.
const CHUNK: usize = 8 << 10;

/// A case of `answers.txt`: a request and its expected answer.
struct Case<'a> {
    title: &'a str,
    request: Vec<&'a str>,
    expected: String,
}

fn every_case_of_the_table(setup: Setup) {
    let file = repository().join("host/tests/e2e/answers.txt");
    let text = fs::read_to_string(&file).unwrap();
    let (introduction, cases) = parse(&text);
    let app = setup.shop_with(SETTINGS);
    let host = app.launch().start();
    let (mut blessed, mut wrong) = (introduction.to_owned(), String::new());
    for case in &cases {
        let found = describe(&ask(&host, case), case);
        let _ = write!(blessed, "== {}\n{}\n{found}\n", case.title, case.request.join("\n"));
        let are_same = if setup.owns_routes() {
            without_syntax(&found) == without_syntax(&case.expected)
        } else {
            found == case.expected
        };
        if !are_same {
            let _ = writeln!(wrong, "== {}\nexpected\n{}found\n{found}", case.title, case.expected);
        }
    }
    if std::env::var_os("BLESS").is_some() && !setup.owns_routes() {
        fs::write(&file, blessed).unwrap();
    } else {
        assert!(wrong.is_empty(), "{wrong}BLESS=1 rewrites {}", Path::new(&file).display());
    }
}

fn parse(text: &str) -> (&str, Vec<Case<'_>>) {
    let (introduction, rest) = text.split_at(text.find("== ").unwrap());
    let cases = rest.split("== ").skip(1).map(|block| {
        let (title, block) = block.split_once('\n').unwrap();
        let lines: Vec<&str> = block.trim_end().lines().collect();
        let end = lines.iter().position(|line| line.starts_with("=> ")).unwrap_or(lines.len());
        let expected = lines[end..].iter().map(|line| format!("{line}\n")).collect();
        Case { title, request: lines[..end].to_vec(), expected }
    });
    (introduction, cases.collect())
}

/// Sends a case's request on a new connection.
fn ask(host: &Host, case: &Case<'_>) -> Answer {
    let mut lines = case.request.iter();
    let first = lines.next().unwrap();
    let (method, path) = first.split_once(' ').unwrap();
    let mut head = unescape(&format!("{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"));
    let (mut typed, mut chunked) = (false, false);
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        typed |= line.to_ascii_lowercase().starts_with("content-type") || *line == "(no content type)";
        chunked |= line.eq_ignore_ascii_case("transfer-encoding: chunked");
        if !line.starts_with('(') {
            head.extend(unescape(line));
            head.extend(b"\r\n");
        }
    }
    let body: Vec<&str> = lines.copied().collect();
    let body = unescape(&body.join("\n"));
    if method == "POST" && !typed {
        head.extend(b"Content-Type: application/json\r\n");
    }
    if method == "POST" && !chunked {
        head.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    head.extend(b"\r\n");
    let mut connection = Raw::connect(host.listen());
    connection.send(&head);
    if chunked {
        for chunk in body.chunks(CHUNK) {
            connection.try_send(format!("{:x}\r\n", chunk.len()).as_bytes()).try_send(chunk).try_send(b"\r\n");
        }
        connection.try_send(b"0\r\n\r\n");
    } else {
        connection.try_send(&body);
    }
    connection.answer(method != "HEAD")
}

/// Decodes a request of `answers.txt`: `\xNN` is a byte, and `{{TEXT*N}}` repeats a text N times.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(hex) = rest.strip_prefix("\\x") {
            bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else if let Some(repeat) = rest.strip_prefix("{{") {
            let (repeat, after) = repeat.split_once("}}").unwrap();
            let (what, times) = repeat.rsplit_once('*').unwrap();
            bytes.extend(unescape(what).repeat(times.parse().unwrap()));
            rest = after;
        } else {
            let end = rest.chars().next().unwrap().len_utf8();
            bytes.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end..];
        }
    }
    bytes
}

/// Returns an answer in the notation of `answers.txt`. Asserts the properties that all answers must have.
fn describe(answer: &Answer, case: &Case<'_>) -> String {
    let title = case.title;
    assert_eq!(answer.header("watertight-generation"), "1", "{title}: {answer:?}");
    let id = answer.header("x-request-id");
    assert_eq!(id.len(), 26, "{title}: {answer:?}");
    let mut out = format!("=> {}", answer.status);
    if answer.status >= 400 && !case.request[0].starts_with("HEAD") {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{title}: {answer:?}");
        let body = &answer.body;
        assert_eq!(body["status"], answer.status, "{title}");
        assert_eq!(body["instance"], id, "{title}");
        assert!(body["title"].as_str().is_some_and(|text| !text.is_empty()), "{title}: {answer:?}");
        // Only a module's error has a case, and only a case has a payload.
        assert!(body.get("case").is_none_or(|case| *case == answer.problem()), "{title}: {answer:?}");
        assert!(body.get("payload").is_none() || body.get("case").is_some(), "{title}: {answer:?}");
        assert!(answer.text.len() < 32 << 10, "{title}: {} bytes of problem details", answer.text.len());
        let _ = write!(out, " {}: {}", answer.problem(), short(answer.at("/detail")));
    }
    out.push('\n');
    for name in ["allow", "retry-after"] {
        if let Some(value) = answer.headers.get(name) {
            let _ = writeln!(out, "   {name}: {}", value.to_str().unwrap());
        }
    }
    let errors = answer.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, error) in errors.iter().enumerate() {
        // Of a long list, only the start and the last error are written.
        if errors.len() > MANY && (FEW..errors.len() - 1).contains(&index) {
            if index == FEW {
                let _ = writeln!(out, "   … {} more", errors.len() - FEW - 1);
            }
            continue;
        }
        let text = |key: &str| error[key].as_str().unwrap_or_default();
        let place = match error.get("in") {
            Some(place) => format!("{} {}", place.as_str().unwrap(), text("name")),
            None => format!("body {:?}", text("pointer")),
        };
        let _ = writeln!(out, "   {}: {}", place.trim_end(), text("detail"));
    }
    if let Some(payload) = answer.body.get("payload").filter(|payload| **payload != Value::Null) {
        let _ = writeln!(out, "   payload {}", short(&payload.to_string()));
    }
    out
}

/// Cuts off where and why a document is not JSON.
fn without_syntax(answer: &str) -> Vec<&str> {
    answer.lines().map(|line| if line.contains(": not JSON: ") { "   body: not JSON" } else { line }).collect()
}

/// Replaces control characters, and cuts a long text off.
fn short(text: &str) -> String {
    let text = text.replace(char::is_control, "?");
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
