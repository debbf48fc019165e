//! Tests of what plain functions answer beside JSON: headers of orders, a receipt as a page, an export as CSV, and a picture.

use watertight_testkit::client::{Answer, client, send};
use watertight_testkit::host::{Host, Launch};
use watertight_testkit::setup::Setup;

use crate::shop::{card, draft};

every_setup! {
    async fn an_order_says_where_it_is;
    async fn a_receipt_is_a_page_and_an_export_is_csv;
}

async fn get_with(host: &Host, path: &str, name: &str, value: &str) -> Answer {
    send(client().get(host.url(path)).header(name, value)).await
}

async fn an_order_says_where_it_is(setup: Setup) {
    let host = setup.shop().start();
    let placed = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let path = placed.header("location").to_owned();
    assert_eq!(path, format!("/orders/{}", placed.at("/id")));
    let order = host.get(&path).await.expect(200);
    assert_eq!(order.body, placed.body);
    if setup.owns_routes() {
        return;
    }
    assert_eq!(order.header("link"), format!("</payments/{}>; rel=\"payment\"", order.at("/payment_id")));
    let tag = order.header("etag");
    assert_eq!(tag, placed.header("etag"));
    let same = get_with(&host, &path, "if-none-match", tag).await.expect(304);
    assert_eq!((same.header("etag"), same.text.as_str()), (tag, ""));
    send(client().post(host.url(&format!("{path}/cancel")))).await.expect(200);
    let changed = get_with(&host, &path, "if-none-match", tag).await.expect(200);
    assert_ne!(changed.header("etag"), tag);

    // A list links its next page.
    host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    let page = host.get("/orders?customer=ada&limit=1").await.expect(200);
    let link = page.header("link");
    let next = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).unwrap();
    let last = host.get(next).await.expect(200);
    assert_eq!((last.body["items"][0]["id"].as_str(), last.header("link")), (Some(placed.at("/id")), ""));
}

async fn a_receipt_is_a_page_and_an_export_is_csv(setup: Setup) {
    let host = setup.shop().start();
    let mut draft = draft("ada & co", card("tok_visa"));
    draft["lines"][0]["sku"] = "<b>tea,\"green\"".into();
    let order = host.post("/orders", &draft).await.expect(201);
    let path = format!("/orders/{}/receipt", order.at("/id"));
    let receipt = host.get(&path).await.expect(200);
    assert_eq!(receipt.header("content-type"), "text/html; charset=utf-8");
    assert!(receipt.text.starts_with("<!DOCTYPE html>") && receipt.text.contains("9.00 EUR"), "{receipt:?}");
    assert!(receipt.text.contains("ada &amp; co") && !receipt.text.contains("<b>tea"), "{receipt:?}");
    get_with(&host, &path, "if-none-match", receipt.header("etag")).await.expect(304);
    get_with(&host, &path, "accept", "application/json").await.expect(406);

    let export = host.get("/orders.csv?customer=ada+%26+co").await.expect(200);
    assert_eq!(export.header("content-type"), "text/csv; charset=utf-8");
    assert!(
        export.header("content-disposition").starts_with("attachment; filename=\"orders-ada & co.csv\""),
        "{export:?}"
    );
    let row = "paid,1,\"<b>tea,\"\"green\"\"\",2,450,EUR\r\n";
    assert!(export.text.starts_with("order,created_at,") && export.text.ends_with(row), "{export:?}");
    host.get("/orders.csv?customer=").await.expect(422);

    // An order that is not paid has no receipt.
    send(client().post(host.url(&format!("/orders/{}/cancel", order.at("/id"))))).await.expect(200);
    assert_eq!(host.get(&path).await.expect(409).problem(), "not-paid");
    assert_eq!(host.get("/orders/nobody/receipt").await.expect(404).problem(), "not-found");
}

#[tokio::test]
async fn a_picture_is_downloaded_whole_in_parts_and_not_again() {
    let host = Launch::shop().start();
    let path = "/products/tea/picture";
    host.get(path).await.expect(404);
    let head = [0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0];
    let picture = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &head, &[7; 5_000]].concat();
    let put = client().put(host.url(path)).header("content-type", "image/png").body(picture.clone());
    let info = send(put).await.expect(200);

    let read = client().get(host.url(path)).send().await.unwrap();
    let (kind, tag) = (read.headers()["content-type"].clone(), read.headers()["etag"].to_str().unwrap().to_owned());
    assert_eq!((kind.to_str().unwrap(), tag.as_str()), ("image/png", format!("\"{}\"", info.at("/digest")).as_str()));
    assert_eq!(read.bytes().await.unwrap(), picture);
    get_with(&host, path, "if-none-match", &tag).await.expect(304);
    let part = client().get(host.url(path)).header("range", "bytes=1-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), &part.bytes().await.unwrap()[..]), (206, b"PNG".as_slice()));
    get_with(&host, path, "range", "bytes=9999-").await.expect(416);
}
