//! Tests of handlers of `wasi:http` 0.3, beside a handler of 0.2.

use axum::http::{Method, Version};
use bytes::Bytes;
use hyper::body::Frame;
use watertight_testkit::app::{App, guest, handler_p3};

use crate::client::{ask, flowing, get, piece, read, start, whole};
use crate::{VERSIONS, until_idle};

const ROUTES: &str = r#"
[[mount]]
path = "/three"
module = "three"
strip = true

[[mount]]
path = "/web"
module = "web"
"#;

/// Returns an application that mounts a handler of WASI 0.3 at `/three`, and one of 0.2 at `/web`.
fn app(settings: &str) -> App {
    let (three, web, probe) = (handler_p3(), guest("serves"), guest("probe"));
    App::new(&format!(
        "[app]\nname = \"mounts\"\nroutes = [\"routes/*.toml\"]\n\
         [modules.three]\ncomponent = {three:?}\nuses = [\"clocks\"]\n\
         [modules.web]\ncomponent = {web:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n{settings}\n"
    ))
    .routes(ROUTES)
}

/// The manifest's words that place the handler of 0.3 alone, or with the others.
const PLACES: [&str; 2] = [
    "[compartments.three]\nmodules = [\"three\"]\n",
    "[compartments.all]\nmodules = [\"three\", \"web\", \"probe\"]\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_answer_in_one_application() {
    for place in PLACES {
        let host = app(place).launch().start();
        for version in VERSIONS {
            let hello = whole(host.listen(), version, "/three/hello").await.expect(200);
            assert_eq!((&*hello.text, hello.header("watertight-generation")), ("Hello, world!", "1"));
            assert_eq!(whole(host.listen(), version, "/three/none").await.expect(404).text, "");
            whole(host.listen(), version, "/web/hello").await.expect(200);
        }
        let head = start(Version::HTTP_11, Method::HEAD.as_str(), "/three/hello").body(Default::default()).unwrap();
        let head = read(ask(host.listen(), Version::HTTP_11, head).await).await.expect(200);
        assert_eq!((&*head.text, head.header("content-length")), ("", "13"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_flow_both_ways() {
    let host = app(PLACES[0]).launch().start();
    for version in VERSIONS {
        let (sender, body) = flowing();
        let echo = start(version, "POST", "/three/echo").body(body).unwrap();
        let mut answer = ask(host.listen(), version, echo).await;
        for number in 0..20 {
            let text = format!("piece {number}");
            sender.send(Frame::data(Bytes::from(text.clone()))).await.unwrap();
            assert_eq!(piece(&mut answer).await.unwrap(), Some(text), "{version:?}");
        }
        drop(sender);
        assert_eq!(piece(&mut answer).await.unwrap(), None);
        let large: String = (0..1_000_000).map(|number: u32| char::from(b'a' + (number % 23) as u8)).collect();
        let echo = start(version, "POST", "/three/echo").body(large.clone().into()).unwrap();
        assert!(read(ask(host.listen(), version, echo).await).await.expect(200).text == large);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_call() {
    let host = app(PLACES[0]).launch().start();
    for version in VERSIONS {
        let mut answer = get(host.listen(), version, "/three/trickle/100000/10").await;
        piece(&mut answer).await.unwrap().unwrap();
        drop(answer);
        until_idle(&host, 1).await;
        whole(host.listen(), version, "/three/hello").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_its_limits_of_time() {
    let limits = "[compartments.three.limits.stream]\nidle = \"1s\"\ntotal = \"2s\"\n";
    let host = app(&format!("{}{limits}", PLACES[0])).launch().start();
    for version in VERSIONS {
        let idle = whole(host.listen(), version, "/three/trickle/2/60000").await;
        assert!(idle.status == 200 && !idle.is_whole, "{idle:?}");
        let total = whole(host.listen(), version, "/three/trickle/1000/50").await;
        assert!(total.status == 200 && !total.is_whole && !total.text.is_empty(), "{total:?}");
    }
}
