//! Tests of the payment provider's events: signed over the raw body, and applied once.

use std::time::Duration;

use watertight_testkit::app::App;
use watertight_testkit::client::{Answer, client, send};
use watertight_testkit::events::{refunded, signature};
use watertight_testkit::host::Host;
use watertight_testkit::setup::Setup;

use crate::shop::{card, draft};

placements! {
    async fn an_event_refunds_a_payment_once;
    async fn an_event_that_is_not_the_providers_is_refused;
    async fn without_a_secret_no_event_is_taken;
}

/// Payments in Python. Payments over HTTP have a test of their own: `grants provider`.
mod python {
    in_setup! {
        PYTHON;
        async fn an_event_refunds_a_payment_once;
        async fn an_event_that_is_not_the_providers_is_refused;
        async fn without_a_secret_no_event_is_taken;
    }
}

/// The secret with which the provider signs.
const KEY: &str = "hush-of-the-events-77c1";
const NOW: Duration = Duration::ZERO;

/// Returns a shop that has the provider's secret.
fn shop(setup: Setup) -> App {
    let app = setup.shop_with("[modules.payments.secrets]\nwebhook_key = { file = \"webhook-key\" }\n");
    std::fs::write(app.path().join("webhook-key"), KEY).unwrap();
    app
}

async fn deliver(host: &Host, kind: &str, body: &str, signature: &str) -> Answer {
    let request = client().post(host.url("/payments/events")).header("content-type", kind);
    send(request.header("payment-signature", signature).body(body.to_owned())).await
}

/// Delivers an event as the provider does.
async fn signed(host: &Host, body: &str) -> Answer {
    deliver(host, "application/json", body, &signature(KEY, body.as_bytes(), NOW)).await
}

async fn an_event_refunds_a_payment_once(setup: Setup) {
    let app = shop(setup);
    let host = app.launch().start();
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let payment = order.at("/payment_id");
    let body = refunded("evt_1", payment);
    assert_eq!(signed(&host, &body).await.expect(200).body, "applied");
    let path = format!("/payments/{payment}");
    assert_eq!(host.get(&path).await.expect(200).at("/status"), "refunded");
    assert_eq!(signed(&host, &body).await.expect(200).body, "repeated");
    assert_eq!(signed(&host, &refunded("evt_2", "nobody")).await.expect(200).body, "ignored");
    // The signature stands over the body as it was sent, so other spaces and further fields are the provider's business.
    let other = "{ \"type\":\"payout\",\n\"id\":\"evt_3\", \"data\":[1] }";
    assert_eq!(signed(&host, other).await.expect(200).body, "ignored");

    // The order is cancelled all the same, and nothing is refunded twice.
    let cancel = format!("/orders/{}/cancel", order.at("/id"));
    let cancelled = send(client().post(host.url(&cancel))).await.expect(200);
    assert_eq!(cancelled.at("/status"), "cancelled");
    assert!(!host.log().contains(KEY));
}

async fn an_event_that_is_not_the_providers_is_refused(setup: Setup) {
    let app = shop(setup);
    let host = app.launch().start();
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let body = refunded("evt_1", order.at("/payment_id"));
    let good = signature(KEY, body.as_bytes(), NOW);
    let old = signature(KEY, body.as_bytes(), Duration::from_secs(310));
    let without_time = good.split_once(',').unwrap().1;
    for (sent, wrong) in [
        (body.as_str(), signature("another", body.as_bytes(), NOW).as_str()),
        (&body.replace(' ', ""), &good),
        (&body, &old),
        (&body, without_time),
        (&body, "nonsense"),
    ] {
        let refused = deliver(&host, "application/json", sent, wrong).await.expect(401);
        assert_eq!(refused.problem(), "bad-signature");
    }
    let unsigned = client().post(host.url("/payments/events")).header("content-type", "application/json");
    send(unsigned.body(body.clone())).await.expect(400);
    deliver(&host, "text/plain", &body, &good).await.expect(415);
    for malformed in ["", "{}", "[", "{\"id\": \"e\", \"type\": \"payment.refunded\"}"] {
        assert_eq!(signed(&host, malformed).await.expect(422).problem(), "malformed");
    }
    let payment = host.get(&format!("/payments/{}", order.at("/payment_id"))).await.expect(200);
    assert_eq!(payment.at("/status"), "captured");

    // The provider repeats an event that came too early.
    let charge = serde_json::json!([{ "amount": { "currency": "EUR", "minor": 1 }, "method": "invoice", "reference": "r" }, "k"]);
    let authorized = host.called("payments/payments.authorize", charge).await;
    let early = refunded("evt_2", authorized["ok"]["id"].as_str().unwrap());
    assert_eq!(signed(&host, &early).await.expect(409).problem(), "too-early");
}

async fn without_a_secret_no_event_is_taken(setup: Setup) {
    let host = setup.shop().start();
    let body = refunded("evt_1", "nobody");
    let refused = deliver(&host, "application/json", &body, &signature("", body.as_bytes(), NOW)).await.expect(503);
    assert_eq!(refused.problem(), "unavailable");
}
