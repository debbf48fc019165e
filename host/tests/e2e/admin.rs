//! Tests of the admin listener.

use reqwest::Method;
use serde_json::{Value, json};
use watertight_testkit::client::{Answer, Raw, client, send};
use watertight_testkit::setup::{Placement, Setup};

use crate::shop::{card, draft};
use crate::wire::probe;

placements! {
    async fn health_is_open_and_all_else_wants_the_token;
    async fn modules_and_graph_say_what_runs;
    async fn any_function_can_be_called;
    async fn calls_that_cannot_be_made_are_refused;
    async fn a_token_stays_over_restarts;
    async fn wrong_tokens_are_counted_and_logged;
}

async fn health_is_open_and_all_else_wants_the_token(setup: Setup) {
    let host = setup.shop().start();
    assert_eq!(send(client().get(host.admin_url("/healthz"))).await.expect(200).text, "ok\n");
    assert_eq!(send(client().get(host.admin_url("/readyz"))).await.expect(200).text, "ready\n");
    let token = host.token();
    let wrong =
        ["", "Bearer", "Bearer ", "Bearer wrong", &token, &format!("Basic {token}"), &format!("Bearer {token}0")];
    for (method, path) in [
        (Method::GET, "/modules"),
        (Method::GET, "/graph"),
        (Method::GET, "/openapi.json"),
        (Method::POST, "/call"),
        (Method::POST, "/backup"),
        (Method::GET, "/log"),
        (Method::PUT, "/log"),
    ] {
        let ask = || client().request(method.clone(), host.admin_url(path));
        let refused = send(ask()).await.expect(401);
        assert_eq!((refused.problem(), refused.header("www-authenticate")), ("unauthorized", "Bearer"));
        assert_eq!(refused.header("content-type"), "application/problem+json");
        for given in wrong {
            send(ask().header("Authorization", given)).await.expect(401);
        }
    }
    host.admin_get("/nothing").await.expect(404);
    let refused = send(client().post(host.admin_url("/modules")).bearer_auth(&token)).await.expect(405);
    assert_eq!(refused.problem(), "method-not-allowed");
    // Neither listener serves the paths of the other.
    for path in ["/modules", "/graph", "/healthz", "/call"] {
        host.get(path).await.expect(404);
    }
    host.admin_get("/orders?customer=ada").await.expect(404);
}

async fn modules_and_graph_say_what_runs(setup: Setup) {
    let host = setup.shop().start();
    host.post("/orders", &draft("ada", card("t"))).await.expect(201);
    let modules = host.admin_get("/modules").await.expect(200).body;
    assert_eq!(modules["generation"], 1);
    let names: Vec<&str> = modules["modules"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["notifications", "orders", "payments", "products"]);
    for module in modules["modules"].as_array().unwrap() {
        assert_eq!(module["language"], "rust");
        let name = module["name"].as_str().unwrap();
        let compartment = match (setup.placement, name) {
            (_, "products") => "pictures",
            (Placement::Together, _) => "main",
            (Placement::Mixed, "orders" | "payments") => "others",
            (Placement::Apart, "orders") => "orders-alone",
            (Placement::Apart, "payments") => "payments-alone",
            _ => "notifications-alone",
        };
        assert_eq!(module["compartment"], compartment);
        let digest = module["digest"].as_str().unwrap();
        assert!(digest.len() == 71 && digest.starts_with("sha256:"), "{digest}");
        assert!(module["build"].as_str().is_some_and(|build| !build.is_empty()));
        // Nobody asked for a picture.
        assert_eq!(module["instances"]["calls"].as_u64().unwrap() >= 1, name != "products", "{module}");
    }
    let exports = ["documents", "notes", "orders"].map(|name| format!("shop:orders/{name}@1.0.0"));
    assert_eq!(modules["modules"][1]["exports"].as_array().unwrap()[..3], exports);

    let graph = host.admin_get("/graph").await.expect(200).body;
    let calls: Vec<String> =
        graph["calls"].as_array().unwrap().iter().map(|c| format!("{} {} {}", c["from"], c["to"], c["kind"])).collect();
    let (told, charged) = match setup.placement {
        Placement::Together => ("fused", "fused"),
        Placement::Apart => ("bridged", "bridged"),
        Placement::Mixed => ("bridged", "fused"),
    };
    let expected = [format!(r#""orders" "notifications" "{told}""#), format!(r#""orders" "payments" "{charged}""#)];
    assert_eq!(calls, expected);
}

async fn any_function_can_be_called(setup: Setup) {
    let host = setup.shop().start();
    let order = host.called("orders/orders.place-order", json!([draft("ada", card("t")), "key"])).await;
    assert_eq!(order["ok"]["status"], "paid");
    let id = &order["ok"]["id"];
    // The interface's full name is accepted as well, with or without its version.
    for interface in ["orders", "shop:orders/orders", "shop:orders/orders@1.0.0"] {
        let found = host.called(&format!("orders/{interface}.get-order"), json!([id])).await;
        assert_eq!(found, order);
    }
    // No route leads to this function.
    let step = json!([order["ok"]["payment_id"], "again"]);
    assert_eq!(
        host.called("payments/payments.capture", step).await["err"]["conflict"].as_str().map(str::is_empty),
        Some(false)
    );
    // Typed errors are results.
    let unknown = host.called("orders/orders.get-order", json!(["x"])).await;
    assert_eq!(unknown, json!({ "err": { "not_found": "x" } }));
    // Trailing optional arguments may be omitted.
    assert_eq!(host.called("orders/orders.list-orders", json!(["nobody"])).await["ok"]["items"], json!([]));
}

async fn calls_that_cannot_be_made_are_refused(setup: Setup) {
    let host = setup.shop().start();
    let refused = async |function: &str, arguments: Value, status: u16, problem: &str, word: &str| {
        let answer: Answer = host.call(function, &arguments).await.expect(status);
        assert_eq!((answer.problem(), answer.header("content-type")), (problem, "application/problem+json"));
        assert!(answer.at("/detail").contains(word), "{word} is not in {}", answer.at("/detail"));
    };
    refused("orders/orders.get-order", json!([1]), 400, "invalid-request", "/id").await;
    refused("orders/orders.get-order", json!([]), 400, "invalid-request", "missing argument `id`").await;
    refused("orders/orders.get-order", json!(["a", "b"]), 400, "invalid-request", "at most 1").await;
    refused("orders/orders.place-order", json!([{}, 7]), 400, "invalid-request", "/idempotency_key").await;
    refused("orders", json!([]), 400, "invalid-request", "").await;
    refused("nobody/orders.get-order", json!([]), 404, "no-such-function", "no module `nobody`").await;
    refused("orders/payments.get-payment", json!([]), 404, "no-such-function", "shop:orders/orders@1.0.0").await;
    refused("orders/orders.get-orders", json!([]), 404, "no-such-function", "get-order").await;
    let ask = |body: &'static str| send(client().post(host.admin_url("/call")).bearer_auth(host.token()).body(body));
    for body in
        ["", "{", "[]", r#"{"function":"orders/orders.get-order"}"#, r#"{"function":"a/b.c","arguments":[],"x":1}"#]
    {
        ask(body).await.expect(400);
    }
}

#[tokio::test]
async fn a_failing_call_says_so_and_no_more() {
    let host = probe("[defaults.limits]\nrequest = \"300ms\"").launch().start();
    let trapped = host.call("a/acts.trap", &json!([])).await.expect(500);
    assert_eq!(trapped.problem(), "module-failed");
    let endless = host.call("a/acts.spin", &json!([])).await.expect(504);
    assert_eq!(endless.problem(), "deadline");
    assert_eq!(host.call("a/acts.not-a-number", &json!([])).await.expect(500).problem(), "module-failed");
    assert_eq!(host.called("a/acts.count", json!([])).await, 1);
}

async fn a_token_stays_over_restarts(setup: Setup) {
    let app = setup.shop_with("");
    let state = watertight_testkit::host::folder();
    let folder = state.path().join("state");
    let token = || app.launch().state(&folder).start().token();
    assert_eq!(token(), token());
}

/// The host counts requests with a wrong admin token, and logs them with the client's address, at most a few lines per second.
async fn wrong_tokens_are_counted_and_logged(setup: Setup) {
    let host = setup.shop().start();
    let ask = |header: &'static str| {
        let head = format!("GET /modules HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n");
        Raw::connect(host.admin()).send(head).answer(true).expect(401)
    };
    for _ in 0..60 {
        ask("Authorization: Bearer a-guess\r\n");
    }
    for _ in 0..3 {
        ask("");
    }
    ask("Authorization: Basic YTpi\r\n");
    let metrics = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
    let count = |token: &str| {
        let start = format!("watertight_admin_unauthorized_total{{token=\"{token}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    assert_eq!((count("wrong"), count("missing")), (Some("60".to_owned()), Some("4".to_owned())));
    assert!(host.has_logged("a wrong token was refused"), "{}", host.log());
    let log = host.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a wrong token was refused")).collect();
    // The requests took a few seconds at most.
    assert!(lines.iter().all(|line| line.contains("peer=127.0.0.1:") && line.contains("/modules")), "{lines:?}");
    assert!(!log.contains("a-guess") && lines.len() < 60, "{} lines", lines.len());
}
