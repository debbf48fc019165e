//! What a start picks up.

use shop_common::testing::TestPlatform;
use shop_orders::service::RESUME_BATCH;

use crate::world::{Shop, draft};

/// Places orders that the process leaves pending: their payments are silent until they are given another card.
fn leave_pending(shop: &Shop, count: u32, silent: bool) {
    for index in 0..count {
        let key = format!("{silent} {index}");
        shop.orders().place(draft("tok_timeout"), Some(&key)).unwrap_err();
    }
    if !silent {
        shop.orders_db.sabotage("update orders set token = 'tok_visa' where idempotency_key like 'false%'");
    }
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let shop = Shop::new();
    shop.orders().place(draft("tok_visa"), None).unwrap();
    assert!(!shop.orders().resume().unwrap());
    assert_eq!(shop.orders_where("attempts > 0"), 0);
}

#[test]
fn many_are_finished_in_batches() {
    let shop = Shop::new();
    leave_pending(&shop, 2 * RESUME_BATCH + 1, false);
    assert!(shop.orders().resume().unwrap() && shop.orders().resume().unwrap());
    assert!(!shop.orders().resume().unwrap());
    assert_eq!(shop.orders_where("status = 'paid' and notice = 'sent' and attempts = 1"), 101);
}

#[test]
fn orders_that_keep_failing_hold_up_no_others() {
    let shop = Shop::new();
    leave_pending(&shop, RESUME_BATCH + 10, true);
    // Each is tried once; then a start that finishes nothing ends, whatever is left.
    assert!(shop.orders().resume().unwrap() && shop.orders().resume().unwrap());
    assert!(!shop.orders().resume().unwrap());
    assert_eq!(shop.orders_where("attempts = 0"), 0);
    leave_pending(&shop, 5, false);
    // The next goes first to what was tried least: all that can be finished is.
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
    assert!(deadly.orders().resume().is_err());
    shop.fuse.restart();
    assert_eq!(shop.orders_where("attempts = 1"), 1);
    shop.restart();
    assert_eq!(shop.orders_where("status = 'paid'"), 3);
}

#[test]
fn customers_who_were_not_told_are_told() {
    let shop = Shop::new();
    shop.notifications_db.sabotage("alter table notifications rename to gone");
    shop.orders().place(draft("tok_visa"), None).unwrap();
    shop.notifications_db.sabotage("alter table gone rename to notifications");
    shop.restart();
    assert_eq!((shop.orders_where("notice = 'sent'"), shop.notifications_where("true")), (1, 1));
}

#[test]
fn lists_and_starts_read_by_index() {
    let shop = Shop::new();
    let plan = |database: &TestPlatform, query: &str| {
        database.texts(&format!("explain query plan {query}"), "detail").join("; ")
    };
    let unfinished =
        "select id, attempts from orders where (status = 'pending' or refund_due = 1 or (status = 'paid' and notice = 'pending'))
        order by attempts, id limit 50";
    let page = "select * from orders where customer = 'ada' and id < '~' order by id desc limit 21";
    for (query, index) in [(unfinished, "orders_unfinished"), (page, "orders_by_customer")] {
        let plan = plan(&shop.orders_db, query);
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    let page = "select * from notifications where recipient = 'ada' and id < '~' order by id desc limit 21";
    let plan = plan(&shop.notifications_db, page);
    assert!(plan.contains("notifications_by_recipient") && !plan.contains("TEMP B-TREE"), "{plan}");
}
