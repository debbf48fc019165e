//! What modules know of requests: by the capability `context`, in one compartment and across two.

use serde_json::{Value, json};
use watertight_testkit::app::{App, guest};
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

/// Starts a host with the module `knows`, and `hears`, which calls it. `settings` is appended to the manifest.
fn start(settings: &str) -> Host {
    let (knows, hears) = (guest("knows"), guest("hears"));
    let manifest = format!(
        "[app]\nname = \"context\"\nroutes = [\"routes/*.toml\"]\n[modules.knows]\ncomponent = {knows:?}\nuses = [\"context\"]\n\
         [modules.hears]\ncomponent = {hears:?}\ncalls = [\"knows\"]\n{settings}\n"
    );
    App::new(&manifest).routes(ROUTES).launch().start()
}

#[test]
fn modules_know_their_request() {
    every_case_of("context", &start(""));
    every_case_of("context", &start(APART));
}

#[tokio::test]
async fn the_ids_and_the_time_are_those_of_the_request() {
    for settings in ["", APART] {
        let host = start(&format!("[defaults.limits]\nrequest = \"20s\"\n{settings}"));
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
