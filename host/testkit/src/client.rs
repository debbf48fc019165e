//! Two clients for a host: an ordinary HTTP client, and one that sends any bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::host::Host;

/// The maximum time to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A complete HTTP response of a host.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The answer's body as JSON. It is null if the body is empty or not JSON.
    pub body: Value,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Returns the name of the problem that the answer reports: the part of the problem's type after `/problems/`.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|text| text.strip_prefix("/problems/")).unwrap_or_default()
    }

    /// Returns the text in the answer's body to which a JSON pointer leads.
    pub fn at(&self, pointer: &str) -> &str {
        let value = self.body.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("{pointer} is no text in {self:?}"))
    }

    /// Asserts that the answer has the HTTP status `status`, and returns the answer.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Returns a client with its own connections.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap()
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

impl Host {
    pub async fn get(&self, path: &str) -> Answer {
        send(client().get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(client().post(self.url(path)).json(body)).await
    }

    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        send(client().post(self.url(path)).header("Idempotency-Key", key).json(body)).await
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        send(client().get(self.admin_url(path)).bearer_auth(self.token())).await
    }

    /// Calls a module's function through the admin listener, and returns the answer.
    pub async fn call(&self, function: &str, arguments: &Value) -> Answer {
        let body = json!({ "function": function, "arguments": arguments });
        send(client().request(Method::POST, self.admin_url("/call")).bearer_auth(self.token()).json(&body)).await
    }

    /// Replaces a module by a component. `query` is the query of the request: empty, or with a question mark at its start.
    pub async fn swap(&self, module: &str, component: Vec<u8>, query: &str) -> Answer {
        let request =
            client().post(self.admin_url(&format!("/modules/{module}/swap{query}"))).bearer_auth(self.token());
        send(request.header("content-type", "application/wasm").body(component)).await
    }

    /// Calls a module's function through the admin listener, and returns the function's result.
    pub async fn called(&self, function: &str, arguments: Value) -> Value {
        self.call(function, &arguments).await.expect(200).body["result"].take()
    }
}

/// A connection that sends any bytes.
pub struct Raw(TcpStream);

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends bytes. The host may close the connection before it has read them all.
    pub fn try_send(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = self.0.write_all(bytes);
        self
    }

    /// Sends what the connection takes of these bytes without a wait.
    pub fn send_now(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.set_nonblocking(true).unwrap();
        let _ = self.0.write(bytes);
        self.0.set_nonblocking(false).unwrap();
        self
    }

    /// Closes the sending side of the connection.
    pub fn half_close(&mut self) -> &mut Self {
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Reads at most this number of bytes of what is there, or comes within the time that a read may take. Returns how many were read: 0 if
    /// the host has closed the connection.
    pub fn some(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        self.0.read(&mut bytes).unwrap_or(0)
    }

    /// Reads the next answer. `with_body` must be false for an answer to a `HEAD` request, which has no body.
    pub fn answer(&mut self, with_body: bool) -> Answer {
        let head = self.read_until("\r\n\r\n");
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        let length = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        let mut body = vec![0; if with_body { length } else { 0 }];
        self.0.read_exact(&mut body).unwrap();
        if with_body && headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            while let length @ 1.. = usize::from_str_radix(self.read_until("\r\n").trim(), 16).unwrap() {
                let mut chunk = vec![0; length + 2];
                self.0.read_exact(&mut chunk).unwrap();
                body.extend_from_slice(&chunk[..length]);
            }
            assert_eq!(self.read_until("\r\n"), "\r\n", "trailers");
        }
        let text = String::from_utf8(body).unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    /// Reads until the text that was read ends with `end`.
    fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("no answer: {error}, after {:?}", String::from_utf8_lossy(&text));
            });
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }

    /// Returns whether the host closes the connection within `time`. Ignores what the host sends before.
    pub fn is_closed(&mut self, time: Duration) -> bool {
        loop {
            match self.peek(time) {
                Ok(0) => return true,
                Ok(_) => {
                    let _ = self.0.read(&mut [0; 4096]);
                }
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }

    fn peek(&mut self, time: Duration) -> std::io::Result<usize> {
        self.0.set_read_timeout(Some(time)).unwrap();
        let seen = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(TIMEOUT)).unwrap();
        seen
    }

    /// Reads until the host closes the connection, and returns the bytes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut chunk = [0; 4096];
        // A reset also ends the loop.
        while let Ok(read @ 1..) = self.0.read(&mut chunk) {
            rest.extend_from_slice(&chunk[..read]);
        }
        rest
    }
}

/// Returns the bytes of a request with `content-length`.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if method != "GET" && method != "HEAD" {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}
