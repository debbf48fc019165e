//! The document on the listeners, and the commands that show it or compare it.

use serde_json::Value;
use watertight_testkit::admin::Operator;
use watertight_testkit::app::App;
use watertight_testkit::client::Raw;
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host::{self, Host};
use watertight_testkit::paths::repository;
use watertight_testkit::wire::{self, Answer};

use crate::documents::{door, printed};

const ROUTES: &str = "requests-routes.toml";
const SERVED: &str = "[http]\nopenapi = true\n";

fn ask(host: &Host, method: &str, path: &str) -> Answer {
    wire::once(host.listen(), &wire::request(method, path, &[], b"")).unwrap()
}

fn of_admin(host: &Host, headers: &[(&str, &str)]) -> Answer {
    wire::once(host.admin(), &wire::request("GET", "/openapi.json", headers, b"")).unwrap()
}

fn watertight(arguments: &[&str], app: &App) -> CommandOutput {
    run(host::binary().args(arguments).arg(app.path()))
}

fn change_routes(app: &App, from: &str, to: &str) {
    let file = app.path().join("routes/routes.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn both_listeners_serve_the_document_of_the_generation() {
    let app = door(ROUTES, SERVED);
    let expected = printed(app.path());
    let host = app.launch().start();
    let answer = ask(&host, "GET", "/openapi.json").expect(200);
    assert_eq!((answer.header("content-type"), &answer.text), ("application/json", &expected));
    let head = wire::request("HEAD", "/openapi.json", &[], b"");
    let head = Raw::connect(host.listen()).send(head).answer(false).expect(200);
    assert_eq!(head.header("content-length"), expected.len().to_string());
    let refused = ask(&host, "POST", "/openapi.json").expect(405);
    assert_eq!(refused.header("allow"), "GET, HEAD, OPTIONS");
    let allowed = ask(&host, "OPTIONS", "/openapi.json").expect(204);
    assert_eq!(allowed.header("allow"), "GET, HEAD, OPTIONS");

    of_admin(&host, &[]).expect(401);
    let token = format!("Bearer {}", host.token());
    let on_admin = |host: &Host| of_admin(host, &[("authorization", &token)]).expect(200);
    assert_eq!(on_admin(&host).text, expected);

    change_routes(&app, "path = \"/plain\"", "path = \"/simple\"");
    let changed = printed(app.path());
    assert_ne!(changed, expected);
    Operator::of(&host).apply(app.path(), false).expect(200);
    let answer = ask(&host, "GET", "/openapi.json").expect(200);
    assert_eq!((answer.generation(), &answer.text), (2, &changed));
    assert_eq!(on_admin(&host).text, changed);
    Operator::of(&host).rollback(None).expect(200);
    assert_eq!(ask(&host, "GET", "/openapi.json").expect(200).text, expected);
}

#[test]
fn the_data_listener_serves_it_only_if_the_manifest_says_so() {
    let app = door(ROUTES, "");
    let host = app.launch().start();
    ask(&host, "GET", "/openapi.json").expect(404);
    // The key belongs to the generation.
    let manifest = app.path().join("app.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text + SERVED).unwrap();
    let planned = Operator::of(&host).apply(app.path(), true).expect(200).body["plan"].clone();
    assert_eq!(planned["door"], serde_json::json!([{ "what": "http.openapi", "change": "added" }]));
    Operator::of(&host).apply(app.path(), false).expect(200);
    ask(&host, "GET", "/openapi.json").expect(200);
}

#[test]
fn a_route_cannot_have_the_path_of_the_document() {
    let app = door(ROUTES, SERVED);
    change_routes(&app, "path = \"/plain\"", "path = \"/openapi.json\"");
    let said = watertight(&["check"], &app).expect(1).err;
    assert!(said.contains("error[route-conflict] the host answers GET /openapi.json"), "{said}");
    assert!(said.contains("routes/routes.toml:3"), "{said}");
}

#[test]
fn routes_are_listed() {
    let said = run(host::binary().arg("routes").arg(repository())).expect(0).out;
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["method", "path", "answered", "by", "takes", "answers"]);
    let place = lines.iter().find(|line| line[..2] == ["POST", "/orders"]).unwrap();
    assert_eq!(
        place[2..],
        [
            "orders/orders.place-order",
            "header",
            "idempotency-key,",
            "JSON",
            "201",
            "402",
            "404",
            "409",
            "422",
            "500",
            "503"
        ]
    );
    let all = run(host::binary().args(["routes", "--json"]).arg(repository())).expect(0).json();
    assert_eq!(all.as_array().unwrap().len(), lines.len() - 1);
    assert_eq!(all[0]["path"], "/notifications");
}

#[test]
fn what_breaks_clients_is_told_before_a_change() {
    let app = door(ROUTES, "");
    let known = app.path().join("known.json");
    std::fs::write(&known, printed(app.path())).unwrap();
    let known = known.to_str().unwrap();
    let host = app.launch().start();

    let same = watertight(&["check", "--against", known], &app).expect(0);
    assert!(same.out.is_empty() && same.err.contains("clients notice no difference"), "{}{}", same.out, same.err);

    change_routes(&app, "path = \"/plain\"", "path = \"/simple\"");
    let lines = ["breaks GET /plain: it is now GET /simple", "allows GET /simple: it is new"];
    let state = host.state().to_str().unwrap().to_owned();
    let of_state = |known: &str| watertight(&["check", "--state", &state, "--against", known], &app);
    for said in [watertight(&["check", "--against", known], &app), of_state("1"), of_state("current")] {
        let said = said.expect(1);
        assert_eq!(said.out.lines().collect::<Vec<_>>(), lines);
        assert!(said.err.contains("1 change breaks clients of"), "{}", said.err);
    }
    let json: Value = watertight(&["check", "--json", "--against", known], &app).expect(1).json();
    assert_eq!(json["clients"]["changes"][0]["operation"], "GET /plain");
    assert_eq!(json["clients"]["changes"][0]["breaks"], true);

    let plan = Operator::of(&host).apply(app.path(), true).expect(200).body["plan"].clone();
    assert_eq!(plan["clients"], json["clients"]);
    Operator::of(&host).apply(app.path(), false).expect(200);
    let history = Operator::of(&host).generations();
    let told: Vec<&str> =
        history["generations"][1]["changes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(lines.iter().all(|line| told.contains(line)), "{told:?}");

    let missing = of_state("7").expect(1);
    assert!(missing.err.contains("the history doesn't keep generation 7"), "{}", missing.err);
    std::fs::write(app.path().join("broken.json"), "{}").unwrap();
    let broken = watertight(&["check", "--against", app.path().join("broken.json").to_str().unwrap()], &app).expect(1);
    assert!(broken.err.contains("not an OpenAPI document"), "{}", broken.err);
    let other = std::fs::read_to_string(known).unwrap().replacen("\"3.1", "\"2.0", 1);
    std::fs::write(app.path().join("other.json"), other).unwrap();
    let other = watertight(&["check", "--against", app.path().join("other.json").to_str().unwrap()], &app).expect(1);
    assert!(other.err.contains("it is a document of OpenAPI \"2.0"), "{}", other.err);
    let none = watertight(&["check", "--against", "no-such-file.json"], &app).expect(1);
    assert!(none.err.contains("no-such-file.json can't be read"), "{}", none.err);
}
