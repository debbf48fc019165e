//! Tests of cancelling an order: alone, and in a race with a request that is still placing the order.

use shop_orders::model::{Error, OrderStatus};
use shop_orders::ports::Event;

use crate::world::{Shop, draft};

/// Returns how many notifications of an event were sent.
fn told(shop: &Shop, event: Event) -> i64 {
    shop.notifications_where(&format!("template = '{}'", event.template()))
}

/// Cancels the only order of the shop.
fn cancel_it(shop: &Shop) {
    let page = shop.orders().list("ada", None, None).unwrap();
    assert_eq!(shop.orders().cancel(&page.items[0].id).unwrap().status, OrderStatus::Cancelled);
}

#[test]
fn a_cancelled_order_is_refunded_once() {
    let shop = Shop::new();
    let order = shop.orders().place(draft("tok_visa"), Some("k")).unwrap();
    let cancelled = shop.orders().cancel(&order.id).unwrap();
    assert_eq!((cancelled.status, &cancelled.payment_id), (OrderStatus::Cancelled, &order.payment_id));
    assert_eq!(shop.orders().cancel(&order.id).unwrap(), cancelled);
    assert_eq!(shop.orders().get(&order.id).unwrap(), cancelled);
    assert_eq!(shop.orders().place(draft("tok_visa"), Some("k")).unwrap(), cancelled);
    assert_eq!((shop.payments_where("status = 'refunded'"), shop.payments_where("true")), (1, 1));
    assert_eq!((told(&shop, Event::Placed), told(&shop, Event::Cancelled)), (1, 1));
    assert_eq!(shop.orders_where("refund_due = 1"), 0);
}

#[test]
fn what_cannot_be_cancelled_is_refused() {
    let shop = Shop::new();
    assert_eq!(shop.orders().cancel("nothing"), Err(Error::NotFound("nothing".to_owned())));
    shop.orders().place(draft("tok_declined"), None).unwrap_err();
    let id = shop.orders().list("ada", None, None).unwrap().items[0].id.clone();
    assert!(matches!(shop.orders().cancel(&id), Err(Error::Conflict(_))));
    assert_eq!(shop.orders_where("status = 'declined'"), 1);
}

#[test]
fn a_payment_that_somebody_else_refunded_is_refunded() {
    let shop = Shop::new();
    let order = shop.orders().place(draft("tok_visa"), None).unwrap();
    shop.payments().refund(&order.payment_id.unwrap(), "by hand").unwrap();
    assert_eq!(shop.orders().cancel(&order.id).unwrap().status, OrderStatus::Cancelled);
    assert_eq!((shop.orders_where("refund_due = 1"), told(&shop, Event::Cancelled)), (0, 1));
}

#[test]
fn a_refund_that_fails_stays_due() {
    let shop = Shop::new();
    let order = shop.orders().place(draft("tok_visa"), None).unwrap();
    shop.payments_db.execute_directly("alter table payments rename to gone");
    assert!(matches!(shop.orders().cancel(&order.id), Err(Error::Unavailable(_))));
    assert_eq!(shop.orders().get(&order.id).unwrap().status, OrderStatus::Cancelled);
    shop.payments_db.execute_directly("alter table gone rename to payments");
    shop.orders().cancel(&order.id).unwrap();
    assert_eq!((shop.payments_where("status = 'refunded'"), shop.orders_where("refund_due = 1")), (1, 0));
}

#[test]
fn a_pending_order_can_be_cancelled_though_payments_are_silent() {
    let shop = Shop::new();
    shop.orders().place(draft("tok_timeout"), Some("k")).unwrap_err();
    cancel_it(&shop);
    assert_eq!((shop.orders_where("status = 'cancelled' and refund_due = 1"), told(&shop, Event::Cancelled)), (1, 1));
    shop.restart();
    assert_eq!((shop.payments_where("true"), told(&shop, Event::Cancelled)), (0, 1));
}

#[test]
fn an_order_that_is_cancelled_while_it_is_placed_keeps_nothing() {
    for step in ["authorize", "capture"] {
        let shop = Shop::new();
        let raced = shop.with_hook(move |shop, after| {
            if after == step {
                cancel_it(shop);
            }
        });
        let order = raced.orders().place(draft("tok_visa"), Some("k")).unwrap();
        assert_eq!(order.status, OrderStatus::Cancelled, "{step}");
        assert_eq!((shop.payments_where("status = 'refunded'"), shop.payments_where("true")), (1, 1), "{step}");
        assert_eq!(
            shop.orders_where("status = 'cancelled' and refund_due = 0 and payment_id is not null"),
            1,
            "{step}"
        );
        assert_eq!((told(&shop, Event::Placed), told(&shop, Event::Cancelled)), (0, 1), "{step}");
    }
}

#[test]
fn a_declined_order_that_was_cancelled_first_stays_cancelled() {
    let shop = Shop::new();
    let raced = shop.with_hook(|shop, _| cancel_it(shop));
    let order = raced.orders().place(draft("tok_declined"), None).unwrap();
    assert_eq!((order.status, order.payment_id), (OrderStatus::Cancelled, None));
    assert_eq!((shop.orders_where("refund_due = 1"), shop.payments_where("status <> 'declined'")), (0, 0));
}
