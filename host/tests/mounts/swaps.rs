//! Tests of changes while streams are open: a stream stays on its generation, and ends with it at the latest.

use std::fs;

use axum::body::Body;
use rustix::process::Signal;
use watertight_testkit::admin::Operator;
use watertight_testkit::app::{App, guest, shares};
use watertight_testkit::builds::with_build_id;
use watertight_testkit::host::Host;

use crate::client::{ask, get, piece, read, start, whole};
use crate::{VERSIONS, app, until};

/// Replaces the mounted module by another build of the same code. Returns the number of the new generation.
async fn swap(host: &Host, build: &str) -> u64 {
    let component = with_build_id(&fs::read(guest("serves")).unwrap(), build);
    let operator = Operator::of(host);
    tokio::task::spawn_blocking(move || operator.swapped("web", &component)).await.unwrap()
}

async fn until_freed(host: &Host) {
    let operator = Operator::of(host);
    let draining = async || {
        let operator = operator.clone();
        let told = tokio::task::spawn_blocking(move || operator.generations()).await.unwrap();
        told["draining"].as_array().unwrap().len()
    };
    until("the old generation is freed", async || draining().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_on_the_generation_where_it_began() {
    let host = app("").launch().start();
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let before = 1 + number as u64;
        let mut stream = get(host.listen(), version, "/web/trickle?pieces=20&millis=100").await;
        assert_eq!(piece(&mut stream).await.unwrap(), Some("0\n".to_owned()));
        assert_eq!(swap(&host, &format!("streams{number}")).await, before + 1);
        let next = whole(host.listen(), version, "/web/hello").await.expect(200);
        assert_eq!(next.header("watertight-generation"), (before + 1).to_string());
        let rest = read(stream).await.expect(200);
        assert_eq!(rest.header("watertight-generation"), before.to_string());
        assert!(rest.text.ends_with("\n19\n"), "{rest:?}");
    }
    until_freed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_generation_is_cut_off() {
    let host = app("[http]\ndrain = \"500ms\"\n").launch().start();
    let mut streams = Vec::new();
    for version in VERSIONS {
        // Server-sent events end cleanly, so that their clients connect again. Other answers must not look complete.
        for (path, is_whole) in [("/web/events?millis=50", true), ("/web/hang", false), ("/web/spin", false)] {
            let mut stream = get(host.listen(), version, path).await;
            piece(&mut stream).await.unwrap();
            streams.push((path, is_whole, stream));
        }
    }
    assert_eq!(swap(&host, "cutoff").await, 2);
    for (path, is_whole, stream) in streams {
        let rest = read(stream).await;
        assert_eq!((rest.header("watertight-generation"), rest.is_whole), ("1", is_whole), "{path}: {rest:?}");
    }
    until_freed(&host).await;
    assert!(!host.log().contains("still counts as draining"), "{}", host.log());
    for version in VERSIONS {
        assert_eq!(whole(host.listen(), version, "/web/hello").await.expect(200).header("watertight-generation"), "2");
    }
}

/// The number of middlewares in front of the streams of the test below.
const CHAIN: usize = 8;

/// Returns an application with a chain of middlewares in front of handlers of both versions. `settings` is appended to the manifest.
fn chain(settings: &str) -> App {
    let (passes, web, probe, shares) = (guest("passes"), guest("serves"), guest("probe"), shares());
    let (mut modules, mut routes) = (String::new(), String::new());
    for number in 0..CHAIN {
        modules += &format!("[modules.m{number}]\ncomponent = {passes:?}\nuses = [\"clocks\", \"config\"]\n");
        routes += &format!("[[middleware]]\npath = \"/\"\nmodule = \"m{number}\"\n");
    }
    App::new(&format!(
        "[app]\nname = \"mounts\"\nroutes = [\"routes/*.toml\"]\n[http]\ndrain = \"500ms\"\n\
         {modules}[modules.web]\ncomponent = {web:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n\
         [modules.shares]\ncomponent = {shares:?}\nuses = [\"sql\", \"http\", \"clocks\", \"context\"]\n\
         [defaults.limits]\ncalls = 2000\nstream.idle = \"10m\"\n{settings}\n"
    ))
    .routes(&format!(
        "{routes}[[mount]]\npath = \"/web\"\nmodule = \"web\"\n\
         [[mount]]\npath = \"/shares\"\nmodule = \"shares\"\nstrip = true\n"
    ))
}

/// The calls of a chain are cut off in any order. A stream of events ends cleanly all the same, also one that a middleware makes of an answer
/// that is cut off itself.
#[tokio::test(flavor = "multi_thread")]
async fn events_behind_middlewares_end_when_their_generation_is_cut_off() {
    for settings in ["", "[defaults.instances]\nconcurrent = 64\n"] {
        let host = chain(settings).launch().start();
        let mut streams = Vec::new();
        for version in VERSIONS {
            for order in ["pass", "copy", "events"] {
                for path in ["/web/events?millis=20", "/shares/events/20", "/web/hang"] {
                    let request = start(version, "GET", path).header("x-middleware", order);
                    let mut stream = ask(host.listen(), version, request.body(Body::empty()).unwrap()).await;
                    assert_eq!(stream.status(), 200);
                    piece(&mut stream).await.unwrap().unwrap();
                    streams.push((path, order, stream));
                }
            }
        }
        assert_eq!(swap(&host, "chain").await, 2);
        for (path, order, stream) in streams {
            let (is_whole, rest) = (order == "events" || path != "/web/hang", read(stream).await);
            assert_eq!(rest.is_whole, is_whole, "{path}, {order}, {settings}: {rest:?}\n{}", host.log());
        }
        until_freed(&host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_host_stops() {
    let mut host = app("[http]\ndrain = \"500ms\"\n").launch().start();
    let mut streams = Vec::new();
    for version in VERSIONS {
        for (path, is_whole) in [("/web/events?millis=50", true), ("/web/hang", false)] {
            let mut stream = get(host.listen(), version, path).await;
            piece(&mut stream).await.unwrap();
            streams.push((path, is_whole, stream));
        }
    }
    host.signal(Signal::TERM);
    for (path, is_whole, stream) in streams {
        let rest = read(stream).await;
        assert_eq!(rest.is_whole, is_whole, "{path}: {rest:?}");
    }
    let ended = tokio::task::spawn_blocking(move || (host.wait().code(), host.has_logged("did not end in time")));
    assert_eq!(ended.await.unwrap(), (Some(0), true));
}
