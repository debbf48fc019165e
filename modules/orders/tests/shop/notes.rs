//! Tests of the notes beside orders.

use std::thread;

use shop_orders::notes::{Error, Note, NoteChange, Notes};

use crate::world::{Shop, draft};

fn text(text: &str) -> Option<Option<String>> {
    Some(Some(text.to_owned()))
}

#[test]
fn a_change_leaves_removes_or_replaces_each_field() {
    let shop = Shop::new();
    let id = shop.orders().place(draft("tok_visa"), None).unwrap().id;
    let notes = Notes::new(shop.orders_db.clone());
    assert_eq!(notes.get(&id), Ok(Note { gift: None, delivery: None, changed_at: None }));
    let patch = |gift, delivery| {
        let note = notes.patch(&id, &NoteChange { gift, delivery }).unwrap();
        assert_eq!(notes.get(&id).unwrap(), note);
        (note.gift, note.delivery)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(patch(text("a"), text("b")), (some("a"), some("b")));
    assert_eq!(patch(None, None), (some("a"), some("b")));
    assert_eq!(patch(Some(None), None), (None, some("b")));
    assert_eq!(patch(None, text("c")), (None, some("c")));
    assert_eq!(patch(text("d"), Some(None)), (some("d"), None));
    assert_eq!(shop.orders_db.count("select count(*) from order_notes"), 1);
}

#[test]
fn a_bad_change_changes_nothing() {
    let shop = Shop::new();
    let id = shop.orders().place(draft("tok_visa"), None).unwrap().id;
    let notes = Notes::new(shop.orders_db.clone());
    for wrong in ["".to_owned(), "x".repeat(2_001)] {
        let change = NoteChange { gift: text("x"), delivery: text(&wrong) };
        assert!(matches!(notes.patch(&id, &change), Err(Error::Invalid(at)) if at.field == "delivery"));
    }
    let change = NoteChange { gift: text("x"), delivery: None };
    for unknown in ["nobody", ""] {
        let missing = Err(Error::NotFound(unknown.to_owned()));
        assert_eq!(notes.patch(unknown, &change), missing);
        assert_eq!(notes.patch(unknown, &NoteChange::default()), missing);
        assert_eq!(notes.get(unknown), missing);
    }
    assert_eq!(shop.orders_db.count("select count(*) from order_notes"), 0);
}

#[test]
fn changes_of_different_fields_at_the_same_time_all_take_effect() {
    let shop = Shop::new();
    let id = shop.orders().place(draft("tok_visa"), None).unwrap().id;
    let notes = Notes::new(shop.orders_db.clone());
    thread::scope(|scope| {
        for number in 0..16 {
            let (notes, id) = (&notes, &id);
            let change = match number % 2 {
                0 => NoteChange { gift: text("a"), delivery: None },
                _ => NoteChange { gift: None, delivery: text("b") },
            };
            scope.spawn(move || notes.patch(id, &change).unwrap());
        }
    });
    let note = notes.get(&id).unwrap();
    assert_eq!((note.gift.as_deref(), note.delivery.as_deref()), (Some("a"), Some("b")));
}
