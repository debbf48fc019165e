//! What modules know of requests: by the capability `context`, in one compartment and across two, and by what trusted proxies say.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::app::{App, guest};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;
use watertight_testkit::wire;

use crate::cases::every_case_of;

const ROUTES: &str = r#"
[[route]]
method = "GET"
path = "/seen"
call = "knows/knows.seen"

[[route]]
method = "GET"
path = "/ids"
call = "knows/knows.ids"

[[route]]
method = "GET"
path = "/hears/seen"
call = "hears/hears.seen"

[[route]]
method = "GET"
path = "/hears/ids"
call = "hears/hears.ids"
"#;

/// Settings that put the two modules into compartments of their own.
const APART: &str = "[compartments.one]\nmodules = [\"knows\"]\n[compartments.two]\nmodules = [\"hears\"]\n";

/// Starts a host with the module `knows`, and `hears`, which calls it. `settings` is appended to the manifest, and `routes` to the routes.
fn start(settings: &str, routes: &str) -> Host {
    App::new(&manifest(settings)).routes(&format!("{ROUTES}{routes}")).launch().start()
}

fn manifest(settings: &str) -> String {
    let (knows, hears) = (guest("knows"), guest("hears"));
    format!(
        "[app]\nname = \"context\"\nroutes = [\"routes/*.toml\"]\n[modules.knows]\ncomponent = {knows:?}\nuses = [\"context\"]\n\
         [modules.hears]\ncomponent = {hears:?}\ncalls = [\"knows\"]\n{settings}\n"
    )
}

#[test]
fn modules_know_their_request() {
    every_case_of("context", &start("", ""));
    every_case_of("context", &start(APART, ""));
}

#[tokio::test]
async fn the_ids_and_the_time_are_those_of_the_request() {
    for settings in ["", APART] {
        let host = start(&format!("[defaults.limits]\nrequest = \"20s\"\n{settings}"), "");
        for path in ["/ids", "/hears/ids"] {
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
            let parent = format!("00-{trace}-00f067aa0ba902b7-01");
            let headers = [("x-request-id", "mine"), ("traceparent", &*parent)];
            let answer = wire::once(host.listen(), &wire::request("GET", path, &headers, b"")).unwrap().expect(200);
            let Value::Array(ids) = &answer.body else { panic!("{answer:?}") };
            assert_eq!(ids[..2], [json!("mine"), json!(trace)], "{path}: {answer:?}");
            assert!((1..=20_000).contains(&ids[2].as_u64().unwrap()), "{path}: {answer:?}");
            let other = wire::once(host.listen(), &wire::get(path)).unwrap().expect(200);
            assert_eq!(other.body[0], other.header("x-request-id"), "{path}: {other:?}");
            assert_ne!(other.body[1], trace);
        }
        // The call of an operator belongs to no request, also where a request came before it.
        for (function, nothing) in [("ids", json!([null, null, null])), ("seen", json!("- - - -"))] {
            for module in ["knows/knows", "hears/hears"] {
                assert_eq!(host.called(&format!("{module}.{function}"), json!([])).await, nothing);
            }
        }
    }
}

/// A module with a handler of its own, and one that it calls.
fn mounted() -> (String, String) {
    let (serves, probe) = (guest("serves"), guest("probe"));
    let modules = format!(
        "[modules.serves]\ncomponent = {serves:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n"
    );
    (modules, "[[mount]]\npath = \"/web\"\nmodule = \"serves\"\n".to_owned())
}

/// A handler knows the request that it serves, on instances that have served others and while its answer is sent.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_know_their_request() {
    let (modules, mount) = mounted();
    let host = start(&modules, &mount);
    let ask = (0..30).map(async |number: usize| {
        // Three at a time, each of which the instances of the last three may serve.
        tokio::time::sleep(Duration::from_millis(10 * number as u64)).await;
        let (id, trace) = (format!("request-{number}"), format!("{:032x}", number + 1));
        let request = client()
            .get(host.url("/web/context?wait=30"))
            .header("host", format!("h{number}.example:80"))
            .header("x-request-id", &id)
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .header("accept-language", format!("de-{number}"));
        let known = format!("{id} {trace} h{number}.example de-{number} true");
        assert_eq!(send(request).await.expect(200).text, format!("{known}\n{known}"));
    });
    join_all(ask).await;
}

#[test]
fn trusted_proxies_say_who_the_client_is() {
    let (modules, mount) = mounted();
    let trusted = "[http]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8::/32\"]\n";
    let host = start(&format!("{trusted}{modules}"), &mount);
    every_case_of("proxies", &host);
    for (proto, scheme) in [("https", "Https"), ("http", "Http"), ("gopher", "Http")] {
        for path in ["/web/seen", "https://test/web/seen"] {
            let request = wire::request("GET", path, &[("x-forwarded-proto", proto)], b"");
            let seen = wire::once(host.listen(), &request).unwrap().expect(200).text;
            assert!(seen.contains(&format!("scheme: Some(Scheme::{scheme})")), "{path} {proto}: {seen}");
            assert!(seen.contains("authority: test\n"), "{path} {proto}: {seen}");
        }
    }
}

/// The host trusts networks of another generation from the next request on.
#[tokio::test]
async fn trusted_proxies_change_with_the_generation() {
    let host = start("", "");
    let seen = || {
        let request = wire::request("GET", "/seen", &[("x-forwarded-for", "192.0.2.7")], b"");
        wire::once(host.listen(), &request).unwrap().expect(200).text
    };
    assert_eq!(seen(), "\"127.0.0.1 http test -\"");
    let manifest = manifest("[http]\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let app = App::new(&manifest).routes(ROUTES);
    let operator = Operator::of(&host);
    let plan = operator.apply(app.path(), true).expect(200);
    assert!(plan.text.contains("http.trusted_proxies"), "{plan:?}");
    published(&operator.apply(app.path(), false));
    assert_eq!(seen(), "\"192.0.2.7 http test -\"");
    operator.rollback(None);
    assert_eq!(seen(), "\"127.0.0.1 http test -\"");
}
