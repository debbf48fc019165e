//! Tests of the rules of HTTP that all listeners share, and of the parameters and bodies that the data listener accepts.

use std::fs;
use std::net::SocketAddr;

use reqwest::Method;
use serde_json::{Value, json};
use watertight_testkit::app::App;
use watertight_testkit::client::{Answer, Raw, client, send};
use watertight_testkit::components::component_of;
use watertight_testkit::host::{Host, Launch};

use crate::frames;

/// The WIT text of a module whose functions return what they got.
pub(crate) const WIT: &str = "package t:t@1.0.0;
    interface api {
        record memo { text: option<string>, count: option<u32> }
        record outer { note: memo }
        nothing: func() -> u32;
        maybe: func(n: option<u64>) -> option<u64>;
        note: func(note: memo) -> u32;
        nested: func(nested: outer) -> u32;
        whole: func(whole: option<memo>) -> u32;
        text: func(it: string) -> string;
    }
    world w { export api; }";

/// The core module of that module. `note`, `nested` and `whole` return whether a text or a note was given.
pub(crate) const CORE: &str = r#"(module
    (memory (export "memory") 16)
    (global $end (mut i32) (i32.const 64))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $end) (i32.const 15)) (i32.const -16)))
        (global.set $end (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "t:t/api@1.0.0#nothing") (result i32) (i32.const 42))
    (func (export "t:t/api@1.0.0#maybe") (param i32 i64) (result i32)
        (i32.store8 (i32.const 16) (local.get 0)) (i64.store (i32.const 24) (local.get 1)) (i32.const 16))
    (func (export "t:t/api@1.0.0#note") (param i32 i32 i32 i32 i32) (result i32) (local.get 0))
    (func (export "t:t/api@1.0.0#nested") (param i32 i32 i32 i32 i32) (result i32) (local.get 0))
    (func (export "t:t/api@1.0.0#whole") (param i32 i32 i32 i32 i32 i32) (result i32) (local.get 0))
    (func (export "t:t/api@1.0.0#text") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))"#;

fn routes() -> String {
    let route = |method: &str, path: &str, function: &str, more: &str| {
        format!("[[route]]\nmethod = {method:?}\npath = {path:?}\ncall = \"a/api.{function}\"\n{more}\n")
    };
    [
        route("GET", "/nothing", "nothing", ""),
        route("POST", "/nothing", "nothing", ""),
        route("POST", "/maybe", "maybe", "body = \"*\""),
        route("GET", "/maybe", "maybe", ""),
        route("POST", "/note", "note", "body = \"note\""),
        route("POST", "/nested", "nested", "body = \"nested\""),
        route("POST", "/whole", "whole", "body = \"whole\""),
        route("POST", "/body", "text", "body = \"it\""),
        route("GET", "/cookie", "text", "headers = { it = \"Cookie\" }"),
        route("GET", "/a:b/{it}", "text", ""),
    ]
    .concat()
}

pub(crate) fn app(settings: &str) -> App {
    let manifest = format!(
        "[app]\nname = \"a\"\nroutes = [\"routes/*.toml\"]\n{settings}\n[modules.a]\ncomponent = \"a.wasm\"\nuses = []\n"
    );
    let app = App::new(&manifest).routes(&routes());
    fs::write(app.path().join("a.wasm"), component_of(WIT, "w", CORE)).unwrap();
    app
}

/// Sends the text of a request on a new connection. Returns the answer's status, its body, and its header `Accept-Encoding`.
pub(crate) fn raw(address: SocketAddr, request: &str) -> (u16, Value, String) {
    let mut connection = Raw::connect(address);
    connection.try_send(request.as_bytes());
    let answer = connection.answer(!request.starts_with("HEAD"));
    let accepted = answer.header("accept-encoding").to_owned();
    (answer.status, answer.body, accepted)
}

/// Returns the place of the first error in an answer's body: the error's fields `in` and `name`, such as `header host`.
fn place(body: &Value) -> String {
    let fault = &body["errors"][0];
    let text = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("in"), text("name")).trim().to_owned()
}

/// Heads of requests, each with the expected status and the place of the expected error. `PATH` stands for an existing path.
const HEADS: &[(&str, u16, &str)] = &[
    ("GET PATH HTTP/1.1\r\nHost: a", 200, ""),
    ("GET PATH HTTP/1.1\r\nHost: a.example:80", 200, ""),
    ("GET PATH HTTP/1.1\r\nHost: [::1]:8080", 200, ""),
    ("HEAD PATH HTTP/1.1\r\nHost: a", 200, ""),
    ("GET PATH HTTP/1.1", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost:", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: a\r\nHost: a", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: a\r\nHost: b", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: a b", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: a/b", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: u@a", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: a:b", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: a:99999", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: [::1", 400, "header host"),
    ("GET PATH HTTP/1.1\r\nHost: http://a", 400, "header host"),
    ("GET PATH HTTP/1.0", 200, ""),
    ("GET PATH HTTP/1.0\r\nHost: a", 200, ""),
    ("GET PATH HTTP/1.0\r\nHost: a b", 400, "header host"),
    ("GET PATH HTTP/1.0\r\nHost: a\r\nHost: a", 400, "header host"),
    ("GET http://other:99PATH HTTP/1.1\r\nHost: a", 200, ""),
    ("GET http://otherPATH HTTP/1.1\r\nHost:", 200, ""),
    ("GET http://otherPATH HTTP/1.0", 200, ""),
    ("GET http://otherPATH HTTP/1.1", 400, "header host"),
    ("GET http://u@otherPATH HTTP/1.1\r\nHost: a", 400, "header host"),
    ("GET ftp://otherPATH HTTP/1.1\r\nHost: a", 400, "path"),
    ("GET * HTTP/1.1\r\nHost: a", 400, "path"),
    ("GET PATH%zz HTTP/1.1\r\nHost: a", 400, "path"),
    ("GET PATH% HTTP/1.1\r\nHost: a", 400, "path"),
    ("GET PATH%4 HTTP/1.1\r\nHost: a", 400, "path"),
    ("GET PATH?a=1&b=%zz&c=2 HTTP/1.1\r\nHost: a", 400, "query b"),
    ("GET PATH?%zz HTTP/1.1\r\nHost: a", 400, "query %zz"),
    ("get PATH HTTP/1.1\r\nHost: a", 501, ""),
    ("Get PATH HTTP/1.1\r\nHost: a", 501, ""),
    ("BREW PATH HTTP/1.1\r\nHost: a", 501, ""),
    ("PROPFIND PATH HTTP/1.1\r\nHost: a", 501, ""),
    ("TRACE PATH HTTP/1.1\r\nHost: a", 405, ""),
    ("QUERY PATH HTTP/1.1\r\nHost: a", 405, ""),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a", 501, ""),
    ("POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", 501, ""),
    ("POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 501, ""),
    ("POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked", 400, "header transfer-encoding"),
];

#[test]
fn a_request_s_head_is_checked_alike_on_all_listeners() {
    let app = app("");
    let host = app.launch().argument("--probe=127.0.0.1:0").start();
    let mut wrong = Vec::new();
    let listeners =
        [("data", host.listen(), "/nothing"), ("admin", host.admin(), "/healthz"), ("probe", host.probe(), "/livez")];
    for (listener, address, path) in listeners {
        for (request, status, fault) in HEADS {
            let request = format!("{}\r\n\r\n", request.replace("PATH", path));
            let (found, body, _) = raw(address, &request);
            if (found, &*place(&body)) != (*status, *fault) {
                wrong.push(format!("{listener}: {request:?}: {found} {}", body["errors"]));
            }
            if *status >= 400 {
                assert_eq!((body["status"].as_u16(), body["instance"].as_str().map(str::len)), (*status, Some(26)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

trait AsU16 {
    fn as_u16(&self) -> u16;
}

impl AsU16 for Value {
    fn as_u16(&self) -> u16 {
        self.as_u64().and_then(|number| number.try_into().ok()).unwrap_or_default()
    }
}

#[test]
fn http2_names_one_host_and_joins_cookies() {
    let app = app("");
    let host = app.launch().start();
    let get = |path: &'static str| vec![(":method", "GET"), (":scheme", "http"), (":path", path)];
    for (listener, address, path) in [("data", host.listen(), "/nothing"), ("admin", host.admin(), "/healthz")] {
        let hosts: &[(&[(&str, &str)], u16)] = &[
            (&[(":authority", "a")], 0),
            (&[("host", "a")], 0),
            (&[(":authority", "a:8080"), ("host", "A:8080")], 0),
            (&[(":authority", "a:80"), ("host", "a")], 0),
            (&[], 400),
            (&[(":authority", "a"), ("host", "b")], 400),
            (&[(":authority", "a"), ("host", "a:8080")], 400),
            (&[(":authority", "a"), ("host", "")], 400),
            (&[("host", "a"), ("host", "a")], 400),
            (&[("host", "a b")], 400),
            (&[("host", "")], 400),
        ];
        for (fields, status) in hosts {
            let pseudo = fields.iter().filter(|(name, _)| name.starts_with(':'));
            let rest = fields.iter().filter(|(name, _)| !name.starts_with(':'));
            let all: Vec<(&str, &str)> = get(path).into_iter().chain(pseudo.chain(rest).copied()).collect();
            let outcome = frames::ask(address, &all, b"");
            assert!(matches!(outcome, frames::Outcome::Answered(_)), "{listener}: {fields:?}");
            assert_eq!(outcome.json()["status"].as_u16(), *status, "{listener}: {fields:?}");
        }
        let unknown = [(":method", "brew"), (":scheme", "http"), (":path", path), (":authority", "a")];
        assert_eq!(frames::ask(address, &unknown, b"").json()["status"], 501, "{listener}");
    }
    let with_cookies = |cookies: &[(&'static str, &'static str)]| {
        let mut fields = get("/cookie");
        fields.push((":authority", "a"));
        fields.extend_from_slice(cookies);
        frames::ask(host.listen(), &fields, b"").json()
    };
    assert_eq!(with_cookies(&[("cookie", "a=1")]), "a=1");
    assert_eq!(with_cookies(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c")]), "a=1; b=2; c");
    let twice = "GET /cookie HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n";
    assert_eq!(raw(host.listen(), twice).0, 400);
}

/// Returns the text of a `POST` request. `kind` is the content type; `None` means no such header or no body. If `chunked` is true, the body
/// is sent in chunks, so that its length is not announced.
fn body(path: &str, kind: Option<&str>, body: Option<&str>, chunked: bool) -> String {
    let kind = kind.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{kind}");
    match body {
        None if chunked => format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        None => format!("{head}\r\n"),
        Some(body) if chunked => {
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        }
        Some(body) => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
    }
}

const JSON: Option<&str> = Some("application/json");

#[test]
fn a_body_of_options_may_be_absent() {
    let app = app("");
    let host = app.launch().start();
    for path in ["/maybe", "/note", "/whole"] {
        for chunked in [false, true] {
            for (kind, text) in [(None, None), (JSON, None), (JSON, Some("")), (Some("text/plain"), None)] {
                if chunked && (kind == Some("text/plain") || text == Some("")) {
                    continue;
                }
                let (status, found, _) = raw(host.listen(), &body(path, kind, text, chunked));
                assert!(status == 200 && (found.is_null() || found == 0), "{path} {kind:?} {text:?}: {status} {found}");
            }
        }
    }
    // Other functions require their body.
    for path in ["/nested", "/body"] {
        for chunked in [false, true] {
            let (status, found, _) = raw(host.listen(), &body(path, None, None, chunked));
            assert_eq!((status, &found["type"]), (400, &json!("/problems/invalid-request")), "{path}: {found}");
        }
    }
    let (status, found, _) = raw(host.listen(), &body("/note", JSON, Some("\u{feff}{\"text\":\"x\"}"), false));
    assert_eq!((status, found), (200, json!(1)));
    let (status, _, _) = raw(host.listen(), &body("/note", Some("Application/Merge-Patch+JSON"), Some("{}"), true));
    assert_eq!(status, 200);
    assert_eq!(raw(host.listen(), &body("/note", None, Some("{}"), true)).0, 415);
    let coded = "POST /note HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
                 Content-Length: 2\r\n\r\n{}";
    let (status, found, accepted) = raw(host.listen(), coded);
    assert_eq!((status, &found["type"], &*accepted), (415, &json!("/problems/unsupported-media-type"), "identity"));
    assert_eq!(raw(host.listen(), &body("/note", Some("text/plain"), Some("{}"), false)).2, "");
}

#[test]
fn unknown_input_is_refused_unless_the_manifest_ignores_it() {
    let requests: &[(&str, &str)] = &[
        ("query x", "GET /maybe?n=1&x=2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("query x", "GET /nothing?x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("", &body("/maybe", JSON, Some(r#"{"n":1,"x":[{}]}"#), false)),
        ("", &body("/nested", JSON, Some(r#"{"note":{"text":"a","x":{"y":null}}}"#), false)),
        ("", &body("/nothing", JSON, Some("{}"), false)),
        ("", &body("/nothing", None, Some("x"), false)),
        ("", &body("/nothing", None, Some("x"), true)),
        ("", "GET /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"),
    ]
    .map(|(place, request)| (place, request.to_owned()))
    .each_ref()
    .map(|(place, request)| (*place, Box::leak(request.clone().into_boxed_str()) as &str));
    let (strict, said, lenient) = (app(""), app("unknown_input = \"refuse\""), app("unknown_input = \"ignore\""));
    let hosts = [strict.launch().start(), said.launch().start(), lenient.launch().start()];
    for (at, request) in requests {
        for host in &hosts[..2] {
            let (status, found, _) = raw(host.listen(), request);
            assert_eq!((status, &*place(&found)), (400, *at), "{request:?}: {found}");
        }
        assert_eq!(raw(hosts[2].listen(), request).0, 200, "{request:?}");
    }
    for host in &hosts {
        // An empty body counts as absent. Known input is still checked against its type.
        assert_eq!(raw(host.listen(), &body("/nothing", JSON, None, true)).0, 200);
        assert_eq!(raw(host.listen(), &body("/nothing", JSON, Some(""), false)).0, 200);
        assert_eq!(raw(host.listen(), "GET /maybe?n=x HTTP/1.1\r\nHost: a\r\n\r\n").0, 400);
        assert_eq!(raw(host.listen(), "GET /maybe?n=1&n=2 HTTP/1.1\r\nHost: a\r\n\r\n").0, 400);
        assert_eq!(raw(host.listen(), &body("/note", JSON, Some(r#"{"count":"x"}"#), false)).0, 400);
    }
    let wrong = app("unknown_input = \"pass\"").launch().expect_end();
    assert!(wrong.1.contains("none of `refuse`, `ignore`"), "{}", wrong.1);
}

#[test]
fn what_becomes_of_unknown_input_changes_while_the_host_runs() {
    let app = app("");
    let state = watertight_testkit::host::folder();
    let state = state.path().join("state");
    let host = app.launch().state(&state).start();
    let request = "GET /nothing?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(raw(host.listen(), request).0, 400);
    let manifest = fs::read_to_string(app.path().join("app.toml")).unwrap();
    fs::write(app.path().join("app.toml"), manifest.replace("[app]", "[app]\nunknown_input = \"ignore\"")).unwrap();
    let applied =
        watertight_testkit::host::binary().arg("apply").arg(app.path()).arg("--state").arg(&state).output().unwrap();
    let told = String::from_utf8_lossy(&applied.stdout);
    assert!(applied.status.success() && told.contains("~ route GET /nothing"), "{told}{applied:?}");
    assert_eq!(raw(host.listen(), request).0, 200);
}

#[tokio::test]
async fn a_path_is_the_same_however_it_is_encoded() {
    let app = app("");
    let host = app.launch().start();
    let get = async |path: &str| raw(host.listen(), &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    for path in ["/nothing", "/%6eothing", "/%6Eot%68ing", "/nothin%67"] {
        assert_eq!(get(path).await.0, 200, "{path}");
    }
    for (path, text) in [("/a:b/x", "x"), ("/a%3ab/%78", "x"), ("/%61%3Ab/%2541", "%41"), ("/a:b/%2f%C3%A9", "/é")] {
        assert_eq!(get(path).await.1, text, "{path}");
    }
    for path in ["/%2fnothing", "/nothing%2f", "/%4eothing", "/a%252fb"] {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    let admin = |path: &str| client().get(host.admin_url(path)).bearer_auth(host.token());
    send(admin("/%6dodules")).await.expect(200);
    send(admin("/generation%73")).await.expect(200);
    send(admin("/modules%2f")).await.expect(404);
}

async fn operate(host: &Host, method: Method, path: &str, kind: Option<&str>, body: &str) -> Answer {
    let request = client().request(method, host.admin_url(path)).bearer_auth(host.token()).body(body.to_owned());
    send(kind.into_iter().fold(request, |request, kind| request.header("content-type", kind))).await
}

#[tokio::test]
async fn operators_are_told_in_problem_details_what_is_wrong() {
    let app = app("");
    let host = app.launch().start();
    let long = format!("{{\"to\":\"/{}\"}}", "x".repeat(300));
    let deep = format!("{{\"to\":\"{}\"}}", "/aaaaaaaa".repeat(500));
    let padded = format!("{{}}{}", " ".repeat(2_000));
    let cases: &[(Method, &str, Option<&str>, &str, u16, &str)] = &[
        (Method::GET, "/nothing-here", None, "", 404, "no-such-path"),
        (Method::GET, "/modules/", None, "", 404, "no-such-path"),
        (Method::POST, "/modules", None, "", 405, "method-not-allowed"),
        (Method::GET, "/call", None, "", 405, "method-not-allowed"),
        (Method::POST, "/call", JSON, "{", 400, "invalid-request"),
        (Method::POST, "/call", JSON, "[\"a/api.nothing\",[]]", 400, "invalid-request"),
        (Method::POST, "/call", Some("text/plain"), "{}", 415, "unsupported-media-type"),
        (Method::POST, "/call?trace=1", JSON, "{}", 400, "invalid-request"),
        (Method::POST, "/backup?dry_run=true", JSON, "{\"to\":\"/tmp/x\"}", 400, "invalid-request"),
        (Method::POST, "/backup", JSON, "{\"to\":\"/tmp/a\\nWARN forged\"}", 400, "invalid-request"),
        (Method::POST, "/backup", JSON, "{\"to\":\"/tmp/a\\u0000b\"}", 400, "invalid-request"),
        (Method::POST, "/backup", JSON, "{\"to\":\"/tmp/\\u001b[31m\"}", 400, "invalid-request"),
        (Method::POST, "/backup", JSON, &long, 400, "invalid-request"),
        (Method::POST, "/backup", JSON, &deep, 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "[1]", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "1", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "null", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, " ", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "{\"to\":1,\"to\":1}", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "{\"generation\":1}", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "{\"to\":\"1\"}", 400, "invalid-request"),
        (Method::POST, "/rollback", JSON, "{\"to\":1} {}", 400, "invalid-request"),
        (Method::POST, "/rollback", Some("application/x-www-form-urlencoded"), "to=1", 415, "unsupported-media-type"),
        (Method::POST, "/rollback", JSON, &padded, 413, "body-too-large"),
        (Method::POST, "/rollback?dry_run=maybe", JSON, "{}", 400, "invalid-request"),
        (Method::POST, "/rollback?dry=true", JSON, "{}", 400, "invalid-request"),
        (Method::POST, "/modules/a/swap", JSON, "x", 415, "unsupported-media-type"),
        (Method::POST, "/modules/a/swap", Some("Application/WASM; v=1"), "x", 409, "refused"),
        (Method::POST, "/modules/%ff/swap", Some("application/wasm"), "x", 400, "invalid-request"),
        (Method::POST, "/modules/A%20B/swap", Some("application/wasm"), "x", 400, "invalid-request"),
        (Method::POST, "/apply", Some("application/wasm"), "x", 415, "unsupported-media-type"),
        (Method::POST, "/apply", Some("Multipart/Form-Data; boundary=b"), "x", 400, "invalid-request"),
    ];
    for (method, path, kind, body, status, problem) in cases {
        let answer = operate(&host, method.clone(), path, *kind, body).await;
        let what = format!("{method} {path} {} {answer:?}", &body[..body.floor_char_boundary(60)]);
        assert_eq!((answer.status, answer.problem()), (*status, *problem), "{what}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        assert_eq!(
            (answer.body["status"].as_u16(), answer.at("/instance")),
            (*status, answer.header("x-request-id")),
            "{what}"
        );
        assert!(!answer.at("/title").is_empty() && !answer.at("/detail").is_empty(), "{what}");
    }
    let refused = operate(&host, Method::POST, "/modules", None, "").await;
    assert_eq!(refused.header("allow"), "GET,HEAD");
    // The host refuses the body by its announced length, before it is sent.
    let head = format!("Host: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}", host.token(), (16 << 20) + 1);
    let (status, found, _) = raw(host.admin(), &format!("POST /call HTTP/1.1\r\n{head}\r\n\r\n"));
    assert_eq!((status, &found["type"]), (413, &json!("/problems/body-too-large")));
    let coded = client().post(host.admin_url("/call")).bearer_auth(host.token()).header("content-encoding", "br");
    let coded = send(coded.header("content-type", "application/json").body("{}")).await.expect(415);
    assert_eq!(coded.header("accept-encoding"), "identity");
    let named = client().get(host.admin_url("/modules")).bearer_auth(host.token()).header("x-request-id", "mine");
    assert_eq!(send(named).await.expect(200).header("x-request-id"), "mine");
    assert!(!host.log().lines().any(|line| line.starts_with("WARN forged")), "{}", host.log());
    // Media types are case-insensitive, and JSON may start with a byte order mark.
    let call = r#"{"function":"a/api.nothing","arguments":[]}"#;
    for (kind, body) in [(None, call.to_owned()), (Some("APPLICATION/JSON; charset=utf-8"), format!("\u{feff} {call}"))]
    {
        assert_eq!(operate(&host, Method::POST, "/call", kind, &body).await.expect(200).body["result"], 42);
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_panic_costs_its_own_request_and_is_counted() {
    let app = app("");
    let points = "http::answer=1*panic(for a test);admin::answer=2*off->1*panic(for a test)";
    let host = app.launch().variable("FAILPOINTS", points).start();
    let mut connection = Raw::connect(host.listen());
    let request = "GET /nothing HTTP/1.1\r\nHost: a\r\nX-Request-Id: the-first\r\n\r\n";
    let failed = connection.send(request).answer(true).expect(500);
    assert_eq!((failed.problem(), failed.header("x-request-id")), ("host-failed", "the-first"));
    assert!(!failed.text.contains("for a test"), "{failed:?}");
    // The connection stays open.
    assert_eq!(connection.send(request).answer(true).expect(200).text, "42");
    // The host's start already made a request for readiness.
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(host.admin_get("/modules").await.status);
    }
    statuses.sort_unstable();
    assert!(statuses[..3] == [200; 3] && [200, 500].contains(&statuses[3]), "{statuses:?}");
    let metrics = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
    assert!(metrics.contains("watertight_request_panics_total{listener=\"data\"} 1"), "{metrics}");
    assert!(metrics.contains("watertight_request_panics_total{listener=\"admin\"} 1"), "{metrics}");
    let log = host.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("the host failed to answer")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().any(|line| line.contains("the-first") && line.contains("path=\"/nothing\"")), "{log}");
}

#[test]
fn limits_of_heads_are_where_the_operators_table_says() {
    let host = Launch::shop().start();
    let status = |request: &str| raw(host.listen(), request).0;
    let fields = |count: usize| (0..count).map(|number| format!("A{number}: b\r\n")).collect::<String>();
    let with = |count: usize| status(&format!("GET /nothing HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(count - 1)));
    assert_eq!((with(100), with(101)), (404, 431));
    let of_size = |size: usize| {
        let request = format!("GET /nothing HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(size - 40));
        status(&request)
    };
    assert_eq!((of_size(100 << 10), of_size(140 << 10)), (404, 431));
    let target = |length: usize| status(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1)));
    assert_eq!((target(65_534), target(65_535)), (404, 414));
    let fields = |size: usize| {
        let value = "x".repeat(size);
        let all = [(":method", "GET"), (":scheme", "http"), (":path", "/nothing"), (":authority", "a"), ("a", &*value)];
        frames::ask(host.listen(), &all, b"")
    };
    assert_eq!(fields(15 << 10).json()["status"], 404);
    assert_eq!(fields(17_000).json()["status"], 431);
}
