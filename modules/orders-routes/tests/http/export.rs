//! Tests of the export.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use serde_json::Value;

use crate::client::{Client, json, text};
use crate::world::draft;

/// Places orders until there are `count`.
fn place(client: &Client, count: i64) {
    for _ in client.shop.orders_where("true")..count {
        client.shop.orders().place(draft("tok_visa"), None).unwrap();
    }
}

fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.lines().map(id).collect()
}

#[tokio::test]
async fn each_order_is_a_line() {
    let client = Client::new();
    let empty = client.get("/orders/export").await;
    assert_eq!(empty.headers()["content-type"], "application/x-ndjson");
    assert_eq!(text(empty).await, "");

    place(&client, 250);
    let all = text(client.get("/orders/export").await).await;
    assert!(all.ends_with('\n'));
    let ids = ids(&all);
    assert!(ids.is_sorted());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 250);
    let line: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert_eq!(line, json(client.get(&format!("/orders/{}", ids[0])).await).await);
}

#[tokio::test]
async fn an_export_goes_on_after_an_id() {
    let client = Client::new();
    place(&client, 120);
    let all = ids(&text(client.get("/orders/export").await).await);
    let rest = ids(&text(client.get(&format!("/orders/export?after={}", all[109])).await).await);
    assert_eq!(rest, all[110..]);
}

#[tokio::test]
async fn a_page_is_read_when_the_one_before_was_taken() {
    let client = Client::new();
    place(&client, 150);
    let mut body = client.get("/orders/export").await.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert_eq!(first.iter().filter(|byte| **byte == b'\n').count(), 100);
    // What is placed after the export began is not in it; what changes before its page is read is there as it is then.
    place(&client, 160);
    client.shop.orders_db.execute_directly("update orders set customer = 'eve'");
    let rest: Vec<Bytes> = body.map(Result::unwrap).collect().await;
    let rest = String::from_utf8(rest.concat()).unwrap();
    assert_eq!(rest.lines().count(), 50);
    assert!(rest.lines().all(|line| line.contains("\"customer\":\"eve\"")));
}

#[tokio::test]
async fn a_database_that_fails_is_a_status_before_and_a_broken_body_after() {
    let client = Client::new();
    place(&client, 150);
    let mut body = client.get("/orders/export").await.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    client.shop.orders_db.execute_directly("alter table orders rename to other");
    assert!(body.next().await.unwrap().is_err());
    let refused = client.get("/orders/export").await;
    assert_eq!(refused.status(), 500);
    assert_eq!(json(refused).await["type"], "/problems/storage");
}

#[tokio::test]
async fn an_export_takes_no_other_input() {
    let client = Client::new();
    assert_eq!(client.get("/orders/export?limit=1").await.status(), 400);
    assert_eq!(client.send("GET", "/orders/export", &[], "x").await.status(), 400);
    assert_eq!(client.send("POST", "/orders/export", &[], Body::empty()).await.status(), 405);
    assert_eq!(client.send("HEAD", "/orders/export", &[], Body::empty()).await.status(), 200);
}
