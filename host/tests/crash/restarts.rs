//! Tests of the data that a host finds at its start after an earlier host ended, and of the orders that it completes.

use std::time::Instant;

use watertight_testkit::host::{Launch, folder};

use crate::client::{Shop, draft};
use crate::ledger::Ledger;

/// A number of orders that is one more than a single call of the module's function `resume` tries to finish.
const OVER_A_BATCH: usize = 51;

#[test]
fn orders_are_the_same_after_a_restart() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).start();
    let shop = Shop(host.listen());
    for order in 0..5 {
        assert_eq!(shop.place(&draft("ada", "tok_visa"), None).unwrap().status, 201);
        assert_eq!(shop.place(&draft("bob", "tok_declined"), Some(&format!("declined {order}"))).unwrap().status, 402);
    }
    let answer = shop.cancel(shop.list("ada")[2]["id"].as_str().unwrap()).unwrap();
    assert_eq!(answer.status, 200);
    let read = |shop: Shop| {
        let notices = shop.get("/notifications?recipient=ada").unwrap().body;
        (shop.list("ada"), shop.list("bob"), notices)
    };
    let before = read(shop);
    assert_eq!((before.0.len(), before.1.len()), (5, 5));
    host.kill();
    let host = Launch::shop().state(&state).start();
    assert_eq!(read(Shop(host.listen())), before);
    // The log of a start mentions unfinished orders if there were any.
    assert!(!host.log().contains("unfinished"), "the log tells of unfinished orders:\n{}", host.log());
}

#[test]
fn one_host_at_a_time_and_a_killed_one_leaves_no_lock() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).start();
    Shop(host.listen()).place(&draft("ada", "tok_visa"), None).unwrap();
    let (status, log) = Launch::shop().state(&state).expect_end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("another host is running") && log.contains(&host.process().to_string()), "{log}");
    assert_eq!(Shop(host.listen()).list("ada").len(), 1, "the first host does not go on");
    host.kill();
    let host = Launch::shop().state(&state).start();
    assert_eq!(Shop(host.listen()).list("ada").len(), 1);
}

#[test]
fn a_silent_card_is_tried_again_by_each_start_and_delays_none() {
    let folder = folder();
    let state = folder.path().join("state");
    let place = |shop: Shop, key: usize| shop.place(&draft("ada", "tok_timeout"), Some(&format!("key {key}"))).unwrap();
    let host = Launch::shop().state(&state).start();
    for key in 0..OVER_A_BATCH {
        let answer = place(Shop(host.listen()), key);
        assert_eq!((answer.status, &answer.body["type"]), (503, &"/problems/unavailable".into()), "{answer:?}");
    }
    host.kill();
    for _ in 0..2 {
        let start = Instant::now();
        let host = Launch::shop().state(&state).start();
        assert!(start.elapsed().as_secs() < 10, "the start waited for cards that never answer");
        assert!(host.has_logged("still unfinished"), "the start did not try the orders:\n{}", host.log());
        let ledger = Ledger::read(&state);
        ledger.check_settled("with silent cards");
        assert_eq!((ledger.orders.len(), ledger.payments.len()), (OVER_A_BATCH, 0));
        assert_eq!(place(Shop(host.listen()), 7).status, 503);
        assert_eq!(Ledger::read(&state).orders.len(), OVER_A_BATCH, "a repeated key made another order");
        host.kill();
    }
}

/// Orders that can't be completed delay no others: the first start completes all orders that can be completed.
#[test]
fn silent_cards_hold_up_no_other_order() {
    let folder = folder();
    let state = folder.path().join("state");
    // The last order is written, and the process ends.
    let left = OVER_A_BATCH + 9;
    let launch = Launch::shop().state(&state).variable("FAILPOINTS", &failpoint_after_silent_orders(left));
    let mut host = launch.start();
    let shop = Shop(host.listen());
    for key in 0..left {
        assert_eq!(shop.place(&draft("ada", "tok_timeout"), Some(&format!("key {key}"))).unwrap().status, 503);
    }
    shop.place(&draft("bob", "tok_visa"), Some("bob's")).unwrap_err();
    host.wait();
    let host = Launch::shop().state(&state).start();
    Ledger::read(&state).check_settled("after the first start");
    assert_eq!(Shop(host.listen()).list("bob")[0]["status"], "paid");
}

/// Returns the text of a fail point that ends the host after the first commit of the order that follows `orders` others. Each of these
/// others makes one commit, because the payment provider never answers for its card.
fn failpoint_after_silent_orders(orders: usize) -> String {
    format!("sql::committed={orders}*off->return")
}

#[test]
fn an_order_that_failed_without_a_key_is_never_charged() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).start();
    assert_eq!(Shop(host.listen()).place(&draft("ada", "tok_timeout"), None).unwrap().status, 503);
    host.kill();
    let host = Launch::shop().state(&state).start();
    assert_eq!(Shop(host.listen()).list("ada")[0]["status"], "cancelled");
    assert_eq!(Ledger::read(&state).payments.len(), 0);
}

#[test]
fn a_cancelled_order_whose_refund_was_cut_off_is_refunded_by_the_next_start() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).start();
    let order = Shop(host.listen()).place(&draft("ada", "tok_visa"), None).unwrap();
    host.kill();
    let mut host = Launch::shop().state(&state).variable("FAILPOINTS", "sql::committed=return").start();
    Shop(host.listen()).cancel(order.id()).unwrap_err();
    host.wait();
    let host = Launch::shop().state(&state).start();
    assert!(host.has_logged("1 of 1 unfinished orders were finished"), "{}", host.log());
    let shop = Shop(host.listen());
    assert_eq!(shop.get(&format!("/orders/{}", order.id())).unwrap().body["status"], "cancelled");
    let payment = order.body["payment_id"].as_str().unwrap();
    assert_eq!(shop.get(&format!("/payments/{payment}")).unwrap().body["status"], "refunded");
    // A repeated cancellation finds the order cancelled, and refunds nothing a second time.
    assert_eq!(shop.cancel(order.id()).unwrap().status, 200);
    let ledger = Ledger::read(&state);
    ledger.check_settled("after cancelling again");
    assert_eq!((ledger.payments.len(), ledger.notices.len()), (1, 2));
}
