//! Simulated customers of the shop: most of their requests read an order, and some place one.

use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;

use super::load::{Requests, once};
use super::server::Server;
use crate::open::Request;

/// The JSON of the order that customers place: the example of the project's documentation.
const DRAFT: &str = r#"{"customer":"ada","lines":[{"sku":"tea","quantity":2,"unit_price":{"currency":"EUR","minor":450}}],"payment":{"card":"tok_visa"}}"#;
/// The number of different orders that the customers read.
const ORDERS: usize = 64;
/// One in this many requests places an order. The other requests read one.
const PLACING: u64 = 10;

/// Builds a `GET` request for `path`, which reads an order.
pub fn read(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

/// Places some orders, and returns a function that creates the customers' request with a given number.
pub fn customers(server: &Server) -> anyhow::Result<impl Fn(u64) -> Request + Clone + Send + 'static> {
    let place = Requests::post("/orders", DRAFT, 201);
    let mut reads: Vec<Arc<[u8]>> = Vec::with_capacity(ORDERS);
    for _ in 0..ORDERS {
        let order: Value = serde_json::from_slice(&once(server.address, &place)?)?;
        reads.push(read(&format!("/orders/{}", order["id"].as_str().context("an order has an id")?)).into());
    }
    let length = DRAFT.len();
    let head = "POST /orders HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json";
    let place: Arc<[u8]> = format!("{head}\r\ncontent-length: {length}\r\n\r\n{DRAFT}").into_bytes().into();
    Ok(move |number: u64| match number % PLACING {
        0 => Request { bytes: place.clone(), status: 201 },
        _ => Request { bytes: reads[(number % ORDERS as u64) as usize].clone(), status: 200 },
    })
}
