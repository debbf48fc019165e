//! Tests of resuming unfinished orders: at the host's start, and while requests are served.

use std::time::Duration;

use shop_common::testing::TestPlatform;
use shop_orders::model::OrderStatus;
use shop_orders::service::RESUME_BATCH;

use crate::world::{Shop, draft};

/// The longest time that a request may still take at the host's start: none, because no request is being served.
const AT_A_START: Duration = Duration::ZERO;
/// The longest time that a request may take while requests are served.
const LONGEST: Duration = Duration::from_secs(30);

/// Places `count` orders that stay pending, because the payment provider never answers for their card. Unless `silent` is true, then gives
/// them a card that works.
fn leave_pending(shop: &Shop, count: u32, silent: bool) {
    for index in 0..count {
        let key = format!("{silent} {index}");
        shop.orders().place(draft("tok_timeout"), Some(&key)).unwrap_err();
    }
    if !silent {
        shop.orders_db.execute_directly("update orders set token = 'tok_visa' where idempotency_key like 'false%'");
    }
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let shop = Shop::new();
    shop.orders().place(draft("tok_visa"), None).unwrap();
    assert!(!shop.orders().resume(AT_A_START).unwrap());
    assert_eq!(shop.orders_where("attempts > 0"), 0);
}

#[test]
fn many_are_finished_in_batches() {
    let shop = Shop::new();
    leave_pending(&shop, 2 * RESUME_BATCH + 1, false);
    assert!(shop.orders().resume(AT_A_START).unwrap() && shop.orders().resume(AT_A_START).unwrap());
    assert!(!shop.orders().resume(AT_A_START).unwrap());
    assert_eq!(shop.orders_where("status = 'paid' and notice = 'sent' and attempts = 1"), 101);
}

#[test]
fn orders_that_keep_failing_hold_up_no_others() {
    let shop = Shop::new();
    leave_pending(&shop, RESUME_BATCH + 10, true);
    // Each order is tried once. A start that finishes no order then ends, whatever is left.
    assert!(shop.orders().resume(AT_A_START).unwrap() && shop.orders().resume(AT_A_START).unwrap());
    assert!(!shop.orders().resume(AT_A_START).unwrap());
    assert_eq!(shop.orders_where("attempts = 0"), 0);
    leave_pending(&shop, 5, false);
    // The next start tries the orders with the fewest attempts first. It finishes every order that can be finished.
    shop.restart();
    assert_eq!(shop.orders_where("status = 'paid'"), 5);
    assert_eq!(shop.orders_where("status = 'pending' and attempts = 0"), 0);
    assert_eq!(shop.orders_where("status = 'pending'"), i64::from(RESUME_BATCH) + 10);
}

#[test]
fn the_first_start_tries_everything_new() {
    let shop = Shop::new();
    leave_pending(&shop, RESUME_BATCH + 10, true);
    leave_pending(&shop, 5, false);
    shop.restart();
    assert_eq!(shop.orders_where("status = 'paid'"), 5);
}

#[test]
fn an_order_that_ends_the_process_goes_last_the_next_time() {
    let shop = Shop::new();
    leave_pending(&shop, 3, false);
    let deadly = shop.with_hook(|shop, _| shop.fuse.burn_after(0));
    assert!(deadly.orders().resume(AT_A_START).is_err());
    shop.fuse.restart();
    assert_eq!(shop.orders_where("attempts = 1"), 1);
    shop.restart();
    assert_eq!(shop.orders_where("status = 'paid'"), 3);
}

#[test]
fn customers_who_were_not_told_are_told() {
    let shop = Shop::new();
    shop.notifications_db.execute_directly("alter table notifications rename to gone");
    shop.orders().place(draft("tok_visa"), None).unwrap();
    shop.notifications_db.execute_directly("alter table gone rename to notifications");
    shop.restart();
    assert_eq!((shop.orders_where("notice = 'sent'"), shop.notifications_where("true")), (1, 1));
}

#[test]
fn lists_and_starts_read_by_index() {
    let shop = Shop::new();
    let plan = |database: &TestPlatform, query: &str| {
        let plan: Vec<(i64, i64, i64, String)> = database.read(&format!("explain query plan {query}"));
        plan.into_iter().map(|(_, _, _, detail)| detail).collect::<Vec<_>>().join("; ")
    };
    let unfinished = "select id, attempts from orders
         where (status = 'pending' or refund_due = 1 or (status = 'paid' and notice = 'pending'))
         and ('2016' is null or coalesce(cancelled_at, created_at) <= '2016') order by attempts, id limit 50";
    let page = "select * from orders where customer = 'ada' and id < '~' order by id desc limit 21";
    for (query, index) in [(unfinished, "orders_unfinished"), (page, "orders_by_customer")] {
        let plan = plan(&shop.orders_db, query);
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    let page = "select * from notifications where recipient = 'ada' and id < '~' order by id desc limit 21";
    let plan = plan(&shop.notifications_db, page);
    assert!(plan.contains("notifications_by_recipient") && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn while_requests_are_served_only_what_is_old_enough_is_picked_up() {
    let shop = Shop::new();
    leave_pending(&shop, 3, false);
    assert!(!shop.resume_beside(LONGEST));
    assert_eq!(
        shop.orders_where("status = 'pending' and attempts = 0"),
        3,
        "the schedule tried orders of requests that may still run"
    );
    shop.let_time_pass();
    leave_pending(&shop, 1, true);
    assert!(!shop.resume_beside(LONGEST));
    assert_eq!(shop.orders_where("status = 'paid' and notice = 'sent' and attempts = 1"), 3);
    assert_eq!(shop.orders_where("status = 'pending' and attempts = 0"), 1);
    // A start does not read the clock, because it may have been set back.
    shop.orders_db.execute_directly("update orders set created_at = '2999-01-01T00:00:00.000Z', token = 'tok_visa'");
    shop.restart();
    assert_eq!(shop.orders_where("status = 'paid'"), 4);
}

/// A request found an order pending before it was cancelled. The request may capture the amount at any moment until its time is
/// up.
#[test]
fn what_was_called_off_is_settled_only_when_no_request_can_take_its_money_any_more() {
    for step in ["authorize", "capture"] {
        let shop = Shop::new();
        let raced = shop.with_hook(move |shop, after| {
            if after == step {
                let id = shop.orders().list("ada", None, None).unwrap().items[0].id.clone();
                shop.orders_db.execute_directly("update orders set created_at = '2016-07-30T22:36:16.385Z'");
                shop.orders().cancel(&id).unwrap();
                assert!(!shop.resume_beside(LONGEST));
            }
        });
        raced.orders().place(draft("tok_visa"), Some("k")).unwrap();
        let kept = shop.payments_where("status = 'captured'");
        assert_eq!((kept, shop.payments_where("status = 'refunded'")), (0, 1), "{step}");
        assert_eq!(shop.orders_where("status = 'cancelled' and refund_due = 0"), 1, "{step}");
    }
}

/// A request captures the amount of a cancelled order, and ends before it can refund it.
#[test]
fn what_a_request_took_and_could_not_give_back_is_given_back() {
    for (step, points) in
        ["authorize", "capture"].into_iter().flat_map(|step| (0..40).map(move |points| (step, points)))
    {
        let shop = Shop::new();
        let ended = shop.with_hook(move |shop, after| {
            if after == step
                && let Ok(page) = shop.orders().list("ada", None, None)
                && page.items[0].status == OrderStatus::Pending
            {
                shop.orders().cancel(&page.items[0].id).unwrap();
                shop.fuse.burn_after(points);
            }
        });
        let _ = ended.orders().place(draft("tok_visa"), Some("k"));
        shop.fuse.restart();
        assert!(!shop.resume_beside(LONGEST));
        shop.let_time_pass();
        assert!(!shop.resume_beside(LONGEST));
        assert_eq!(shop.payments_where("status = 'captured'"), 0, "{step} {points}");
        assert_eq!(shop.orders_where("status = 'cancelled' and refund_due = 0"), 1, "{step} {points}");
    }
}

/// Builds before the column `cancelled_at` existed did not store when an order was cancelled.
#[test]
fn what_an_older_build_called_off_is_settled_by_a_start_where_nothing_was_taken() {
    let shop = Shop::new();
    shop.orders().place(draft("tok_timeout"), Some("k")).unwrap_err();
    shop.orders_db.execute_directly(
        "update orders set status = 'cancelled', refund_due = 1, token = 'tok_visa', created_at = '2016-07-30T22:36:16.385Z'",
    );
    assert!(!shop.resume_beside(LONGEST));
    assert_eq!(shop.orders_where("refund_due = 1 and attempts = 1"), 1);
    shop.restart();
    assert_eq!((shop.orders_where("refund_due = 0"), shop.payments_where("status = 'authorized'")), (1, 1));
}

#[test]
fn requests_and_the_schedule_race_for_the_same_orders() {
    let shop = Shop::new();
    leave_pending(&shop, 20, false);
    shop.let_time_pass();
    std::thread::scope(|scope| {
        let resuming = scope.spawn(|| while shop.resume_beside(LONGEST) {});
        for index in (0..20).rev() {
            let page = shop
                .orders_db
                .read::<String>(&format!("select id from orders where idempotency_key = 'false {index}'"));
            if index % 2 == 0 {
                shop.orders().cancel(&page[0]).unwrap();
            } else {
                // The key and the draft are those of before. The order has been given another card, so this request is refused or
                // finds the order.
                let _ = shop.orders().place(draft("tok_visa"), Some(&format!("false {index}")));
            }
        }
        resuming.join().unwrap();
    });
    shop.let_time_pass();
    while shop.resume_beside(LONGEST) {}
    assert_eq!(
        (shop.orders_where("status = 'paid'"), shop.orders_where("status = 'cancelled' and refund_due = 0")),
        (10, 10)
    );
    assert_eq!((shop.payments_where("status = 'captured'"), shop.orders_where("refund_due = 1")), (10, 0));
}
