//! Tests of the provider's events with a real database.
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac_sha256::HMAC;
use shop_common::testing::TestPlatform;
use shop_common::{Clock as _, Money};
use shop_payments::model::{Charge, Method, Status};
use shop_payments::service::Payments;
use shop_payments::webhooks::{Error, Outcome, Webhooks};

const KEY: &str = "hush";

struct Shop {
    payments: Payments<TestPlatform>,
    webhooks: Webhooks<TestPlatform>,
    database: TestPlatform,
}

impl Shop {
    fn new() -> Self {
        let database = TestPlatform::new(env!("CARGO_MANIFEST_DIR"));
        Self { payments: Payments::new(database.clone()), webhooks: Webhooks::new(database.clone()), database }
    }

    /// Authorizes a payment and returns its id.
    fn authorized(&self) -> String {
        let amount = Money { currency: "EUR".to_owned(), minor: 900 };
        let charge = Charge { amount, method: Method::Invoice, reference: "order".to_owned() };
        self.payments.authorize(charge, "a").unwrap().id
    }

    /// Receives a body that the provider signed now.
    fn receive(&self, body: &[u8]) -> Result<Outcome, Error> {
        self.webhooks.receive(Some(KEY), body, &sign(KEY, body, self.database.now()))
    }
}

fn sign(key: &str, body: &[u8], at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut code = HMAC::new(key);
    code.update(format!("{seconds}."));
    code.update(body);
    format!("t={seconds},v1={}", hex::encode(code.finalize()))
}

fn event(id: &str, kind: &str, payment: &str) -> Vec<u8> {
    format!(r#"{{"id":"{id}","type":"{kind}","data":{{"payment":"{payment}"}},"more":[1]}}"#).into_bytes()
}

fn refunded(id: &str, payment: &str) -> Vec<u8> {
    event(id, "payment.refunded", payment)
}

#[test]
fn an_event_has_its_effect_once() {
    let shop = Shop::new();
    let payment = shop.authorized();
    let body = refunded("evt_1", &payment);
    // An event that comes too early counts as new when it is sent again.
    for _ in 0..2 {
        assert_eq!(shop.receive(&body), Err(Error::TooEarly(payment.clone())));
    }
    shop.payments.capture(&payment, "c").unwrap();
    assert_eq!(shop.receive(&body), Ok(Outcome::Applied));
    assert_eq!(shop.payments.get(&payment).unwrap().status, Status::Refunded);
    assert_eq!(shop.receive(&body), Ok(Outcome::Repeated));
    // Another event that says the same changes nothing. Nor does a refund by the shop.
    assert_eq!(shop.receive(&refunded("evt_2", &payment)), Ok(Outcome::Ignored));
    assert!(shop.payments.refund(&payment, "r").is_err());
    assert_eq!(shop.database.read::<String>("select id from provider_events order by id"), ["evt_1", "evt_2"]);
}

#[test]
fn racing_events_are_applied_once() {
    let shop = Shop::new();
    let payment = shop.authorized();
    shop.payments.capture(&payment, "c").unwrap();
    let body = refunded("evt_1", &payment);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..16).map(|_| scope.spawn(|| shop.receive(&body))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(Outcome::Applied)).count(), 1, "{outcomes:?}");
    assert!(!outcomes.contains(&Ok(Outcome::Ignored)), "{outcomes:?}");
}

#[test]
fn events_without_an_effect_are_acknowledged() {
    let shop = Shop::new();
    for body in [refunded("e1", "nobody"), event("e2", "payout", "x"), br#"{"id":"e3","type":"payout"}"#.to_vec()] {
        assert_eq!(shop.receive(&body), Ok(Outcome::Ignored));
    }
    // A declined charge is no payment.
    let amount = Money { currency: "EUR".to_owned(), minor: 900 };
    let method = Method::Card("tok_declined".to_owned());
    shop.payments.authorize(Charge { amount, method, reference: "order".to_owned() }, "d").unwrap_err();
    let id = shop.database.read::<String>("select id from payments").remove(0);
    assert_eq!(shop.receive(&refunded("e4", &id)), Ok(Outcome::Ignored));
    assert_eq!(shop.database.count("select count(*) from payments where status = 'declined'"), 1);
}

#[test]
fn only_the_provider_s_own_events_of_now_are_taken() {
    let shop = Shop::new();
    let (body, now) = (refunded("e", "x"), shop.database.now());
    let receive = |key, signature: &str| shop.webhooks.receive(key, &body, signature);
    let unavailable = Err(Error::Unavailable("no key for events is configured"));
    assert_eq!(receive(None, &sign(KEY, &body, now)), unavailable);
    assert_eq!(receive(Some(""), &sign("", &body, now)), unavailable);
    for signature in [sign("other", &body, now), sign(KEY, b"{}", now)] {
        assert_eq!(receive(Some(KEY), &signature), Err(Error::Signature("does not fit the body")));
    }
    for at in [UNIX_EPOCH, now - Duration::from_secs(310), now + Duration::from_secs(310)] {
        let told = Err(Error::Signature("is not of these five minutes"));
        assert_eq!(receive(Some(KEY), &sign(KEY, &body, at)), told);
    }
    assert_eq!(shop.database.count("select count(*) from provider_events"), 0);
}

#[test]
fn what_is_signed_and_no_event_is_told() {
    let shop = Shop::new();
    let bodies = [
        Vec::new(),
        b"\xff".to_vec(),
        b"[]".to_vec(),
        vec![b'['; 50_000],
        b"{}".to_vec(),
        br#"{"id":1,"type":"x"}"#.to_vec(),
        br#"{"id":"","type":"x"}"#.to_vec(),
        br#"{"id":"e","id":"f","type":"x"}"#.to_vec(),
        br#"{"id":"e","type":"payment.refunded"}"#.to_vec(),
        br#"{"id":"e","type":"payment.refunded","data":{"payment":7}}"#.to_vec(),
        refunded(&"e".repeat(129), "x"),
        [refunded("e", "x"), vec![b' '; 65_536]].concat(),
    ];
    for body in bodies {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(matches!(shop.receive(&body), Err(Error::Malformed(_))), "{start}");
    }
}
