//! Tests of HTTP requests that modules send: their allowed destinations, and their limits.

mod connections;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use watertight_testkit::app::{App, guest};
use watertight_testkit::command::run;
use watertight_testkit::host::{self, Host};

/// Counts the requests that a test's HTTP server ("provider") has received.
#[derive(Clone, Default)]
pub(crate) struct RequestCounter(Arc<AtomicUsize>);

impl RequestCounter {
    pub(crate) fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(serde::Deserialize)]
struct To {
    to: String,
}

fn router(asked: RequestCounter) -> Router {
    // This body sends one byte and then stalls.
    let stall = || {
        Body::from_stream(
            futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from("x")) })
                .chain(futures::stream::pending()),
        )
    };
    let counted = |State(asked): State<RequestCounter>,
                   request: axum::extract::Request,
                   next: axum::middleware::Next| async move {
        asked.0.fetch_add(1, Ordering::SeqCst);
        next.run(request).await
    };
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route(
            "/host",
            get(|headers: header::HeaderMap| async move { headers[header::HOST].to_str().unwrap().to_owned() }),
        )
        .route("/length", any(|body: Bytes| async move { body.len().to_string() }))
        .route("/large", get(|| async { "l".repeat(300_000) }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(20)).await }))
        .route("/short-wait", get(|| async { tokio::time::sleep(Duration::from_millis(300)).await }))
        .route("/stall", get(move || async move { stall() }))
        .route(
            "/redirect",
            get(|Query(To { to }): Query<To>| async move {
                (StatusCode::FOUND, [(header::LOCATION, to)], "elsewhere").into_response()
            }),
        )
        .layer(axum::middleware::from_fn_with_state(asked, counted))
}

/// Starts an HTTP server on the loopback interface to which modules send requests. Returns its address and its counter. It stops at the end
/// of the test.
pub(crate) async fn provider() -> (SocketAddr, RequestCounter) {
    let asked = RequestCounter::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = axum::serve(listener, router(asked.clone()));
    tokio::spawn(async move { serving.await.unwrap() });
    (address, asked)
}

fn app(http: &str, settings: &str) -> App {
    let fetch = guest("fetch");
    App::new(&format!(
        "[app]\nname = \"fetching\"\n[modules.f]\ncomponent = {fetch:?}\nuses = [\"http\", \"clocks\"]\n[modules.f.http]\n{http}\n{settings}\n"
    ))
}

pub(crate) fn request(address: impl std::fmt::Display, path: &str) -> Value {
    json!({ "method": "GET", "scheme": "http", "authority": address.to_string(), "path": path, "body": 0 })
}

pub(crate) fn with(mut request: Value, key: &str, value: Value) -> Value {
    request[key] = value;
    request
}

async fn send(host: &Host, request: Value) -> Value {
    host.called("f/fetch.send", json!([request])).await
}

/// Makes the test guest `fetch` send a request. The host must refuse it with this error code.
async fn refused(host: &Host, request: Value, code: &str) {
    let said = send(host, request.clone()).await;
    assert!(said["err"].as_str().is_some_and(|error| error.contains(code)), "{request}: {said} is not {code}");
}

async fn outcomes(host: &Host) -> [u64; 4] {
    let text = watertight_testkit::client::client()
        .get(host.admin_url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    ["answered", "denied", "limit", "failed"].map(|outcome| {
        let series = format!("watertight_outbound_requests_total{{module=\"f\",outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
    })
}

#[tokio::test]
async fn requests_go_where_the_manifest_allows_and_nowhere_else() {
    let ((address, asked), (other, others)) = (provider().await, provider().await);
    let host = app(&format!("allow = [\"http://{address}\", \"https://*.example.com:8443\"]"), "").launch().start();
    let answer = send(&host, request(address, "/hello")).await;
    assert_eq!(answer["ok"], json!({ "status": 200, "location": null, "text": "hello", "length": 5 }));
    assert_eq!(send(&host, request(address, "/host")).await["ok"]["text"], address.to_string());
    assert_eq!(send(&host, request(address, "/none")).await["ok"]["status"], 404);
    let posted = with(with(request(address, "/length"), "method", "POST".into()), "body", 100_000.into());
    assert_eq!(send(&host, posted).await["ok"]["text"], "100000");
    assert_eq!((asked.times(), outcomes(&host).await), (4, [4, 0, 0, 0]));

    let denied = [
        request(other, "/hello"),
        request("localhost:80", "/hello"),
        request(format!("[::1]:{}", address.port()), "/hello"),
        // These authorities contain the allowed address, or resemble an allowed name.
        request(format!("user@{address}"), "/hello"),
        request(format!("{address}@{other}"), "/hello"),
        with(request("example.com:8443", "/"), "scheme", "https".into()),
        with(request("a.example.com.evil.test:8443", "/"), "scheme", "https".into()),
        with(request("a.example.com", "/"), "scheme", "https".into()),
        with(request(address, "/hello"), "scheme", "https".into()),
        // A tunnel through an allowed host could lead anywhere.
        with(request(address, "/hello"), "method", "CONNECT".into()),
    ];
    let times = denied.len() as u64;
    for request in denied {
        refused(&host, request, "HttpRequestDenied").await;
    }
    assert_eq!((asked.times(), others.times(), outcomes(&host).await), (4, 0, [4, times, 0, 0]));
    // Other protocols are refused as well.
    refused(&host, with(request(address, "/hello"), "scheme", "ftp".into()), "HttpProtocolError").await;
    assert!(host.has_logged(&format!(
        "a request to http://{other} is denied: no entry of the module's `http.allow` permits it"
    )));
    let log = host.log();
    let line = log.lines().find(|line| line.contains("is denied")).unwrap();
    assert!(line.contains("WARN module: ") && line.contains("module=\"f\"") && line.contains("request="), "{line}");
    // Without entries in `allow`, no request is allowed.
    let host = app("", "").launch().start();
    refused(&host, request(address, "/hello"), "HttpRequestDenied").await;
}

#[tokio::test]
async fn a_name_does_not_lead_inside_unless_it_may() {
    let (address, asked) = provider().await;
    let port = address.port();
    // The system's resolver parses the second name as an address. Every other parser sees a name.
    let allow = format!("allow = [\"http://localhost:{port}\", \"http://127.1:{port}\"]");
    let host = app(&allow, "").launch().start();
    for name in ["localhost", "LOCALHOST", "localhost.", "127.1"] {
        refused(&host, request(format!("{name}:{port}"), "/hello"), "DestinationIpProhibited").await;
    }
    assert_eq!((asked.times(), outcomes(&host).await), (0, [0, 4, 0, 0]));
    assert!(host.has_logged("is not an address of the public internet, and `http.private` is not set"));
    // The manifest allows the name, not the address.
    refused(&host, request(address, "/hello"), "HttpRequestDenied").await;

    let host = app(&format!("{allow}\nprivate = true"), "").launch().start();
    for name in ["localhost", "127.1"] {
        assert_eq!(send(&host, request(format!("{name}:{port}"), "/hello")).await["ok"]["status"], 200);
    }
    assert_eq!(asked.times(), 2);
}

#[tokio::test]
async fn a_redirect_is_a_new_request() {
    let ((address, asked), (other, others)) = (provider().await, provider().await);
    let host = app(&format!("allow = [\"http://{address}\"]"), "").launch().start();
    let away = request(address, &format!("/redirect?to=http://{other}/hello"));
    // The host doesn't follow redirects. It returns them.
    let answer = send(&host, away.clone()).await;
    assert_eq!(
        (&answer["ok"]["status"], &answer["ok"]["location"]),
        (&json!(302), &json!(format!("http://{other}/hello")))
    );
    let followed = host.called("f/fetch.follow", json!([away])).await;
    assert!(followed["err"].as_str().unwrap().contains("HttpRequestDenied"), "{followed}");
    assert_eq!((asked.times(), others.times()), (2, 0));
    let home = request(address, &format!("/redirect?to=http://{address}/hello"));
    assert_eq!(host.called("f/fetch.follow", json!([home])).await["ok"]["text"], "hello");
}

#[tokio::test]
async fn a_request_is_bounded_in_size_time_and_number() {
    let (address, _) = provider().await;
    let bounds = "request = \"64KiB\"\nresponse = \"128KiB\"\ntimeout = \"3s\"\nconcurrent = 3";
    let host = app(&format!("allow = [\"http://{address}\"]\n{bounds}"), "").launch().start();
    let posted = |bytes: u32| with(with(request(address, "/length"), "method", "POST".into()), "body", bytes.into());
    assert_eq!(send(&host, posted(64 << 10)).await["ok"]["text"], "65536");
    refused(&host, posted((64 << 10) + 1), "HttpRequestBodySize").await;
    // An error in the middle of a body reaches the guest only as text, without a code.
    refused(&host, request(address, "/large"), "HTTP response body size exceeds limit: 131072 bytes").await;
    let asked_at = Instant::now();
    refused(&host, request(address, "/slow"), "ConnectionReadTimeout").await;
    refused(&host, request(address, "/stall"), "connection read timeout").await;
    let took = asked_at.elapsed();
    assert!((Duration::from_millis(5_500)..Duration::from_secs(20)).contains(&took), "{took:?}");
    // A module may set a shorter timeout, and no longer one.
    let hasty = with(request(address, "/slow"), "first_byte_milliseconds", 50.into());
    let asked_at = Instant::now();
    refused(&host, hasty, "ConnectionReadTimeout").await;
    assert!(asked_at.elapsed() < Duration::from_millis(2_500));
    refused(&host, with(request(address, "/slow"), "first_byte_milliseconds", 60_000.into()), "ConnectionReadTimeout")
        .await;

    let many = |path: &str, times: u32| json!([request(address, path), times]);
    let said = host.called("f/fetch.send-many", many("/short-wait", 8)).await;
    let said: Vec<&str> = said.as_array().unwrap().iter().map(|said| said.as_str().unwrap()).collect();
    let full = said.iter().filter(|said| said.contains("ConnectionLimitReached")).count();
    assert_eq!((said.iter().filter(|said| **said == "200").count(), full), (3, 5), "{said:?}");
    assert!(host.has_logged("its limit `http.concurrent` of 3"));
    // The places of the refused requests are free again.
    assert_eq!(host.called("f/fetch.send-many", many("/hello", 3)).await, json!(["200", "200", "200"]));

    // Requests that a call leaves behind end at their timeout.
    let mut tries = 0;
    loop {
        for _ in 0..3 {
            host.called("f/fetch.send-and-leave", json!([request(address, "/slow")])).await;
        }
        let said = send(&host, request(address, "/hello")).await;
        if said["err"].as_str().is_some_and(|error| error.contains("ConnectionLimitReached")) {
            break;
        }
        // On a slow machine, the first may have ended before the last is sent. Then try again.
        tries += 1;
        assert!(tries < 5, "{said}");
    }
    let left_at = Instant::now();
    while send(&host, request(address, "/hello")).await["ok"]["text"] != "hello" {
        assert!(left_at.elapsed() < Duration::from_secs(20), "requests that a call left behind do not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_call_s_own_end_ends_its_request() {
    let (address, _) = provider().await;
    let settings = "[defaults.limits]\nrequest = \"500ms\"";
    let host = app(&format!("allow = [\"http://{address}\"]"), settings).launch().start();
    let asked_at = Instant::now();
    let answer = host.call("f/fetch.send", &json!([request(address, "/slow")])).await;
    // The request and the call end at the same moment, so either may be reported.
    assert!(
        answer.status == 504 || answer.body["result"]["err"].as_str().is_some_and(|e| e.contains("Timeout")),
        "{answer:?}"
    );
    assert!(asked_at.elapsed() < Duration::from_secs(5));
    assert_eq!(send(&host, request(address, "/hello")).await["ok"]["status"], 200);
    // No server listens on this port, which was free a moment ago.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let host = app(&format!("allow = [\"http://{gone}\"]"), "").launch().start();
    refused(&host, request(gone, "/hello"), "ConnectionRefused").await;
    assert_eq!(outcomes(&host).await, [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_server_of_https_must_be_the_one_that_it_says() {
    let asked = RequestCounter::default();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let service = router(asked.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that doesn't trust the certificate closes the connection.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(hyper_util::rt::TokioIo::new(stream), service));
        }
    });
    let folder = host::folder();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, made.cert.pem()).unwrap();
    let app = app(&format!("allow = [\"https://localhost:{port}\", \"https://127.0.0.1:{port}\"]\nprivate = true"), "");
    let secure = |name: &str| with(request(format!("{name}:{port}"), "/hello"), "scheme", "https".into());
    let host = app.launch().variable("SSL_CERT_FILE", trusted.to_str().unwrap()).start();
    assert_eq!(send(&host, secure("localhost")).await["ok"]["text"], "hello");
    // The certificate is for another name.
    refused(&host, secure("127.0.0.1"), "TlsCertificateError").await;
    drop(host);
    // Without `SSL_CERT_FILE`, the host doesn't trust the certificate.
    let host = app.launch().start();
    refused(&host, secure("localhost"), "TlsCertificateError").await;
    assert_eq!(asked.times(), 1);
    drop(host);
    // The host trusts another certificate first. It reads the changed file at SIGHUP.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&trusted, other.cert.pem()).unwrap();
    // The folder of the system's certificates is replaced by an empty one.
    let none = folder.path().join("none");
    std::fs::create_dir(&none).unwrap();
    let launch = app.launch().variable("SSL_CERT_FILE", trusted.to_str().unwrap());
    let host = launch.variable("SSL_CERT_DIR", none.to_str().unwrap()).start();
    refused(&host, secure("localhost"), "TlsCertificateError").await;
    std::fs::write(&trusted, made.cert.pem()).unwrap();
    host.signal(rustix::process::Signal::HUP);
    assert!(host.has_logged("SIGHUP: the certificates that the system trusts were read again"), "{}", host.log());
    assert_eq!(send(&host, secure("localhost")).await["ok"]["text"], "hello");
    // A file without certificates changes nothing.
    std::fs::write(&trusted, "").unwrap();
    host.signal(rustix::process::Signal::HUP);
    assert!(host.has_logged("the certificates read before stay trusted"), "{}", host.log());
    assert_eq!(send(&host, secure("localhost")).await["ok"]["text"], "hello");
    // Further requests check the server again, although a connection to it is open.
    std::fs::write(&trusted, other.cert.pem()).unwrap();
    host.signal(rustix::process::Signal::HUP);
    let signalled_at = Instant::now();
    while !send(&host, secure("localhost")).await["ok"].is_null() {
        assert!(signalled_at.elapsed() < Duration::from_secs(20), "a connection outlives its certificate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused(&host, secure("localhost"), "TlsCertificateError").await;
}

#[tokio::test]
async fn a_module_without_the_grant_is_refused_by_its_import() {
    let (fetch, slow) = (guest("fetch"), guest("slow"));
    let ungranted =
        App::new(&format!("[app]\nname = \"x\"\n[modules.f]\ncomponent = {fetch:?}\nuses = [\"clocks\"]\n"));
    let said = run(host::binary().args(["check", "--json"]).arg(ungranted.path())).expect(1).json();
    let problems = said["problems"].as_array().unwrap();
    let imports: Vec<&str> = problems.iter().map(|problem| problem["interface"].as_str().unwrap()).collect();
    assert!(imports.iter().any(|name| name.starts_with("wasi:http/outgoing-handler@0.2.")), "{said}");
    assert!(problems.iter().all(|problem| problem["code"] == "ungranted" && problem["module"] == "f"), "{said}");
    assert!(problems[0]["help"].as_str().unwrap().contains("add \"http\" to `uses` of [modules.f]"), "{said}");

    // A swap to a build that needs more grants is refused, and the running build still serves.
    let app = App::new(&format!("[app]\nname = \"x\"\n[modules.f]\ncomponent = {slow:?}\n"));
    let host = app.launch().start();
    let mut command = host::binary();
    command.args(["swap", "f", fetch.to_str().unwrap()]).arg("--state").arg(host.state());
    let said = run(&mut command).expect(1);
    assert!(said.err.contains("wasi:http/outgoing-handler@0.2."), "{}", said.err);
    assert_eq!(host.admin_get("/generations").await.expect(200).body["current"], 1);
}

#[tokio::test]
async fn a_module_that_asks_others_shares_a_compartment_and_its_grant_changes_with_the_manifest() {
    let (address, _) = provider().await;
    let pair = guest("probe");
    let others = format!("[modules.p]\ncomponent = {pair:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n");
    let app = app("", &others);
    let host = app.launch().start();
    let modules = host.admin_get("/modules").await.expect(200).body;
    assert!(modules["modules"].as_array().unwrap().iter().all(|module| module["compartment"] == "main"), "{modules}");
    refused(&host, request(address, "/hello"), "HttpRequestDenied").await;
    let manifest = std::fs::read_to_string(app.path().join("app.toml")).unwrap();
    let allowed =
        manifest.replace("[modules.f.http]\n", &format!("[modules.f.http]\nallow = [\"http://{address}\"]\n"));
    std::fs::write(app.path().join("app.toml"), allowed).unwrap();
    run(host::binary().arg("apply").arg(app.path()).arg("--state").arg(host.state())).expect(0);
    assert_eq!(send(&host, request(address, "/hello")).await["ok"]["text"], "hello");
}
