//! Tests of payments with a real database.
#![allow(clippy::unwrap_used)]

use std::thread;

use shop_common::Money;
use shop_common::testing::TestPlatform;
use shop_payments::model::{Charge, Error, Method, Payment, Status};
use shop_payments::service::Payments;

fn shop() -> (Payments<TestPlatform>, TestPlatform) {
    let database = TestPlatform::new(env!("CARGO_MANIFEST_DIR"));
    (Payments::new(database.clone()), database)
}

fn charge(token: &str) -> Charge {
    let amount = Money { currency: "EUR".to_owned(), minor: 900 };
    Charge { amount, method: Method::Card(token.to_owned()), reference: "order".to_owned() }
}

fn is_conflict(result: &Result<Payment, Error>) -> bool {
    matches!(result, Err(Error::Conflict(_)))
}

#[test]
fn a_payment_moves_forward_only() {
    let (payments, _) = shop();
    let made = payments.authorize(charge("tok_visa"), "a").unwrap();
    assert_eq!((made.status, &made.charge), (Status::Authorized, &charge("tok_visa")));
    assert!(is_conflict(&payments.refund(&made.id, "r")));
    assert_eq!(payments.capture(&made.id, "c").unwrap().status, Status::Captured);
    assert!(is_conflict(&payments.capture(&made.id, "other")));
    assert_eq!(payments.refund(&made.id, "r").unwrap().status, Status::Refunded);
    assert!(is_conflict(&payments.refund(&made.id, "other")) && is_conflict(&payments.capture(&made.id, "other")));
    assert_eq!(payments.get(&made.id).unwrap(), Payment { status: Status::Refunded, ..made });
}

#[test]
fn every_step_can_be_repeated_with_its_key() {
    let (payments, database) = shop();
    let made = payments.authorize(charge("tok_visa"), "k").unwrap();
    assert_eq!(payments.authorize(charge("tok_visa"), "k").unwrap(), made);
    let captured = payments.capture(&made.id, "k").unwrap();
    assert_eq!(payments.capture(&made.id, "k").unwrap(), captured);
    let refunded = payments.refund(&made.id, "k").unwrap();
    // A repeated step returns the payment with its current status.
    for repeated in
        [payments.refund(&made.id, "k"), payments.capture(&made.id, "k"), payments.authorize(charge("tok_visa"), "k")]
    {
        assert_eq!(repeated.unwrap(), refunded);
    }
    assert_eq!(database.count("select count(*) from payments"), 1);
}

#[test]
fn a_key_names_one_request() {
    let (payments, _) = shop();
    let one = payments.authorize(charge("tok_visa"), "one").unwrap();
    let two = payments.authorize(charge("tok_visa"), "two").unwrap();
    assert_ne!(one.id, two.id);
    let others = [
        charge("tok_other"),
        charge("tok_declined"),
        charge("tok_timeout"),
        Charge { reference: "else".to_owned(), ..charge("tok_visa") },
        Charge { amount: Money { currency: "EUR".to_owned(), minor: 901 }, ..charge("tok_visa") },
    ];
    for other in others {
        assert!(is_conflict(&payments.authorize(other, "one")));
    }
    // A step's key belongs to its payment: another payment's step may use the same text.
    payments.capture(&one.id, "c").unwrap();
    assert!(is_conflict(&payments.capture(&one.id, "d")));
    assert_eq!(payments.capture(&two.id, "c").unwrap().status, Status::Captured);
}

#[test]
fn the_provider_decides() {
    let (payments, database) = shop();
    for _ in 0..2 {
        assert!(matches!(payments.authorize(charge("tok_declined"), "d"), Err(Error::Declined(_))));
    }
    assert!(matches!(payments.authorize(charge("tok_timeout"), "t"), Err(Error::Unavailable(_))));
    // A declined charge is stored under its key, but it is not a payment.
    assert_eq!(database.count("select count(*) from payments where status = 'declined'"), 1);
    let id = database.read::<String>("select id from payments").remove(0);
    for missing in [payments.get(&id), payments.capture(&id, "c"), payments.refund(&id, "r")] {
        assert_eq!(missing, Err(Error::NotFound(id.clone())));
    }
    assert_eq!(database.count("select count(*) from payments"), 1);
}

#[test]
fn racing_requests_take_each_step_once() {
    let (payments, database) = shop();
    let race = |step: &(dyn Fn(usize) -> Result<Payment, Error> + Sync)| -> Vec<_> {
        thread::scope(|scope| {
            let racers: Vec<_> = (0..16).map(|racer| scope.spawn(move || step(racer))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        })
    };
    let made = race(&|_| payments.authorize(charge("tok_visa"), "k"));
    assert!(made.iter().all(|payment| *payment == made[0]));
    let id = &made[0].as_ref().unwrap().id;
    let captured = race(&|racer| payments.capture(id, &format!("c{racer}")));
    assert_eq!(captured.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(captured.iter().filter(|result| is_conflict(result)).count(), 15);
    assert_eq!(database.count("select count(*) from payments where status = 'captured'"), 1);
}

#[test]
fn charges_are_checked() {
    let (payments, database) = shop();
    let long = "x".repeat(129);
    let negative = Money { currency: "EUR".to_owned(), minor: -1 };
    let wrong = [
        (Charge { amount: negative, ..charge("tok_visa") }, "k", "amount.minor"),
        (Charge { reference: String::new(), ..charge("tok_visa") }, "k", "reference"),
        (charge(""), "k", "method.card"),
        (Charge { method: Method::Wallet(long.clone()), ..charge("") }, "k", "method.wallet"),
        (charge("tok_visa"), "", "idempotency-key"),
        (charge("tok_visa"), &long, "idempotency-key"),
    ];
    for (charge, key, field) in wrong {
        assert!(matches!(payments.authorize(charge, key), Err(Error::Invalid(at)) if at.field == field), "{field}");
    }
    assert!(matches!(payments.refund("x", ""), Err(Error::Invalid(at)) if at.field == "idempotency-key"));
    assert_eq!(payments.refund("x", "k"), Err(Error::NotFound("x".to_owned())));
    let free = Charge { amount: Money { currency: "EUR".to_owned(), minor: 0 }, method: Method::Invoice, ..charge("") };
    assert_eq!(payments.authorize(free, "free").unwrap().status, Status::Authorized);
    assert_eq!(database.count("select count(*) from payments"), 1);
}
