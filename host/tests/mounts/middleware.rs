//! Tests of middlewares: modules in front of routes and mounts, over real sockets.

use std::fs;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use watertight_testkit::admin::Operator;
use watertight_testkit::app::{App, components_of, guest, handler_p3};
use watertight_testkit::builds::with_build_id;
use watertight_testkit::paths::repository;

use crate::cases::Cases;
use crate::client::{ask, flowing, get, piece, read, start, whole};
use crate::{VERSIONS, metric, until, until_idle};

const ROUTES: &str = r#"
[[cors]]
origins = ["https://shop.example.com"]

[[middleware]]
path = "/"
module = "first"

[[middleware]]
path = "/web"
module = "second"

[[mount]]
path = "/web"
module = "web"

[[mount]]
path = "/three"
module = "three"
strip = true

[[route]]
method = "GET"
path = "/web/handled"
call = "web/serves.handled"

[[route]]
method = "GET"
path = "/only"
call = "probe/acts.echo"

[[route]]
method = "POST"
path = "/text"
call = "probe/acts.text"
body = "*"

[[route]]
method = "GET"
path = "/wait"
call = "probe/acts.wait"
"#;

/// Returns an application with two middlewares, a handler of each version and routes. `settings` is appended to the manifest.
fn app(settings: &str) -> App {
    let (passes, three, web, probe) = (guest("passes"), handler_p3(), guest("serves"), guest("probe"));
    App::new(&format!(
        "[app]\nname = \"mounts\"\nroutes = [\"routes/*.toml\"]\n\
         [modules.first]\ncomponent = {passes:?}\nuses = [\"clocks\", \"config\"]\n\
         [modules.second]\ncomponent = {passes:?}\nuses = [\"clocks\", \"config\"]\n\
         [modules.three]\ncomponent = {three:?}\nuses = [\"clocks\"]\n\
         [modules.web]\ncomponent = {web:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n{settings}\n"
    ))
    .routes(ROUTES)
}

/// Limits that let a middleware fail soon.
const SHORT: &str = "[compartments.first]\nmodules = [\"first\"]\nlimits.request = \"2s\"\nlimits.cpu = \"200ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_of_middlewares() {
    every_case(SHORT).await;
}

/// Requests that share an instance each pass on to what answers them.
#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_on_shared_instances() {
    every_case(&format!("{SHORT}instances.concurrent = 8\n")).await;
}

async fn every_case(settings: &str) {
    let text = fs::read_to_string(repository().join("host/tests/mounts/middleware.toml")).unwrap();
    let cases: Cases = toml::from_str(&text).unwrap();
    let host = app(settings).launch().start();
    let mut wrong = Vec::new();
    for case in &cases.case {
        for version in VERSIONS {
            let answer = case.ask(&host, version, None).await;
            wrong
                .extend(case.faults(&answer).into_iter().map(|fault| format!("{} in {version:?}: {fault}", case.name)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", host.log(), wrong.join("\n"));
    // What a middleware answered by itself counts for the route that the client asked for.
    let denied = "watertight_http_requests_total{method=\"*\",route=\"/web/*\",status=\"401\"}";
    assert_eq!(metric(&host, denied).await, 4);
    until_idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_flow_through_middlewares() {
    let host = app("").launch().start();
    for version in VERSIONS {
        for path in ["/web/echo", "/three/echo"] {
            for order in ["pass", "copy"] {
                let (sender, body) = flowing();
                let echo = start(version, "POST", path).header("x-middleware", order).body(body).unwrap();
                let mut answer = ask(host.listen(), version, echo).await;
                for number in 0..10 {
                    let text = format!("piece {number}");
                    sender.send(Frame::data(Bytes::from(text.clone()))).await.unwrap();
                    assert_eq!(piece(&mut answer).await.unwrap(), Some(text), "{version:?} {path} {order}");
                }
                drop(sender);
                assert_eq!(piece(&mut answer).await.unwrap(), None, "{version:?} {path} {order}");
                let large: String = (0..1_000_000).map(|number: u32| char::from(b'a' + (number % 23) as u8)).collect();
                let echo = start(version, "POST", path).header("x-middleware", order);
                let answer = ask(host.listen(), version, echo.body(large.clone().into()).unwrap()).await;
                assert!(read(answer).await.expect(200).text == large, "{version:?} {path} {order}");
            }
        }
    }
    until_idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_all_calls_behind_a_middleware() {
    let host = app("").launch().start();
    for version in VERSIONS {
        for path in ["/web/trickle?pieces=100000&millis=10", "/three/trickle/100000/10"] {
            for order in ["pass", "copy"] {
                let request = start(version, "GET", path).header("x-middleware", order).body(Body::empty()).unwrap();
                let mut answer = ask(host.listen(), version, request).await;
                piece(&mut answer).await.unwrap().unwrap();
                drop(answer);
                until_idle(&host, 1).await;
            }
        }
        whole(host.listen(), version, "/web/hello").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_stays_on_one_generation_of_all_that_it_passes() {
    let host = app("").launch().start();
    let swap = async |module: &'static str, build: &str| {
        let component = with_build_id(&fs::read(guest("passes")).unwrap(), build);
        let operator = Operator::of(&host);
        tokio::task::spawn_blocking(move || operator.swapped(module, &component)).await.unwrap()
    };
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let before = 1 + 2 * number as u64;
        let mut stream = get(host.listen(), version, "/web/trickle?pieces=20&millis=100").await;
        piece(&mut stream).await.unwrap().unwrap();
        swap("first", &format!("first{number}")).await;
        swap("second", &format!("second{number}")).await;
        let next = whole(host.listen(), version, "/web/hello").await.expect(200);
        assert_eq!(next.header("watertight-generation"), (before + 2).to_string());
        let rest = read(stream).await.expect(200);
        assert_eq!(rest.header("watertight-generation"), before.to_string());
        assert!(rest.text.ends_with("\n19\n"), "{rest:?}");
    }
}

/// A middleware that traps beside a stream that passes it by costs only its own request.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_of_a_middleware_costs_its_own_request() {
    let host = app("").launch().start();
    for version in VERSIONS {
        let mut stream = get(host.listen(), version, "/web/trickle?pieces=30&millis=50").await;
        piece(&mut stream).await.unwrap().unwrap();
        for _ in 0..10 {
            let trap = start(version, "GET", "/web/hello").header("x-middleware", "trap").body(Body::empty()).unwrap();
            read(ask(host.listen(), version, trap).await).await.expect(500);
            whole(host.listen(), version, "/web/hello").await.expect(200);
        }
        read(stream).await.expect(200);
    }
    until("the places are free", async || {
        metric(&host, "watertight_module_calls_running{module=\"first\"}").await == 0
    })
    .await;
}

/// The example application, with its own manifest and routes.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_checks_signatures_and_adds_headers() {
    const FOLDER: &str = "host/examples/middleware";
    let example = repository().join(FOLDER);
    let components = tokio::task::spawn_blocking(|| components_of(FOLDER)).await.unwrap();
    let mut manifest = fs::read_to_string(example.join("app.toml")).unwrap();
    for module in ["hooks", "headers", "signature"] {
        let file = components.join(module).with_extension("wasm");
        manifest = manifest.replace(&format!("component = \"{module}\""), &format!("component = {file:?}"));
    }
    let app = App::new(&manifest).routes(&fs::read_to_string(example.join("routes/hooks.toml")).unwrap());
    let host = app.launch().variable("HOOKS_KEY", "secret").start();
    let body = r#"{"kind":"order","number":7}"#;
    let signature = "sha256=cdb6039ee499ebbb8e7acb266375896b1c8c2fe6dd2de56035fe1cc1d5cdfa94";
    for version in VERSIONS {
        let send = async |body: &str, signature: Option<&str>| {
            let mut request = start(version, "POST", "/hooks").header("content-type", "application/json");
            if let Some(signature) = signature {
                request = request.header("x-signature", signature);
            }
            let answer = read(ask(host.listen(), version, request.body(body.to_owned().into()).unwrap()).await).await;
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            answer
        };
        assert_eq!(send(body, Some(signature)).await.expect(200).text, "\"order number 7\"");
        send(&format!("{body} "), Some(signature)).await.expect(401);
        send(body, Some("sha256=00")).await.expect(401);
        send(body, Some("md5=00")).await.expect(401);
        send(body, None).await.expect(401);
        let elsewhere = whole(host.listen(), version, "/elsewhere").await.expect(404);
        assert_eq!(elsewhere.header("x-content-type-options"), "nosniff");
    }
}

/// What a middleware keeps of an answer ends with its call.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_middleware_keeps_ends_with_its_call() {
    let host = app("").launch().start();
    for version in VERSIONS {
        for path in ["/web/trickle?pieces=100000&millis=10", "/three/trickle/100000/10"] {
            for _ in 0..10 {
                let keep = start(version, "GET", path).header("x-middleware", "keep").body(Body::empty()).unwrap();
                read(ask(host.listen(), version, keep).await).await.expect(203);
            }
        }
    }
    until_idle(&host, 1).await;
    whole(host.listen(), axum::http::Version::HTTP_11, "/web/hello").await.expect(200);
}
