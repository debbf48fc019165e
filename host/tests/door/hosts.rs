//! Routes, mounts, middlewares and rules for pages that are for some hosts only.

use watertight_testkit::admin::{Operator, published};
use watertight_testkit::app::{App, guest};
use watertight_testkit::wire;

use crate::app;
use crate::cases::every_case_of;

/// Returns an application whose tables are for several hosts.
fn hosts() -> App {
    let (serves, probe, passes) = (guest("serves"), guest("probe"), guest("passes"));
    let modules = format!(
        "[http]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [modules.serves]\ncomponent = {serves:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n\
         [modules.passes]\ncomponent = {passes:?}\nuses = [\"clocks\", \"config\"]\n"
    );
    app("hosts-routes.toml", &modules)
}

#[tokio::test]
async fn a_host_has_tables_of_its_own_and_those_of_all() {
    let host = hosts().launch().start();
    every_case_of("hosts", &host);
    let metrics = reqwest::get(host.admin_url("/metrics")).await.unwrap().text().await.unwrap();
    for route in ["/who", "api.example.com/who", "*.example.com/who", "files.example.com/*"] {
        assert!(metrics.contains(&format!("route=\"{route}\"")), "{route} is not in\n{metrics}");
    }
}

#[test]
fn a_request_for_no_host_of_the_application_is_told_so() {
    every_case_of("misdirected", &app("misdirected-routes.toml", "").launch().start());
}

/// The document is for every host. It makes no other path one of a host that nothing is for.
#[test]
fn the_document_is_no_answer_for_a_host() {
    let host = app("misdirected-routes.toml", "[http]\nopenapi = true\n").launch().start();
    every_case_of("misdirected", &host);
    let ask = |method: &str| {
        wire::once(host.listen(), &wire::request(method, "/openapi.json", &[("host", "unknown.example")], b"")).unwrap()
    };
    assert_eq!(["GET", "POST", "OPTIONS"].map(|method| ask(method).status), [200, 405, 204]);
}

/// Hosts belong to the generation, like all that route files say.
#[test]
fn hosts_change_with_the_generation() {
    let host = app("misdirected-routes.toml", "").launch().start();
    let ask = |name: &str| {
        let request = wire::request("GET", "/who", &[("host", name)], b"");
        wire::once(host.listen(), &request).unwrap().status
    };
    assert_eq!((ask("api.example.com"), ask("new.example.net")), (200, 421));
    let routes = std::fs::read_to_string(crate::folder().join("misdirected-routes.toml")).unwrap();
    let moved = app("misdirected-routes.toml", "").routes(&routes.replace("api.example.com", "new.example.net"));
    let operator = Operator::of(&host);
    let plan = operator.apply(moved.path(), true).expect(200).body["plan"].to_string();
    for name in ["api.example.com", "new.example.net", "cors new.example.net/"] {
        assert!(plan.contains(name), "{name} is not in {plan}");
    }
    published(&operator.apply(moved.path(), false));
    assert_eq!((ask("api.example.com"), ask("new.example.net")), (421, 200));
    operator.rollback(None).expect(200);
    assert_eq!((ask("api.example.com"), ask("new.example.net")), (200, 421));
}
