//! Tests of crashes. The process ends between any two steps, before or after a database operation. Afterwards there is one order
//! and one charge.

use shop_orders::model::OrderStatus;

use crate::world::{Shop, draft};

/// An upper bound for the number of points at which a scenario can be interrupted.
const POINTS: u64 = 200;

/// Runs a scenario once for each point at which the process can end, until a run is not interrupted. After each run, `check` gets the shop
/// and the number of the point.
fn at_every_point(scenario: impl Fn(&Shop), check: impl Fn(&Shop, u64)) {
    for points in 0..POINTS {
        let shop = Shop::new();
        shop.fuse.burn_after(points);
        scenario(&shop);
        let ended = shop.fuse.is_burnt();
        shop.restart();
        check(&shop, points);
        if !ended {
            assert!(points > 10, "the scenario has too few steps");
            return;
        }
    }
    panic!("the scenario doesn't end");
}

#[test]
fn placing_with_a_key_survives_a_crash_anywhere() {
    let place = |shop: &Shop| shop.orders().place(draft("tok_visa"), Some("k"));
    at_every_point(
        |shop| {
            let _ = place(shop);
        },
        |shop, points| {
            assert_eq!(shop.orders_where("status <> 'paid' or notice <> 'sent'"), 0, "{points}");
            assert_eq!(shop.orders_where("true"), shop.payments_where("status = 'captured'"), "{points}");
            let order = place(shop).unwrap();
            assert_eq!(order.status, OrderStatus::Paid, "{points}");
            assert_eq!((shop.orders_where("true"), shop.notifications_where("true")), (1, 1), "{points}");
            assert_eq!((shop.payments_where("true"), shop.payments_where("status = 'captured'")), (1, 1), "{points}");
        },
    );
}

#[test]
fn placing_without_a_key_survives_a_crash_anywhere() {
    at_every_point(
        |shop| {
            let _ = shop.orders().place(draft("tok_visa"), None);
        },
        |shop, points| {
            let orders = shop.orders_where("status = 'paid' and notice = 'sent'");
            assert_eq!(shop.orders_where("true"), orders, "{points}");
            assert_eq!(
                (shop.payments_where("status = 'captured'"), shop.payments_where("true")),
                (orders, orders),
                "{points}"
            );
            assert_eq!(shop.notifications_where("true"), orders, "{points}");
        },
    );
}

#[test]
fn a_decline_survives_a_crash_anywhere() {
    at_every_point(
        |shop| {
            let _ = shop.orders().place(draft("tok_declined"), Some("k"));
        },
        |shop, points| {
            assert_eq!(shop.orders_where("status <> 'declined'"), 0, "{points}");
            assert_eq!(shop.payments_where("status <> 'declined'"), 0, "{points}");
        },
    );
}

#[test]
fn cancelling_survives_a_crash_anywhere() {
    at_every_point(
        |shop| {
            if let Ok(order) = shop.orders().place(draft("tok_visa"), None) {
                let _ = shop.orders().cancel(&order.id);
            }
        },
        |shop, points| {
            let cancelled = shop.orders_where("status = 'cancelled'");
            assert_eq!(shop.orders_where("refund_due = 1"), 0, "{points}");
            assert_eq!(shop.payments_where("status = 'refunded'"), cancelled, "{points}");
            assert_eq!(shop.notifications_where("template = 'order-cancelled'"), cancelled, "{points}");
            assert_eq!(shop.payments_where("status = 'captured'"), shop.orders_where("status = 'paid'"), "{points}");
        },
    );
}

#[test]
fn cancelling_while_placing_survives_a_crash_anywhere() {
    for step in ["authorize", "capture"] {
        at_every_point(
            |shop| {
                let raced = shop.with_hook(move |shop, after| {
                    if after == step
                        && let Ok(page) = shop.orders().list("ada", None, None)
                    {
                        let _ = shop.orders().cancel(&page.items[0].id);
                    }
                });
                let _ = raced.orders().place(draft("tok_visa"), None);
            },
            |shop, points| {
                assert_eq!(shop.orders_where("refund_due = 1 or status = 'pending'"), 0, "{step} {points}");
                let (paid, captured) =
                    (shop.orders_where("status = 'paid'"), shop.payments_where("status = 'captured'"));
                assert_eq!(paid, captured, "{step} {points}: charged and not refunded");
            },
        );
    }
}
