//! Tests of reading many orders, and changes.

use shop_orders::feed::{Feed, PAGE};
use shop_orders::model::OrderStatus;

use crate::world::{Shop, draft, line};

#[test]
fn an_order_has_the_number_of_its_latest_change() {
    let shop = Shop::new();
    let feed = Feed::new(shop.orders_db.clone());
    assert_eq!((feed.last_change(), feed.changes(0)), (Ok(0), Ok(Vec::new())));

    let one = shop.orders().place(draft("tok_visa"), None).unwrap();
    let two = shop.orders().place(draft("tok_visa"), None).unwrap();
    let changes = feed.changes(0).unwrap();
    assert_eq!(changes.iter().map(|change| &change.order).collect::<Vec<_>>(), [&one, &two]);
    assert!(changes[0].number < changes[1].number);
    assert_eq!(feed.last_change(), Ok(changes[1].number));
    assert_eq!(feed.changes(changes[0].number).unwrap(), changes[1..]);

    let cancelled = shop.orders().cancel(&one.id).unwrap();
    assert_eq!(cancelled.status, OrderStatus::Cancelled);
    let later = feed.changes(changes[1].number).unwrap();
    assert_eq!((later.len(), &later[0].order), (1, &cancelled));
}

#[test]
fn pages_of_changes_and_of_orders_are_bounded_and_have_all() {
    let shop = Shop::new();
    let feed = Feed::new(shop.orders_db.clone());
    assert_eq!(feed.last_id(), Ok(None));
    let mut draft = draft("tok_visa");
    draft.lines = vec![line("tea", 1, 1), line("cup", 2, 2), line("pot", 3, 3)];
    let count = PAGE as usize * 2 + 1;
    let placed: Vec<_> = (0..count).map(|_| shop.orders().place(draft.clone(), None).unwrap()).collect();

    let (mut number, mut changed) = (0, Vec::new());
    loop {
        let page = feed.changes(number).unwrap();
        let Some(last) = page.last() else { break };
        number = last.number;
        changed.extend(page.into_iter().map(|change| change.order));
    }
    assert_eq!(changed, placed);

    let until = feed.last_id().unwrap().unwrap();
    let (mut after, mut read, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = feed.orders(&after, &until).unwrap();
        let Some(last) = page.last() else { break };
        after = last.id.clone();
        read.extend(page);
        pages += 1;
    }
    assert_eq!((read, pages), (placed, 3));
}
