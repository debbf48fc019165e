//! Fuzzes both listeners of a running host with requests of all kinds and damaged forms of them. Each is answered or disconnected, none
//! with 500, nothing panics, and the host still serves.

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use watertight_testkit::components::component_of;
use watertight_testkit::host::{Host, Launch, folder};

use crate::mutate::{Change, changed, changes};
use crate::runner::fuzz;

/// The WIT text of a module whose functions have all kinds of parameters, in all places of a request.
const WIT: &str = "package t:t@1.0.0;
    interface api {
        enum kind { one, two-three }
        record line { sku: string, quantity: u32 }
        record draft { name: string, lines: list<line>, note: option<string>, kind: kind }
        get: func(id: u64, kind: kind, limit: option<u32>, key: option<string>, ratio: f64);
        take: func(draft: draft);
        spread: func(a: string, b: list<u8>, c: option<bool>);
        text: func(it: string);
    }
    world w { export api; }";

/// The core module of that module. It accepts every call and does nothing. Each call frees the memory that was allocated for its
/// parameters.
const CORE: &str = r#"(module
    (memory (export "memory") 512)
    (global $end (mut i32) (i32.const 16))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $end) (i32.const 15)) (i32.const -16)))
        (global.set $end (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func $free (global.set $end (i32.const 16)))
    (func (export "t:t/api@1.0.0#get") (param i64 i32 i32 i32 i32 i32 i32 f64) (call $free))
    (func (export "t:t/api@1.0.0#take") (param i32 i32 i32 i32 i32 i32 i32 i32) (call $free))
    (func (export "t:t/api@1.0.0#spread") (param i32 i32 i32 i32 i32 i32) (call $free))
    (func (export "t:t/api@1.0.0#text") (param i32 i32) (call $free)))"#;

const MANIFEST: &str = "[app]\nname = \"a\"\nroutes = [\"routes.toml\"]\n[modules.a]\ncomponent = \"a.wasm\"\n";

const ROUTES: &str = r#"
[[route]]
method = "GET"
path = "/get/{id}/{kind}"
call = "a/api.get"
headers = { key = "Idempotency-Key", ratio = "X-Ratio" }
status = 202
[[route]]
method = "POST"
path = "/take"
call = "a/api.take"
body = "draft"
status = 202
[[route]]
method = "PUT"
path = "/spread/{a}"
call = "a/api.spread"
body = "*"
status = 202
[[route]]
method = "DELETE"
path = "/text/{it}"
call = "a/api.text"
status = 202
"#;

const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "PUT ",
    "HEAD ",
    "OPTIONS ",
    "CONNECT ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    ":",
    "%",
    "%2f",
    "%00",
    "%ff",
    "%C3%A9",
    "+",
    "&",
    "?",
    "#",
    "/",
    "//",
    "..",
    ";",
    ",",
    "=",
    "\"",
    "\\u0000",
    "\\ud83d",
    "{",
    "}",
    "[",
    "]",
    "null",
    "1e999",
    "-1",
    "18446744073709551616",
    "two_three",
    "Content-Length: 3\r\n",
    "Content-Length: 99999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "Host: x\r\n",
    "Content-Encoding: gzip\r\n",
    "traceparent: 00-0-0-00\r\n",
    "X-Request-Id: \u{e9}\r\n",
    "--b",
    "--b--",
    "Content-Disposition: form-data; name=\"@files\"",
    "name=\"",
    "filename=\"a\"",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "\0",
    "\u{feff}",
    "é",
];

/// The valid requests to the data listener and to the admin listener that the fuzz test damages.
struct Corpus {
    data: Vec<Vec<u8>>,
    admin: Vec<Vec<u8>>,
}

impl Corpus {
    fn of(host: &Host, component: &[u8]) -> Self {
        let request = |head: &str, kind: &str, body: &[u8]| {
            let head =
                format!("{head} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
            [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat()
        };
        let plain = |head: &str| format!("{head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n").into_bytes();
        let draft = r#"{"name":"ada","lines":[{"sku":"tea","quantity":2}],"note":null,"kind":"two_three"}"#;
        let get = "GET /get/18446744073709551615/two_three?limit=4294967295";
        let chunked =
            b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                        2\r\n{}\r\n0\r\n\r\n";
        let data = vec![
            [plain(get), b"Idempotency-Key: k\r\nX-Ratio: 1.5e3\r\n\r\n".to_vec()].concat(),
            [plain("GET /get/7/one"), b"X-Ratio: 0\r\ntraceparent: 00-886fb840c85453cfc1528169b8aa6c5a-0814c14f50dc4fb8-01\r\n\r\n".to_vec()].concat(),
            request("POST /take", "application/json", draft.as_bytes()),
            request("PUT /spread/x%20y", "application/json; charset=utf-8", br#"{"b":"aGVsbG8=","c":true}"#),
            [plain("DELETE /text/%C3%A9"), b"\r\n".to_vec()].concat(),
            [plain("OPTIONS *"), b"\r\n".to_vec()].concat(),
            chunked.to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\x04\x01\x05\0\0\0\x01\x82\x86\x84\x41".to_vec(),
        ];
        let operator = |head: &str, kind: &str, body: &[u8]| {
            let head = format!(
                "{head} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\n",
                host.token()
            );
            let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            [head.as_bytes(), length.as_bytes(), body].concat()
        };
        let text = |path: &str, text: &str| json!({ "path": path, "text": text });
        let files =
            json!({ "manifest": text("app.toml", MANIFEST), "routes": [text("routes.toml", ROUTES)] }).to_string();
        let part = |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes();
        let parts = [&part("@files")[..], files.as_bytes(), b"\r\n", &part("a"), component, b"\r\n--b--\r\n"].concat();
        let call = br#"{"function":"a/api.text","arguments":["x"]}"#;
        let admin = vec![
            operator("POST /apply?dry_run=true", "multipart/form-data; boundary=b", &parts),
            operator("POST /apply?dry_run=true", "multipart/form-data; boundary=b", &parts[..parts.len() / 2]),
            operator("POST /modules/a/swap?dry_run=true", "application/wasm", component),
            operator("POST /rollback?dry_run=true", "application/json", br#"{"to":1}"#),
            operator("POST /call", "application/json", call),
            operator("GET /generations", "", b""),
            operator("GET /modules", "", b""),
            request("GET /metrics", "", b""),
        ];
        Self { data, admin }
    }
}

/// The maximum time to wait for an answer. It exceeds the time for which the host waits for the rest of a request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The time to wait for an answer, if the request is probably incomplete.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends the bytes on a new connection, waits for an answer for the time `pause`, and ends the sending side. Returns all bytes that come
/// back.
fn exchange(address: SocketAddr, bytes: &[u8], pause: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut answer = Vec::new();
    // A host that refused the request may not read the rest.
    if stream.write_all(bytes).is_err() {
        return Ok(answer);
    }
    // A client that ends its side at once counts as disconnected, so wait first. A host that waits for more then learns that there is none.
    stream.set_read_timeout(Some(pause))?;
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        read => return read.map(|_| answer),
    }
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn http() {
    let (app, component) = (folder(), component_of(WIT, "w", CORE));
    fs::write(app.path().join("app.toml"), MANIFEST).unwrap();
    fs::write(app.path().join("routes.toml"), ROUTES).unwrap();
    fs::write(app.path().join("a.wasm"), &component).unwrap();
    let host = Launch::app(app.path()).start();
    let corpus = Corpus::of(&host, &component);
    for request in &corpus.data[..5] {
        let answer = exchange(host.listen(), request, TIMEOUT).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer));
    }
    for request in corpus.admin.iter().filter(|request| !request.starts_with(b"POST /apply")) {
        let answer = exchange(host.admin(), request, TIMEOUT).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    let log = host.state().with_extension("log");
    let seen = Cell::new(0);
    let case = (prop::bool::weighted(0.3), any::<Index>(), changes());
    let outcomes = &["served", "refused"];
    fuzz("http", outcomes, case, |(operator, which, changes): (bool, Index, Vec<Change>)| {
        let (address, requests) = if operator { (host.admin(), &corpus.admin) } else { (host.listen(), &corpus.data) };
        let bytes = changed(&requests[which.index(requests.len())], &changes, WORDS);
        let answer = match exchange(address, &bytes, PAUSE) {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Vec::new(),
            Err(error) => return Err(TestCaseError::fail(format!("the host does not end the connection: {error}"))),
        };
        let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
        let shown = || String::from_utf8_lossy(&answer).into_owned();
        prop_assert!(status != b"500", "{}", shown());
        let alive = exchange(host.listen(), &corpus.data[0], TIMEOUT);
        prop_assert!(alive.as_ref().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 202")), "{alive:?}");
        let logged = fs::read(&log).unwrap();
        let new = String::from_utf8_lossy(&logged[seen.replace(logged.len()).min(logged.len())..]).into_owned();
        prop_assert!(!new.contains("panicked"), "{new}");
        Ok(match status.first() {
            Some(b'2') => "served",
            Some(_) => "refused",
            None => "cut off",
        })
    });
}
