//! Tests of placing, reading and listing orders.

use std::thread;

use shop_common::{Level, Money};
use shop_orders::model::{Draft, Error, NoticeStatus, OrderStatus, PaymentMethod};
use shop_payments::model::Status;

use crate::world::{Shop, draft, line};

#[test]
fn a_placed_order_is_charged_and_told() {
    let shop = Shop::new();
    let wanted = Draft { lines: vec![line("tea", 2, 450), line("cup", 1, 1200)], ..draft("tok_visa") };
    let order = shop.orders().place(wanted.clone(), None).unwrap();
    assert_eq!((order.status, order.notice), (OrderStatus::Paid, NoticeStatus::Sent));
    assert_eq!(order.total, Money { currency: "EUR".to_owned(), minor: 2100 });
    assert_eq!(order.lines, wanted.lines);
    assert_eq!(shop.orders().get(&order.id).unwrap(), order);
    let payment = shop.payments().get(order.payment_id.as_ref().unwrap()).unwrap();
    assert_eq!(
        (payment.status, payment.charge.amount, payment.charge.reference),
        (Status::Captured, order.total, order.id)
    );
    assert_eq!(shop.notifications_where("recipient = 'ada' and text like '%21.00 EUR%'"), 1);
}

#[test]
fn every_method_and_a_free_order_are_taken() {
    let shop = Shop::new();
    for payment in [PaymentMethod::Wallet("w1".to_owned()), PaymentMethod::Invoice] {
        let order = shop.orders().place(Draft { payment, lines: vec![line("gift", 1, 0)], ..draft("") }, None).unwrap();
        assert_eq!((order.status, order.total.minor), (OrderStatus::Paid, 0));
    }
    assert_eq!(shop.payments_where("status = 'captured' and amount = 0"), 2);
}

#[test]
fn a_key_names_one_order() {
    let shop = Shop::new();
    let first = shop.orders().place(draft("tok_visa"), Some("k")).unwrap();
    assert_eq!(shop.orders().place(draft("tok_visa"), Some("k")).unwrap(), first);
    let others = [
        draft("tok_other"),
        Draft { customer: "bob".to_owned(), ..draft("tok_visa") },
        Draft { lines: vec![line("tea", 3, 450)], ..draft("tok_visa") },
    ];
    for other in others {
        assert!(matches!(shop.orders().place(other, Some("k")), Err(Error::Conflict(_))));
    }
    assert_ne!(shop.orders().place(draft("tok_visa"), Some("l")).unwrap().id, first.id);
    assert_eq!((shop.orders_where("true"), shop.payments_where("true"), shop.notifications_where("true")), (2, 2, 2));
    let long = "k".repeat(129);
    for key in ["", &long] {
        let refused = shop.orders().place(draft("tok_visa"), Some(key));
        assert!(matches!(refused, Err(Error::Invalid(field)) if field.field == "idempotency-key"));
    }
}

#[test]
fn racing_requests_with_a_key_make_one_order() {
    let shop = Shop::new();
    let race = || shop.orders().place(draft("tok_visa"), Some("k")).unwrap();
    let orders: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..50).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(orders.iter().all(|order| order.id == orders[0].id && order.status == OrderStatus::Paid));
    assert_eq!((shop.orders_where("true"), shop.notifications_where("true")), (1, 1));
    assert_eq!((shop.payments_where("status = 'captured'"), shop.payments_where("true")), (1, 1));
}

#[test]
fn a_declined_order_stays_declined() {
    let shop = Shop::new();
    for key in [Some("k"), Some("k"), None] {
        assert!(
            matches!(shop.orders().place(draft("tok_declined"), key), Err(Error::Declined(reason)) if reason == "the card was declined")
        );
    }
    assert_eq!((shop.orders_where("status = 'declined'"), shop.orders_where("true")), (2, 2));
    assert_eq!((shop.payments_where("status <> 'declined'"), shop.notifications_where("true")), (0, 0));
    shop.restart();
    assert_eq!(shop.orders_where("status = 'declined' and attempts = 0"), 2);
}

#[test]
fn an_unavailable_charge_stays_pending_where_it_can_be_repeated() {
    let shop = Shop::new();
    for _ in 0..2 {
        assert!(matches!(shop.orders().place(draft("tok_timeout"), Some("k")), Err(Error::Unavailable(_))));
    }
    assert_eq!((shop.orders_where("status = 'pending'"), shop.orders_where("true")), (1, 1));
    assert!(matches!(shop.orders().place(draft("tok_timeout"), None), Err(Error::Unavailable(_))));
    assert_eq!(shop.orders_where("status = 'cancelled' and refund_due = 1"), 1);
    assert_eq!(shop.payments_where("true"), 0);
}

#[test]
fn an_order_that_nobody_can_repeat_is_never_charged_later() {
    let shop = Shop::new();
    // Payments capture the amount, but their response is lost.
    let broken = shop.with_hook(|shop, step| {
        if step == "capture" {
            shop.orders_db.execute_directly("alter table orders rename to gone; create table orders (id text)");
        }
    });
    assert!(matches!(broken.orders().place(draft("tok_visa"), None), Err(Error::Storage(_))));
    shop.orders_db.execute_directly("drop table orders; alter table gone rename to orders");
    assert_eq!(shop.payments_where("status = 'captured'"), 1);
    shop.restart();
    // The order could not be cancelled either. So the next start finished it: one charge and one notification.
    assert_eq!((shop.orders_where("status = 'paid'"), shop.payments_where("status = 'captured'")), (1, 1));

    let shop = Shop::new();
    let silent = shop.with_hook(|shop, step| {
        if step == "authorize" {
            shop.payments_db.execute_directly("alter table payments rename to gone");
        }
    });
    assert!(matches!(silent.orders().place(draft("tok_visa"), None), Err(Error::Unavailable(_))));
    shop.payments_db.execute_directly("alter table gone rename to payments");
    assert_eq!(shop.orders_where("status = 'cancelled' and refund_due = 1"), 1);
    shop.restart();
    assert_eq!((shop.orders_where("refund_due = 1"), shop.payments_where("status = 'captured'")), (0, 0));
}

#[test]
fn a_customer_who_is_not_told_does_not_fail_the_order() {
    let shop = Shop::new();
    shop.notifications_db.execute_directly("alter table notifications rename to gone");
    let order = shop.orders().place(draft("tok_visa"), Some("k")).unwrap();
    assert_eq!((order.status, order.notice), (OrderStatus::Paid, NoticeStatus::Pending));
    assert_eq!(shop.orders_db.logged(Level::Warn).len(), 1);
    shop.notifications_db.execute_directly("alter table gone rename to notifications");
    let again = shop.orders().place(draft("tok_visa"), Some("k")).unwrap();
    assert_eq!((again.notice, shop.notifications_where("true")), (NoticeStatus::Sent, 1));
    assert_eq!(shop.payments_where("true"), 1);
}

#[test]
fn a_refused_draft_leaves_nothing() {
    let shop = Shop::new();
    let none = Draft { lines: vec![line("tea", 0, 450)], ..draft("tok_visa") };
    let refused = shop.orders().place(none, None);
    assert!(matches!(refused, Err(Error::Invalid(field)) if field.field == "lines[0].quantity"));
    assert_eq!((shop.orders_where("true"), shop.payments_where("true")), (0, 0));
    assert_eq!(shop.orders().get("nothing"), Err(Error::NotFound("nothing".to_owned())));
}

#[test]
fn a_failing_database_says_nothing_of_the_inside() {
    let shop = Shop::new();
    shop.orders_db.execute_directly("drop table order_lines");
    let error = shop.orders().get("x").unwrap_err();
    assert!(matches!(error, Error::Storage(_)) && error.to_string() == "the database failed");
}

#[test]
fn lists_are_paged_newest_first() {
    let shop = Shop::new();
    let wanted = Draft { lines: vec![line("tea", 1, 100), line("cup", 2, 50)], ..draft("tok_visa") };
    let mut placed: Vec<_> = (0..5).map(|_| shop.orders().place(wanted.clone(), None).unwrap()).collect();
    shop.orders().place(Draft { customer: "bob".to_owned(), ..wanted }, None).unwrap();
    placed.reverse();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = shop.orders().list("ada", Some(2), after.as_deref()).unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, placed);
    assert_eq!(shop.orders().list("ada", None, None).unwrap().items.len(), 5);
    assert_eq!(shop.orders().list("nobody", None, None).unwrap().items, []);
    for (customer, limit, after, field) in [
        ("ada", Some(0), None, "limit"),
        ("ada", Some(101), None, "limit"),
        ("ada", None, Some("x"), "after"),
        ("", None, None, "customer"),
    ] {
        assert!(matches!(shop.orders().list(customer, limit, after), Err(Error::Invalid(at)) if at.field == field));
    }
}
