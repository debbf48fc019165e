//! A client of the admin API.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use watertight_model::config::{self, Overrides};

use crate::host::Host;
use crate::wire::{Answer, once, request};

/// The boundary between the parts of a multipart upload. This text occurs in no component.
const BOUNDARY: &str = "----swap-tests-f3a94c71d2";

/// A client that has the admin token of a host.
#[derive(Debug, Clone)]
pub struct Operator {
    pub address: SocketAddr,
    pub token: String,
}

impl Operator {
    pub fn of(host: &Host) -> Self {
        Self { address: host.admin(), token: host.token() }
    }

    /// Returns the bytes of a request that carries the admin token. `kind` is the media type of the body.
    pub fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        let token = format!("Bearer {}", self.token);
        request(method, path, &[("authorization", &token), ("content-type", kind)], body)
    }

    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        once(self.address, &self.request(method, path, kind, body)).unwrap()
    }

    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "application/json", b"").expect(200).body
    }

    pub fn generations(&self) -> Value {
        self.get("/generations")
    }

    pub fn swap(&self, module: &str, component: &[u8]) -> Answer {
        self.ask("POST", &format!("/modules/{module}/swap"), "application/wasm", component)
    }

    /// Replaces a module by a component. Panics unless the host publishes this as a new generation. Returns the generation's number.
    pub fn swapped(&self, module: &str, component: &[u8]) -> u64 {
        published(&self.swap(module, component))
    }

    pub fn rollback(&self, to: Option<u64>) -> Answer {
        let body = json!({ "to": to }).to_string();
        self.ask("POST", "/rollback", "application/json", body.as_bytes())
    }

    /// Replaces the host's application by the one in a folder. With `dry_run`, the host only reports what would change.
    pub fn apply(&self, folder: &Path, dry_run: bool) -> Answer {
        self.upload(&parts_of(folder), dry_run)
    }

    /// Sends `POST /apply` with an upload of these parts, each a name and its content.
    pub fn upload(&self, parts: &[(String, Vec<u8>)], dry_run: bool) -> Answer {
        let path = if dry_run { "/apply?dry_run=true" } else { "/apply" };
        self.ask("POST", path, &format!("multipart/form-data; boundary={BOUNDARY}"), &multipart(parts))
    }
}

/// Returns the number of the generation that a change published, from the answer to the change. Panics if nothing was published.
pub fn published(answer: &Answer) -> u64 {
    assert_eq!((answer.status, &answer.body["published"]), (200, &json!(true)), "{answer:?}");
    answer.body["generation"].as_u64().unwrap()
}

/// Returns the parts of an upload of the application in a folder, each a name and its content: manifest and routes, and each component.
pub fn parts_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let config = config::load(folder, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let mut parts = vec![("@files".to_owned(), serde_json::to_vec(&config.files).unwrap())];
    for (name, module) in &config.modules {
        parts.push((name.to_string(), std::fs::read(module.component.value.file()).unwrap()));
    }
    parts
}

/// Encodes the parts of an upload, each a name and its content, as a multipart body.
pub fn multipart(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}
