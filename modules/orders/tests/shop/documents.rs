//! Tests of receipts and exports.

use shop_orders::documents::{Documents, Error, MAX_LINES};

use crate::world::{Shop, draft, line};

#[test]
fn a_receipt_has_the_order_and_escapes_every_value() {
    let shop = Shop::new();
    let mut draft = draft("tok_visa");
    draft.customer = "<script>alert('x')</script> & \"co\"".to_owned();
    draft.lines = vec![line("<b>tea", 2, 450), line("cup", 1, 5)];
    let order = shop.orders().place(draft, None).unwrap();
    let page = Documents::new(shop.orders_db.clone()).receipt(&order.id).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">\n") && page.ends_with("</html>\n"), "{page}");
    for part in ["&lt;script&gt;", "&amp; &quot;co&quot;", "&lt;b&gt;tea", "9.00 EUR", "0.05 EUR", "9.05 EUR"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    for part in [&order.id, &order.created_at, order.payment_id.as_ref().unwrap()] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
}

#[test]
fn only_a_paid_order_has_a_receipt() {
    let shop = Shop::new();
    let documents = Documents::new(shop.orders_db.clone());
    let order = shop.orders().place(draft("tok_visa"), None).unwrap();
    documents.receipt(&order.id).unwrap();
    shop.orders().cancel(&order.id).unwrap();
    assert_eq!(documents.receipt(&order.id), Err(Error::NotPaid("cancelled")));
    assert_eq!(documents.receipt("nobody"), Err(Error::NotFound("nobody".to_owned())));
}

#[test]
fn an_export_has_all_pages_of_a_customers_orders() {
    let shop = Shop::new();
    let placed: Vec<_> = (0..101).map(|_| shop.orders().place(draft("tok_visa"), None).unwrap().id).collect();
    let export = Documents::new(shop.orders_db.clone()).export("ada").unwrap();
    let (head, rows) = export.split_once("\r\n").unwrap();
    assert_eq!(head, "order,created_at,status,line,sku,quantity,unit_price,currency");
    let ids: Vec<_> = rows.lines().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(ids, placed.iter().rev().collect::<Vec<_>>());
}

#[test]
fn an_export_is_bounded_and_divides_no_order() {
    let shop = Shop::new();
    // 102 orders with 99 lines each: the last one would have more lines than an export.
    shop.orders_db.execute_directly(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 102)
         insert into orders (id, customer, status, method, currency, total, created_at)
         select printf('01ARYZ6S41%016d', i), 'ada', 'paid', 'invoice', 'EUR', 1, '2016-07-30T22:36:16.385Z' from n;
         with recursive n(i) as (select 0 union all select i + 1 from n where i < 98)
         insert into order_lines (order_id, position, sku, quantity, unit_price)
         select id, i, 'tea', 1, 1 from orders, n;",
    );
    let export = Documents::new(shop.orders_db.clone()).export("ada").unwrap();
    let rows = export.lines().count() - 1;
    assert!(rows <= MAX_LINES && rows == 101 * 99, "{rows}");
    assert!(!export.contains("01ARYZ6S410000000000000001,"));
}
