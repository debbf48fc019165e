//! Tests of notifications with a real database.
#![allow(clippy::unwrap_used)]

use shop_common::Level;
use shop_common::testing::TestPlatform;
use shop_notifications::model::{Error, Field, Notice};
use shop_notifications::service::Notifications;

fn shop() -> (Notifications<TestPlatform>, TestPlatform) {
    let database = TestPlatform::new(env!("CARGO_MANIFEST_DIR"));
    (Notifications::new(database.clone()), database)
}

fn notice(recipient: &str, order: &str) -> Notice {
    let field = |name: &str, value: &str| Field { name: name.to_owned(), value: value.to_owned() };
    let fields = vec![field("total", "9.00 EUR"), field("order", order)];
    Notice { recipient: recipient.to_owned(), template: "order-placed".to_owned(), fields }
}

#[test]
fn a_notice_is_rendered_kept_and_logged() {
    let (notifications, database) = shop();
    let told = notifications.notify(notice("ada", "1"), "k").unwrap();
    assert_eq!(told.text, "Thank you! Your order 1 over 9.00 EUR was placed.");
    assert_eq!(notifications.list("ada", None, None).unwrap().items, std::slice::from_ref(&told));
    assert_eq!(database.logged(Level::Info), [format!("notifications: to \"ada\": {}", told.text)]);
}

#[test]
fn a_key_names_one_notice() {
    let (notifications, database) = shop();
    let told = notifications.notify(notice("ada", "1"), "k").unwrap();
    let mut again = notice("ada", "1");
    again.fields.reverse();
    assert_eq!(notifications.notify(again, "k").unwrap(), told);
    let cancelled = Notice { template: "order-cancelled".to_owned(), ..notice("ada", "1") };
    for other in [notice("ada", "2"), notice("bob", "1"), cancelled] {
        assert!(matches!(notifications.notify(other, "k"), Err(Error::Conflict(_))));
    }
    // A later build may change the template's text. The notice still counts as the same.
    database.execute_directly("update notifications set text = 'older words'");
    assert_eq!(notifications.notify(notice("ada", "1"), "k").unwrap().id, told.id);
    assert_eq!(database.count("select count(*) from notifications"), 1);
    assert_eq!(database.logged(Level::Info).len(), 1);
}

#[test]
fn notices_are_checked() {
    let (notifications, database) = shop();
    let long = "x".repeat(129);
    let wrong = [
        (notice("", "1"), "k", "recipient"),
        (notice(&long, "1"), "k", "recipient"),
        (Notice { template: "hello".to_owned(), ..notice("ada", "1") }, "k", "template"),
        (Notice { fields: Vec::new(), ..notice("ada", "1") }, "k", "fields"),
        (notice("ada", "1"), "", "deduplication-key"),
        (notice("ada", "1"), &long, "deduplication-key"),
    ];
    for (notice, key, field) in wrong {
        assert!(matches!(notifications.notify(notice, key), Err(Error::Invalid(at)) if at.field == field), "{field}");
    }
    assert_eq!(database.count("select count(*) from notifications"), 0);
}

#[test]
fn lists_are_paged_newest_first() {
    let (notifications, _) = shop();
    for order in 1..=5 {
        notifications.notify(notice("ada", &order.to_string()), &format!("a{order}")).unwrap();
        notifications.notify(notice("bob", &order.to_string()), &format!("b{order}")).unwrap();
    }
    let first = notifications.list("ada", Some(3), None).unwrap();
    let second = notifications.list("ada", Some(3), first.next.as_deref()).unwrap();
    let texts: Vec<_> = first.items.iter().chain(&second.items).map(|told| &told.text[22..23]).collect();
    assert_eq!((texts.concat().as_str(), second.next), ("54321", None));
    for (limit, after, field) in [(Some(0), None, "limit"), (Some(101), None, "limit"), (None, Some("?"), "after")] {
        assert!(matches!(notifications.list("ada", limit, after), Err(Error::Invalid(at)) if at.field == field));
    }
    assert!(matches!(notifications.list("", None, None), Err(Error::Invalid(_))));
}
