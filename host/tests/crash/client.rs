//! A client of the shop. Each request has a connection of its own, and an answer counts only if it is complete.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// The maximum time to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A complete HTTP response of the shop.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// Returns the id of the order in the answer.
    pub fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no order: {self:?}"))
    }
}

/// Sends a request on a new connection and reads the whole answer. Returns an error if the connection ended before the answer was complete.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: Option<&Value>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request(method, path, headers, body).as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    read(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Returns the text of an HTTP/1.1 request. `headers` has complete header lines, and `None` as the body means no body.
pub fn request(method: &str, path: &str, headers: &str, body: Option<&Value>) -> String {
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn read(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let body = &answer[end + 4..];
    let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() == length).then(|| Answer { status, body: serde_json::from_slice(body).unwrap_or_default() })
}

/// Sends requests of customers to the shop at this address.
#[derive(Debug, Clone, Copy)]
pub struct Shop(pub SocketAddr);

impl Shop {
    /// Places an order, with or without an idempotency key.
    pub fn place(self, draft: &Value, key: Option<&str>) -> io::Result<Answer> {
        let header = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        send(self.0, "POST", "/orders", &header, Some(draft))
    }

    /// Cancels an order.
    pub fn cancel(self, id: &str) -> io::Result<Answer> {
        send(self.0, "POST", &format!("/orders/{id}/cancel"), "", None)
    }

    /// Sends a `GET` request.
    pub fn get(self, path: &str) -> io::Result<Answer> {
        send(self.0, "GET", path, "", None)
    }

    /// Returns all orders of a customer.
    pub fn list(self, customer: &str) -> Vec<Value> {
        let answer = self.get(&format!("/orders?customer={customer}")).unwrap();
        answer.body["items"].as_array().unwrap_or_else(|| panic!("no list: {answer:?}")).clone()
    }
}

/// Returns the JSON of an order of two packs of tea, to be paid with the card token `card`.
pub fn draft(customer: &str, card: &str) -> Value {
    json!({
        "customer": customer,
        "lines": [{"sku": "tea", "quantity": 2, "unit_price": {"currency": "EUR", "minor": 450}}],
        "payment": {"card": card},
    })
}
