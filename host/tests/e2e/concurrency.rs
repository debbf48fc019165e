//! Tests of asynchronous functions that are called within a compartment, by a route and by an operator. Tasks that a call leaves running
//! end with the call.

use std::time::{Duration, Instant};

use serde_json::json;
use watertight_testkit::app::{App, guest};
use watertight_testkit::host::Host;

/// Starts a host with a module that calls two others: one in its own compartment, one in another. Every function has a route.
fn start(settings: &str) -> (App, Host) {
    let (asks, slow, probe) = (guest("asks"), guest("slow"), guest("probe"));
    let route =
        |path: &str, call: &str| format!("[[route]]\nmethod = \"GET\"\npath = \"/{path}\"\ncall = \"{call}\"\n");
    let mut routes: String = ["both", "sum", "double", "wait", "trap", "counted", "trap-far"]
        .map(|name| route(name, &format!("asks/asks.{name}")))
        .concat();
    routes += &route("linger", "slow/slow.linger");
    let app = App::new(&format!(
        "[app]\nname = \"concurrent\"\nroutes = [\"routes/*.toml\"]\n[modules.asks]\ncomponent = {asks:?}\ncalls = [\"slow\", \"far\"]\n\
         [modules.slow]\ncomponent = {slow:?}\n[modules.far]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n[compartments.both]\nmodules = [\"asks\", \"slow\"]\n{settings}\n"
    ));
    let app = app.routes(&routes);
    let host = app.launch().start();
    (app, host)
}

#[tokio::test]
async fn two_calls_wait_for_each_other() {
    let (_app, host) = start("");
    for _ in 0..3 {
        assert_eq!(host.called("slow/slow.double", json!([21])).await, 42);
        let met = host.get("/both").await.expect(200).body;
        assert!(met[0].as_u64() >= Some(2) && met[1].as_u64() >= Some(2), "{met}");
    }
    let graph = host.admin_get("/graph").await.expect(200).body;
    assert_eq!(graph["compartments"][0]["profile"], "async");
}

#[tokio::test]
async fn values_come_one_after_the_other() {
    let (_app, host) = start("");
    for _ in 0..3 {
        assert_eq!(host.get("/sum?to=100").await.expect(200).body, 5050);
    }
    assert_eq!(host.called("asks/asks.sum", json!([10])).await, 55);
    assert_eq!(host.get("/double?number=4").await.expect(200).body, 8);
}

#[tokio::test]
async fn an_asynchronous_function_calls_across_compartments() {
    let (_app, host) = start("");
    assert_eq!(host.get("/counted").await.expect(200).body, json!([1, 2, 3]));
    assert_eq!(host.get("/counted").await.expect(200).body, json!([4, 5, 6]));
    let trapped = host.get("/trap-far").await.expect(503);
    assert_eq!((trapped.problem(), trapped.body.get("case")), ("unavailable", None), "it is the host's answer");
    assert_eq!(host.get("/counted").await.expect(200).body, json!([1, 2, 3]));
}

#[tokio::test]
async fn who_waits_forever_is_stopped_at_the_deadline() {
    let (_app, host) = start("[defaults.limits]\nrequest = \"400ms\"");
    let start = Instant::now();
    let waits = futures::future::join_all((0..4).map(|_| host.get("/wait")));
    let (waits, double) = tokio::join!(waits, host.get("/double?number=4"));
    assert_eq!(double.expect(200).body, 8);
    for wait in waits {
        assert_eq!(wait.expect(504).problem(), "deadline");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_trap_in_an_asynchronous_function_costs_its_own_request() {
    let (_app, host) = start("");
    for _ in 0..2 {
        assert_eq!(host.get("/trap").await.expect(500).problem(), "module-failed");
        assert_eq!(host.get("/sum?to=4").await.expect(200).body, 10);
    }
}

#[tokio::test]
async fn what_a_call_leaves_running_ends_with_it() {
    let (_app, host) = start("");
    for forever in [false, true, true, false] {
        assert_eq!(host.get(&format!("/linger?forever={forever}")).await.expect(200).body, 0);
        // A task that was left over would run here.
        host.get("/both").await.expect(200);
    }
    let instances = host.admin_get("/modules").await.expect(200).body["modules"][0]["instances"].take();
    // Each call of `linger` ended its instance. The last call of `both` left nothing to do, so its instance is warm.
    assert_eq!((&instances["warm"], &instances["dropped"]), (&json!(1), &json!(4)), "{instances}");
}
