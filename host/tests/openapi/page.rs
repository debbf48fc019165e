//! The page that shows the document, and the tries that it sends by the admin listener.

use std::io::Read as _;

use serde_json::json;
use watertight_testkit::admin::Operator;
use watertight_testkit::app::guest;
use watertight_testkit::client::Raw;
use watertight_testkit::host::Host;
use watertight_testkit::wire::{self, Answer};

use crate::documents::door;

const FILES: [(&str, &str); 5] = [
    ("/openapi", "text/html; charset=utf-8"),
    ("/openapi/page.css", "text/css; charset=utf-8"),
    ("/openapi/page.js", "text/javascript; charset=utf-8"),
    ("/openapi/swagger-ui.css", "text/css; charset=utf-8"),
    ("/openapi/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
];
/// The number of tries that the host answers at once.
const MAX_TRIES: usize = 4;

fn ask(host: &Host, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    wire::once(host.admin(), &wire::request(method, path, headers, body.as_bytes())).unwrap()
}

/// Sends a request with the admin token.
fn ask_as_operator(host: &Host, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let token = format!("Bearer {}", host.token());
    let headers: Vec<_> = headers.iter().copied().chain([("authorization", &*token)]).collect();
    ask(host, method, path, &headers, body)
}

#[test]
fn the_page_is_made_of_files_of_the_listener_only() {
    let host = door("requests-routes.toml", "").launch().start();
    for (path, media_type) in FILES {
        let sent = ask(&host, "GET", path, &[("accept-encoding", "gzip, deflate")], "").expect(200);
        let is = |name: &str, value: &str| assert_eq!(sent.header(name), value, "{path}");
        is("content-type", media_type);
        is("content-encoding", "gzip");
        is("cache-control", "no-cache");
        is("x-content-type-options", "nosniff");
        is("referrer-policy", "no-referrer");
        is("cross-origin-resource-policy", "same-origin");
        let policy = sent.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|found| found == rule), "{path}: {rule} is not in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        let tag = sent.header("etag");
        let known = ask(&host, "GET", path, &[("if-none-match", tag)], "").expect(304);
        assert_eq!((known.header("etag"), &*known.text), (tag, ""));
        let head = ask(&host, "HEAD", path, &[], "").expect(200);
        assert_eq!(head.header("content-length"), sent.header("content-length"));
        assert_eq!(ask(&host, "POST", path, &[], "").expect(405).header("allow"), "GET,HEAD");
        assert_eq!(ask(&host, "GET", &format!("{path}?a=1"), &[], "").expect(400).body["errors"][0]["name"], "a");
        ask(&host, "GET", path, &[("accept-encoding", "identity")], "").expect(406);
    }
    ask(&host, "GET", "/openapi/", &[], "").expect(404);
    ask(&host, "GET", "/openapi/other.js", &[], "").expect(404);
}

#[tokio::test]
async fn the_page_names_no_other_address() {
    let host = door("requests-routes.toml", "").launch().start();
    for path in ["/openapi", "/openapi/page.js", "/openapi/page.css"] {
        let bytes = reqwest::get(host.admin_url(path)).await.unwrap().bytes().await.unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty() && !text.contains("http:") && !text.contains("https:"), "{path}: {text}");
    }
}

#[test]
fn the_page_s_document_says_where_requests_go() {
    let (serves, probe, passes) = (guest("serves"), guest("probe"), guest("passes"));
    let modules = format!(
        "[modules.serves]\ncomponent = {serves:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n\
         [modules.passes]\ncomponent = {passes:?}\nuses = [\"clocks\", \"config\"]\n"
    );
    let host = door("hosts-routes.toml", &modules).launch().start();
    ask(&host, "GET", "/openapi/document.json", &[], "").expect(401);
    let document = ask_as_operator(&host, "GET", "/openapi/document.json", &[], "").expect(200);
    assert_eq!((document.header("content-type"), document.header("cache-control")), ("application/json", "no-store"));
    assert_eq!(document.body["servers"], json!([{ "url": format!("http://{}", host.listen()) }]));
    let of_host = &document.body["paths"]["/who#api.example.com"]["get"]["servers"];
    assert_eq!(*of_host, json!([{ "url": "http://api.example.com" }]));
    let plain = ask_as_operator(&host, "GET", "/openapi.json", &[], "").expect(200);
    assert_eq!((&plain.body["servers"], &plain.body["info"]), (&json!(null), &document.body["info"]));

    // A try names the host of its operation.
    let who =
        |headers: &[(&str, &str)]| ask_as_operator(&host, "GET", "/openapi/try/who", headers, "").expect(200).text;
    assert!(who(&[]).contains("all hosts"));
    assert!(who(&[("try-host", "api.example.com")]).contains("api"));
    let refused = ask_as_operator(&host, "GET", "/openapi/try/who", &[("try-host", "a b")], "").expect(400);
    assert_eq!(refused.body["errors"][0]["name"], "host");
}

#[test]
fn tries_are_answered_by_the_data_listener() {
    let app = door("requests-routes.toml", "");
    let host = app.launch().start();
    let read =
        ask_as_operator(&host, "GET", "/openapi/try/plain?a=x&b=7", &[("x-request-id", "a-try")], "").expect(200);
    assert_eq!(read.body, json!("\"x\" Some(7) [] None"));
    assert_eq!((read.header("x-request-id"), read.header("try-x-request-id")), ("a-try", "a-try"));
    assert_eq!((read.header("try-watertight-generation"), read.header("watertight-generation")), ("1", ""));
    assert_eq!((read.header("content-type"), read.header("cache-control")), ("application/json", "no-store"));
    assert!(read.header("content-security-policy").contains("default-src 'none'"));

    let book = json!({ "title": "t", "tag": [], "pages": 3, "size": "small", "is_new": true, "big_id": 1 }).to_string();
    let direct = wire::request("POST", "/json", &[("content-type", "application/json")], book.as_bytes());
    let direct = wire::once(host.listen(), &direct).unwrap();
    let posted = ask_as_operator(&host, "POST", "/openapi/try/json", &[("content-type", "application/json")], &book);
    assert_eq!((posted.status, &posted.text), (direct.status, &direct.text));
    assert_eq!(posted.status, 200);

    // Errors are those of the data listener too.
    let missing = ask_as_operator(&host, "GET", "/openapi/try/no-such-path", &[], "").expect(404);
    assert_eq!(missing.body["type"], "/problems/no-such-path");
    let method = ask_as_operator(&host, "DELETE", "/openapi/try/plain", &[], "").expect(405);
    assert_eq!((method.header("allow"), method.header("try-allow")), ("", "GET, HEAD, OPTIONS"));
    let type_ = ask_as_operator(&host, "POST", "/openapi/try/json", &[("content-type", "text/css")], "a").expect(415);
    assert_eq!(type_.body["type"], "/problems/unsupported-media-type");
    let head = ask_as_operator(&host, "HEAD", "/openapi/try/plain?a=x&b=7", &[], "").expect(200);
    assert_eq!((head.header("content-length"), &*head.text), (read.header("content-length"), ""));
    let root = ask_as_operator(&host, "GET", "/openapi/try/", &[], "").expect(404);
    assert_eq!(root.header("try-watertight-generation"), "1");

    // Cookies of the browser stay out, and those of the try get there.
    let cookies = |headers: &[(&str, &str)]| ask_as_operator(&host, "GET", "/openapi/try/cookies", headers, "");
    cookies(&[("cookie", "sid=browser")]).expect(400);
    assert_eq!(
        cookies(&[("cookie", "sid=browser"), ("try-cookie", "sid=try")]).expect(200).body,
        "\"try\" None [] None"
    );
    for name in ["try-content-length", "try-transfer-encoding", "try-connection", "try-"] {
        let refused = ask_as_operator(&host, "GET", "/openapi/try/plain?a=x", &[(name, "1")], "").expect(400);
        assert_eq!(refused.body["errors"][0]["name"], name);
    }

    // A try is on the generation that is current.
    Operator::of(&host).apply(door("answers-routes.toml", "").path(), false).expect(200);
    ask_as_operator(&host, "GET", "/openapi/try/plain?a=x", &[], "").expect(404);
    let text = ask_as_operator(&host, "GET", "/openapi/try/page?text=hello", &[], "").expect(200);
    assert_eq!((&*text.text, text.header("try-watertight-generation")), ("hello", "2"));
    assert_eq!(text.header("content-type"), "text/html; charset=utf-8");
    assert!(text.header("content-security-policy").ends_with("sandbox"));
    // A browser would follow the address with the token.
    let moved = ask_as_operator(&host, "GET", "/openapi/try/moved?text=/rollback", &[], "").expect(303);
    assert_eq!((moved.header("location"), moved.header("try-location")), ("", "/rollback"));
}

#[test]
fn only_the_operator_can_try() {
    let host = door("requests-routes.toml", "").launch().start();
    let address = format!("http://{}", host.admin());
    let own = host.admin().to_string();
    for path in ["/openapi/document.json", "/openapi/try/plain?a=x"] {
        ask(&host, "GET", path, &[], "").expect(401);
        ask(&host, "GET", path, &[("authorization", "Bearer wrong")], "").expect(401);
        let with = |headers: &[(&str, &str)]| ask_as_operator(&host, "GET", path, headers, "");
        for headers in [
            [("origin", "http://evil.example"), ("host", &*own)],
            [("origin", "null"), ("host", &*own)],
            // A name of another page that leads to this address (DNS rebinding) is another origin.
            [("origin", &*address), ("host", "evil.example")],
            [("sec-fetch-site", "cross-site"), ("host", &*own)],
            [("sec-fetch-site", "same-site"), ("host", &*own)],
        ] {
            assert_eq!(with(&headers).expect(403).body["type"], "/problems/foreign-origin", "{headers:?}");
        }
        with(&[("origin", &address), ("host", &own)]).expect(200);
        with(&[("sec-fetch-site", "same-origin"), ("origin", "https://behind.example"), ("host", &own)]).expect(200);
    }
    // What a browser asks in advance for a page of another origin.
    let asked = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let preflight = ask(&host, "OPTIONS", "/openapi/try/plain", &asked, "").expect(401);
    assert_eq!(preflight.header("access-control-allow-origin"), "");
}

#[test]
fn tries_are_few_at_once() {
    let host = door("requests-routes.toml", "").launch().start();
    let token = format!("Bearer {}", host.token());
    let body = b"{\"title\": \"t\"}";
    let headers = [("authorization", &*token), ("content-type", "application/json"), ("expect", "100-continue")];
    let head = wire::head("POST", "/openapi/try/json", &headers, body.len());
    let mut open: Vec<Raw> = (0..MAX_TRIES).map(|_| Raw::connect(host.admin())).collect();
    for connection in &mut open {
        // The host has begun the try when it asks for the body.
        connection.send(&head).answer(false).expect(100);
    }
    let refused = ask_as_operator(&host, "GET", "/openapi/try/plain?a=x", &[], "").expect(503);
    assert_eq!((&refused.body["type"], refused.header("retry-after")), (&json!("/problems/overloaded"), "1"));
    // The operator's other requests and those of clients go on.
    ask_as_operator(&host, "GET", "/generations", &[], "").expect(200);
    wire::once(host.listen(), &wire::get("/plain?a=x")).unwrap().expect(200);
    for connection in &mut open {
        let answer = connection.send(body).answer(true);
        assert_eq!(answer.header("try-watertight-generation"), "1", "{answer:?}");
    }
    drop(open);
    // Places are free again.
    let freed = (0..MAX_TRIES).map(|_| ask_as_operator(&host, "GET", "/openapi/try/plain?a=x", &[], ""));
    freed.for_each(|answer| assert_eq!(answer.expect(200).body, json!("\"x\" None [] None")));
}
