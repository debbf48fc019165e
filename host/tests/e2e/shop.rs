//! Tests of the shop as its customers use it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use watertight_testkit::client::{client, send};
use watertight_testkit::setup::Setup;

every_setup! {
    async fn an_order_is_placed_paid_and_told;
    async fn every_payment_method_is_taken;
    async fn orders_are_listed_newest_first_by_pages;
    async fn cancelling_gives_the_money_back_once;
    async fn a_payment_is_refunded_under_its_key;
    async fn refusals_are_problem_details;
    async fn a_key_belongs_to_one_draft;
    async fn racing_requests_of_one_key_are_one_order_and_one_charge;
    async fn racing_requests_on_fresh_instances_are_one_order_too;
    async fn an_order_outlives_the_host;
}

/// Returns the JSON of an order of two teas, for 9.00 euro in total. `payment` is the order's means of payment.
pub(crate) fn draft(customer: &str, payment: Value) -> Value {
    let line = json!({ "sku": "tea", "quantity": 2, "unit_price": { "currency": "EUR", "minor": 450 } });
    let mut draft = json!({ "customer": customer, "lines": [line] });
    draft["payment"] = payment;
    draft
}

pub(crate) fn card(token: &str) -> Value {
    json!({ "card": token })
}

async fn an_order_is_placed_paid_and_told(setup: Setup) {
    let host = setup.shop().start();
    let draft = draft("ada", card("tok_visa"));
    let placed = host.post("/orders", &draft).await.expect(201);
    assert_eq!(placed.header("content-type"), "application/json");
    assert_eq!(placed.header("watertight-generation"), "1");
    let order = placed.body;
    assert_eq!(order["customer"], "ada");
    assert_eq!(order["status"], "paid");
    assert_eq!(order["notice"], "sent");
    assert_eq!(order["lines"], draft["lines"]);
    assert_eq!(order["total"], json!({ "currency": "EUR", "minor": 900 }));
    let created = order["created_at"].as_str().unwrap();
    assert_eq!((created.len(), &created[10..11], &created[23..]), (24, "T", "Z"), "{created}");

    let id = order["id"].as_str().unwrap();
    assert_eq!(id.len(), 26);
    assert_eq!(host.get(&format!("/orders/{id}")).await.expect(200).body, order);

    let payment = host.get(&format!("/payments/{}", order["payment_id"].as_str().unwrap())).await.expect(200).body;
    assert_eq!(payment["status"], "captured");
    assert_eq!(payment["amount"], order["total"]);
    assert_eq!(payment["method"], card("tok_visa"));
    assert_eq!(payment["reference"], id);

    let told = host.get("/notifications?recipient=ada").await.expect(200).body;
    assert_eq!(told["items"].as_array().unwrap().len(), 1);
    assert_eq!(told["items"][0]["template"], "order-placed");
    let text = told["items"][0]["text"].as_str().unwrap();
    assert!(text.contains(id) && text.contains("9.00 EUR"), "{text}");
    assert_eq!(told["next"], Value::Null);
}

async fn every_payment_method_is_taken(setup: Setup) {
    let host = setup.shop().start();
    let invoice = json!("invoice");
    let methods = [
        (card("tok_visa"), card("tok_visa")),
        (json!({ "wallet": "w1" }), json!({ "wallet": "w1" })),
        (invoice.clone(), invoice.clone()),
        (json!({ "invoice": null }), invoice),
    ];
    for (sent, kept) in methods {
        let order = host.post("/orders", &draft("ada", sent)).await.expect(201);
        let payment = host.get(&format!("/payments/{}", order.at("/payment_id"))).await.expect(200).body;
        assert_eq!(payment["method"], kept);
    }
}

async fn orders_are_listed_newest_first_by_pages(setup: Setup) {
    let host = setup.shop().start();
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(host.post("/orders", &draft("ada", card("t"))).await.expect(201).at("/id").to_owned());
        // Ids sort by the millisecond of their creation.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    host.post("/orders", &draft("eve", card("t"))).await.expect(201);
    placed.reverse();

    let (mut listed, mut path, mut pages) = (Vec::new(), "/orders?customer=ada&limit=2".to_owned(), 0);
    loop {
        let page = host.get(&path).await.expect(200).body;
        let ids = page["items"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned());
        listed.extend(ids);
        pages += 1;
        match page["next"].as_str() {
            Some(next) => path = format!("/orders?customer=ada&limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, placed);
    assert_eq!(pages, 3);
    let nobody = host.get("/orders?customer=nobody").await.expect(200).body;
    assert_eq!(nobody, json!({ "items": [], "next": null }));

    // Notifications have the same kind of pages.
    let page = host.get("/notifications?recipient=ada&limit=4").await.expect(200).body;
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
    let after = page["next"].as_str().unwrap();
    let rest = host.get(&format!("/notifications?recipient=ada&limit=4&after={after}")).await.expect(200).body;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
}

async fn cancelling_gives_the_money_back_once(setup: Setup) {
    let host = setup.shop().start();
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let (id, payment) = (order.at("/id"), order.at("/payment_id"));
    for _ in 0..2 {
        let cancelled = send(client().post(host.url(&format!("/orders/{id}/cancel")))).await.expect(200);
        assert_eq!(cancelled.at("/status"), "cancelled");
    }
    assert_eq!(host.get(&format!("/payments/{payment}")).await.at("/status"), "refunded");
    let told = host.get("/notifications?recipient=ada").await.expect(200).body;
    let templates: Vec<_> = told["items"].as_array().unwrap().iter().map(|notice| &notice["template"]).collect();
    assert_eq!(templates, ["order-cancelled", "order-placed"]);
}

async fn a_payment_is_refunded_under_its_key(setup: Setup) {
    let host = setup.shop().start();
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let path = format!("/payments/{}/refund", order.at("/payment_id"));
    let refund = |key: &str| send(client().post(host.url(&path)).header("idempotency-key", key));
    assert_eq!(refund("r1").await.expect(200).at("/status"), "refunded");
    assert_eq!(refund("r1").await.expect(200).at("/status"), "refunded");
    let other = refund("r2").await.expect(409);
    assert_eq!((other.problem(), other.header("content-type")), ("conflict", "application/problem+json"));
    let missing = send(client().post(host.url(&path))).await.expect(400);
    assert_eq!(missing.body["errors"][0]["in"], "header");
    assert_eq!(missing.body["errors"][0]["name"], "idempotency-key");
}

async fn refusals_are_problem_details(setup: Setup) {
    let host = setup.shop().start();
    let declined = host.post("/orders", &draft("ada", card("tok_declined"))).await.expect(402);
    assert_eq!(declined.header("content-type"), "application/problem+json");
    let id = declined.header("x-request-id").to_owned();
    assert_eq!(
        declined.body,
        json!({
            "type": "/problems/declined", "title": "The charge was declined", "status": 402, "detail": "the card was declined",
            "instance": id, "case": "declined", "payload": "the card was declined",
        })
    );
    let silent = host.post("/orders", &draft("ada", card("tok_timeout"))).await.expect(503);
    assert_eq!((silent.problem(), silent.header("retry-after")), ("unavailable", "1"));
    // The host has a problem of this name too. The case says that the module answered.
    assert_eq!(silent.at("/case"), "unavailable");

    let unknown = host.get("/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV").await.expect(404);
    assert_eq!((unknown.problem(), unknown.at("/payload")), ("not-found", "01ARZ3NDEKTSV4RRFFQ69G5FAV"));

    let mut none = draft("ada", card("tok_visa"));
    none["lines"][0]["quantity"] = json!(0);
    let invalid = host.post("/orders", &none).await.expect(422);
    assert_eq!(invalid.problem(), "invalid");
    assert_eq!(invalid.at("/payload/field"), "lines[0].quantity");

    // Nothing was charged, and no notice was sent.
    let told = host.get("/notifications?recipient=ada").await.expect(200);
    assert_eq!(told.body["items"], json!([]));
}

async fn a_key_belongs_to_one_draft(setup: Setup) {
    let host = setup.shop().start();
    let draft = |customer| draft(customer, card("tok_visa"));
    let first = host.post_with_key("/orders", "k", &draft("ada")).await.expect(201);
    let again = host.post_with_key("/orders", "k", &draft("ada")).await.expect(201);
    assert_eq!(first.body, again.body);
    let other = host.post_with_key("/orders", "k", &draft("eve")).await.expect(409);
    assert_eq!(other.problem(), "conflict");
    // A declined order stays declined for its key.
    for _ in 0..2 {
        host.post_with_key("/orders", "d", &self::draft("ada", card("tok_declined"))).await.expect(402);
    }
}

/// Sends fifty requests for an order with the same idempotency key at the same time: they must make one order. `settings` selects the mode
/// of instances; in each mode, racing calls run on separate instances.
async fn one_order_of_fifty_requests(setup: Setup, settings: &str) {
    let app = setup.shop_with(settings);
    let host = app.launch().start();
    let body = draft("ada", card("tok_visa"));
    let requests = (0..50).map(|_| host.post_with_key("/orders", "same", &body));
    let answers = futures::future::join_all(requests).await;
    let ids: BTreeSet<String> = answers.into_iter().map(|answer| answer.expect(201).at("/id").to_owned()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let listed = host.get("/orders?customer=ada").await.expect(200).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["status"], "paid");
    let told = host.get("/notifications?recipient=ada").await.expect(200).body;
    assert_eq!(told["items"].as_array().unwrap().len(), 1);
    // Count the charges in the database of payments itself.
    let path = host.state().join("data/payments.db");
    let payments = rusqlite::Connection::open(path).unwrap();
    let charges: i64 = payments.query_row("SELECT count(*) FROM payments", [], |row| row.get(0)).unwrap();
    assert_eq!(charges, 1);
}

async fn racing_requests_of_one_key_are_one_order_and_one_charge(setup: Setup) {
    one_order_of_fifty_requests(setup, "").await;
}

async fn racing_requests_on_fresh_instances_are_one_order_too(setup: Setup) {
    one_order_of_fifty_requests(setup, "[defaults.instances]\nmode = \"fresh\"").await;
}

async fn an_order_outlives_the_host(setup: Setup) {
    let state = watertight_testkit::host::folder();
    let folder = state.path().join("state");
    let host = setup.shop().state(&folder).start();
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let payment = format!("/payments/{}", order.at("/payment_id"));
    let paid = host.get(&payment).await.expect(200).body;
    host.kill();

    let host = setup.shop().state(&folder).start();
    assert_eq!(host.get(&format!("/orders/{}", order.at("/id"))).await.expect(200).body, order.body);
    assert_eq!(host.get(&payment).await.expect(200).body, paid);
    let told = host.get("/notifications?recipient=ada").await.expect(200).body;
    assert_eq!(told["items"].as_array().unwrap().len(), 1);
}
