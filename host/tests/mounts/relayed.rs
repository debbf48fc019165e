//! Tests of a handler of `wasi:http` 0.3 whose bodies come from another compartment, or go there, without the handler in between.

use axum::http::Version;
use http_body_util::BodyExt as _;
use watertight_testkit::app::{App, guest};
use watertight_testkit::host::Host;

use crate::client::{ask, get, piece, read, start, whole};
use crate::{VERSIONS, metric, until, until_idle};

/// Starts a host whose module `web` answers with the streams of the module `feeds`, which stands in another compartment.
fn host(settings: &str) -> Host {
    let (pours, feeds) = (guest("pours"), guest("feeds"));
    App::new(&format!(
        "[app]\nname = \"mounts\"\nroutes = [\"routes/*.toml\"]\n\
         [modules.web]\ncomponent = {pours:?}\ncalls = [\"feeds\"]\n[modules.feeds]\ncomponent = {feeds:?}\n{settings}\n"
    ))
    .routes("[[mount]]\npath = \"/web\"\nmodule = \"web\"\n")
    .launch()
    .start()
}

fn post(version: Version, path: &str, body: &str) -> axum::http::Request<axum::body::Body> {
    start(version, "POST", path).body(body.to_owned().into()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_flow_from_and_to_another_compartment() {
    let host = host("");
    let large: String = (0..1_000_000).map(|number: u32| char::from(b'a' + (number % 23) as u8)).collect();
    for version in VERSIONS {
        for count in [0, 1, 100_000_u32] {
            let answer = get(host.listen(), version, &format!("/web/bytes/{count}")).await;
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(body.iter().copied().eq((0..count).map(|number| (number % 251) as u8)), "{version:?} {count}");
        }
        let total = ask(host.listen(), version, post(version, "/web/total/0", &large)).await;
        assert_eq!(read(total).await.expect(200).text, "1000000");
        let through = ask(host.listen(), version, post(version, "/web/through/0", &large)).await;
        assert!(read(through).await.expect(200).text == large);
    }
    until_idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_the_call_in_the_other_compartment() {
    let host = host("");
    for version in VERSIONS {
        let mut answer = get(host.listen(), version, "/web/endless/0").await;
        piece(&mut answer).await.unwrap().unwrap();
        drop(answer);
        until_idle(&host, 1).await;
        let running = "watertight_module_calls_running{module=\"feeds\"}";
        until("no call runs in the other compartment", async || metric(&host, running).await == 0).await;
        whole(host.listen(), version, "/web/hello/0").await.expect(200);
    }
}

/// What another compartment streams lasts as long as the exchange that it is for, beyond its own limit of time.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_last_longer_than_calls_of_its_module() {
    let limits = "[compartments.web]\nmodules = [\"web\"]\nlimits.stream = { total = \"2s\" }\n\
                  [compartments.feeds]\nmodules = [\"feeds\"]\nlimits.request = \"300ms\"\n";
    let host = host(limits);
    for version in VERSIONS {
        let begin = std::time::Instant::now();
        let mut answer = get(host.listen(), version, "/web/endless/0").await;
        while let Ok(Some(_)) = piece(&mut answer).await {}
        assert!(begin.elapsed() > std::time::Duration::from_secs(1), "{:?}", begin.elapsed());
        until_idle(&host, 1).await;
    }
}
