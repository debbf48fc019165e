//! Tests of the shop with the module `payments-http`, which calls a payment provider over HTTP. The provider is an HTTP server on the
//! loopback interface that requires an API key.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use watertight_testkit::client::{client, send};
use watertight_testkit::command::run;
use watertight_testkit::events::{refunded, signature};
use watertight_testkit::host::{self, Host};
use watertight_testkit::paths::repository;

const SECRET: &str = "hush-of-the-provider-41d8";

/// Returns the component file of a module of the shop. All are built once.
fn component(name: &str) -> PathBuf {
    static BUILT: LazyLock<()> = LazyLock::new(|| {
        let mut build = host::binary();
        build.args(["build", "orders", "payments", "payments-http", "notifications", "products", "--app"]);
        run(build.arg(repository())).expect(0);
    });
    LazyLock::force(&BUILT);
    host::component(name)
}

/// The charges that the payment provider received, each with its idempotency key.
#[derive(Clone, Default)]
struct Charges(Arc<Mutex<Vec<(String, Value)>>>);

impl Charges {
    fn all(&self) -> Vec<(String, Value)> {
        self.0.lock().unwrap().clone()
    }
}

async fn charge(
    State(charges): State<Charges>,
    head: HeaderMap,
    Json(charge): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if head["authorization"] != format!("Bearer {SECRET}") {
        return (StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    let key = head["idempotency-key"].to_str().unwrap().to_owned();
    let card = charge["method"]["card"].as_str().unwrap_or_default().to_owned();
    charges.0.lock().unwrap().push((key, charge));
    match card.as_str() {
        "tok_declined" => (StatusCode::PAYMENT_REQUIRED, Json(json!({ "reason": "not with that card" }))),
        "tok_timeout" => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            (StatusCode::OK, Json(json!({})))
        }
        _ => (StatusCode::CREATED, Json(json!({ "id": "ch_1" }))),
    }
}

/// Starts a payment provider, and copies the shop with payments that use the provider. `secret` is the API key of the copy. Returns the
/// provider's charges and the copy's folder.
async fn shop(secret: &str) -> (Charges, tempfile::TempDir) {
    let charges = Charges::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = Router::new().route("/v1/charges", post(charge)).with_state(charges.clone());
    tokio::spawn(async move { axum::serve(listener, provider).await.unwrap() });

    let (built_in, over_http) = (component("payments"), component("payments-http"));
    let app = host::copy_of_shop("");
    let file = app.path().join("app.toml");
    let manifest = fs::read_to_string(&file).unwrap();
    let grants = format!(
        r#"
[modules.payments.config]
provider = "http://{address}/v1"
[modules.payments.secrets]
api_key = {{ file = "key" }}
webhook_key = {{ file = "key" }}
[modules.payments.http]
allow = ["http://{address}"]
timeout = "500ms"
"#
    );
    let mut manifest = manifest.replace(built_in.to_str().unwrap(), over_http.to_str().unwrap());
    let start = manifest.find("[modules.payments]").unwrap();
    let uses = start + manifest[start..].find("uses").unwrap();
    let list = uses + manifest[uses..].find('[').unwrap() + 1;
    manifest.insert_str(list, "\"http\", ");
    fs::write(&file, manifest + &grants).unwrap();
    fs::write(app.path().join("key"), secret).unwrap();
    (charges, app)
}

/// Starts a payment provider and a host with the shop that uses it. `secret` is the shop's API key. The caller must keep the returned
/// folder, which has the shop, as long as the host.
async fn start(secret: &str) -> (Charges, tempfile::TempDir, Host) {
    let (charges, app) = shop(secret).await;
    let host = host::Launch::app(app.path()).start();
    (charges, app, host)
}

fn draft(token: &str) -> Value {
    let line = json!({ "sku": "tea", "quantity": 2, "unit_price": { "currency": "EUR", "minor": 450 } });
    json!({ "customer": "ada", "lines": [line], "payment": { "card": token } })
}

#[tokio::test]
async fn an_order_is_charged_once_by_a_provider_over_http() {
    let (charges, app, host) = start(SECRET).await;
    let order = host.post_with_key("/orders", "o-1", &draft("tok_visa")).await.expect(201).body;
    assert_eq!(order["status"], "paid");
    let again = host.post_with_key("/orders", "o-1", &draft("tok_visa")).await;
    assert_eq!(again.body["id"], order["id"]);
    let asked = charges.all();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].1["amount"], json!({ "currency": "EUR", "minor": 900 }));
    assert_eq!(asked[0].1["method"], json!({ "card": "tok_visa" }));
    assert!(!asked[0].0.is_empty());

    let declined = host.post_with_key("/orders", "o-2", &draft("tok_declined")).await.expect(402);
    assert!(declined.body.to_string().contains("not with that card"), "{:?}", declined.body);
    host.post_with_key("/orders", "o-3", &draft("tok_timeout")).await.expect(503);
    assert_eq!(charges.all().len(), 3);

    // The other build of the module reads the data that this one wrote.
    let built_in = component("payments");
    run(host::binary().args(["swap", "payments", built_in.to_str().unwrap()]).arg("--state").arg(host.state()))
        .expect(0);
    let payment = host.called("payments/payments.get-payment", json!([order["payment_id"]])).await;
    assert_eq!(payment["ok"]["amount"], json!({ "currency": "EUR", "minor": 900 }), "{payment}");
    host.post_with_key("/orders", "o-4", &draft("tok_visa")).await.expect(201);
    assert_eq!(charges.all().len(), 3);
    assert!(!host.log().contains(SECRET));
    drop(app);
}

#[tokio::test]
async fn events_of_a_provider_over_http_are_taken() {
    let (_charges, _app, host) = start(SECRET).await;
    let order = host.post_with_key("/orders", "o-1", &draft("tok_visa")).await.expect(201);
    let event = refunded("evt_1", order.at("/payment_id"));
    for outcome in ["applied", "repeated"] {
        let request = client().post(host.url("/payments/events")).header("content-type", "application/json");
        let signature = signature(SECRET, event.as_bytes(), Duration::ZERO);
        let answer = send(request.header("payment-signature", signature).body(event.clone())).await.expect(200);
        assert_eq!(answer.body, outcome);
    }
    let payment = host.get(&format!("/payments/{}", order.at("/payment_id"))).await.expect(200);
    assert_eq!(payment.at("/status"), "refunded");
}

#[tokio::test]
async fn a_provider_that_refuses_the_key_makes_payments_unavailable() {
    let (charges, _app, host) = start("another").await;
    host.post_with_key("/orders", "o-1", &draft("tok_visa")).await.expect(503);
    assert_eq!(charges.all(), []);
}

/// Runs the contract suites of `payments` and `orders` with this provider: `watertight test` must pass as with the built-in provider,
/// although the provider keeps the charges in its own memory.
#[tokio::test(flavor = "multi_thread")]
async fn the_suites_pass_with_a_provider_over_http() {
    let (charges, app) = shop(SECRET).await;
    for (module, cases) in [("payments", 30), ("orders", 71)] {
        let mut test = host::binary();
        test.args(["test", module, "--json", "--app"]).arg(app.path());
        let said = tokio::task::spawn_blocking(move || run(&mut test)).await.unwrap().expect(0);
        let report = said.json();
        assert_eq!(report[0]["failed"], 0, "{}", said.err);
        assert!(report[0]["passed"].as_u64().unwrap() >= cases, "{}", said.err);
    }
    assert!(charges.all().len() > 100, "the provider got too few charges");
}

#[tokio::test]
async fn a_provider_is_asked_once_for_a_charge_that_is_known_and_hears_each_key_as_another() {
    let (charges, _app, host) = start(SECRET).await;
    let charge = |minor: i64, card: &str| json!({ "amount": { "currency": "EUR", "minor": minor }, "method": { "card": card }, "reference": "order" });
    let authorize =
        async |charge: Value, key: &str| host.called("payments/payments.authorize", json!([charge, key])).await;
    let made = authorize(charge(900, "tok_visa"), "key").await;
    assert_eq!(authorize(charge(900, "tok_visa"), "key").await, made);
    // A different charge with a known key never reaches the provider, which might hold that amount too.
    assert!(!authorize(charge(901, "tok_visa"), "key").await["err"]["conflict"].is_null());
    assert!(!authorize(charge(1, "tok_declined"), "declined").await["err"]["declined"].is_null());
    assert!(!authorize(charge(1, "tok_declined"), "declined").await["err"]["declined"].is_null());
    assert_eq!(charges.all().len(), 2, "{:?}", charges.all());
    // The outcome of an unanswered charge is unknown, so the provider is asked again.
    for _ in 0..2 {
        assert!(!authorize(charge(1, "tok_timeout"), "silent").await["err"]["unavailable"].is_null());
    }
    assert_eq!(charges.all().len(), 4);

    // Keys are percent-encoded, since a header can't carry every text and loses spaces at its ends.
    for (minor, key) in [" key", "key ", "a\nb", "a%0Ab", "ключ", "\u{1}"].into_iter().enumerate() {
        let made = authorize(charge(i64::try_from(minor).unwrap(), "tok_visa"), key).await;
        assert_eq!(made["ok"]["status"], "authorized", "{key:?}: {made}");
    }
    let heard: Vec<String> = charges.all().into_iter().skip(4).map(|(key, _)| key).collect();
    assert_eq!(heard, ["%20key", "key%20", "a%0Ab", "a%250Ab", "%D0%BA%D0%BB%D1%8E%D1%87", "%01"]);
}
