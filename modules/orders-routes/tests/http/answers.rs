//! Holds the routes against the table of answers that the host's tests hold the central routes against: `host/tests/e2e/answers.txt`.

use std::fmt::Write as _;

use axum::response::Response;
use serde_json::Value;

use crate::client::{Client, ID, text};

const TABLE: &str = include_str!("../../../../host/tests/e2e/answers.txt");
/// The cases that the host answers before a route or a mount is looked for.
const OF_THE_HOST: [&str; 2] = ["a half percent-encoding", "a whole address"];
/// If an answer has at most this many errors, the table lists all of them.
const MANY: usize = 16;
/// If an answer has more errors, the table lists this many from the start, and the last one.
const FEW: usize = 3;
/// The maximum number of characters of a text in the table.
const SHORT: usize = 120;

#[tokio::test]
async fn requests_are_answered_as_by_central_routes() {
    let client = Client::new();
    let (mut wrong, mut count) = (String::new(), 0);
    for case in TABLE.split("== ").skip(1) {
        let (title, case) = case.split_once('\n').unwrap();
        let lines: Vec<&str> = case.trim_end().lines().collect();
        let end = lines.iter().position(|line| line.starts_with("=> ")).unwrap();
        let (method, target) = lines[0].split_once(' ').unwrap();
        if !target.starts_with("/orders") || OF_THE_HOST.contains(&title) {
            continue;
        }
        count += 1;
        let expected: String = lines[end..].iter().map(|line| format!("{}\n", without_position(line))).collect();
        let found = describe(ask(&client, method, target, &lines[1..end]).await, method).await;
        if found != expected {
            let _ = writeln!(wrong, "== {title}\nexpected\n{expected}found\n{found}");
        }
    }
    assert!(count > 100, "{count} cases");
    assert!(wrong.is_empty(), "{wrong}");
}

/// Sends the request of a case.
async fn ask(client: &Client, method: &str, target: &str, rest: &[&str]) -> Response {
    let blank = rest.iter().position(|line| line.is_empty()).unwrap_or(rest.len());
    let (head, body) = (&rest[..blank], rest.get(blank + 1..).unwrap_or_default());
    let given: Vec<(&str, Vec<u8>)> = head
        .iter()
        .filter(|line| !line.starts_with('('))
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name, unescape(value.trim())))
        .collect();
    let mut headers: Vec<(&str, &[u8])> = given.iter().map(|(name, value)| (*name, &value[..])).collect();
    if method == "POST"
        && !head
            .iter()
            .any(|line| line.to_lowercase().contains("content type") || line.to_lowercase().starts_with("content-type"))
    {
        headers.push(("content-type", b"application/json"));
    }
    let target = String::from_utf8(unescape(target)).unwrap();
    client.send(method, &target, &headers, unescape(&body.join("\n"))).await
}

/// Decodes a text of the table: `\xNN` is a byte, and `{{TEXT*N}}` repeats a text N times.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix("\\x") {
            bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else if let Some((repeat, after)) = rest.strip_prefix("{{").and_then(|rest| rest.split_once("}}")) {
            let (what, times) = repeat.rsplit_once('*').unwrap();
            bytes.extend(unescape(what).repeat(times.parse().unwrap()));
            rest = after;
        } else {
            bytes.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    bytes
}

/// Returns an answer in the notation of the table.
async fn describe(response: Response, method: &str) -> String {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = text(response).await;
    let mut out = format!("=> {}", status.as_u16());
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    if status.as_u16() >= 400 && method != "HEAD" {
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status.as_u16());
        assert_eq!(body["instance"], ID);
        let name = body["type"].as_str().unwrap().strip_prefix("/problems/").unwrap();
        let _ = write!(out, " {name}: {}", short(body["detail"].as_str().unwrap()));
    }
    out.push('\n');
    for name in ["allow", "retry-after"] {
        if let Some(value) = headers.get(name) {
            let _ = writeln!(out, "   {name}: {}", value.to_str().unwrap());
        }
    }
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, error) in errors.iter().enumerate() {
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
        let line = format!("   {}: {}", place.trim_end(), text("detail"));
        let _ = writeln!(out, "{}", without_position(&line));
    }
    if let Some(payload) = body.get("payload").filter(|payload| !payload.is_null()) {
        let _ = writeln!(out, "   payload {}", short(&payload.to_string()));
    }
    out
}

/// Cuts off where and why a document is not JSON. Parsers have their own words for that.
fn without_position(line: &str) -> &str {
    if line.contains(": not JSON: ") { "   body: not JSON" } else { line }
}

/// Replaces control characters, and cuts a long text off.
fn short(text: &str) -> String {
    let text = text.replace(char::is_control, "?");
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
