//! Tests of the connections that a module's requests share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use watertight_testkit::app::{App, guest};
use watertight_testkit::command::run;
use watertight_testkit::host::{self, Host};

use super::{app, outcomes, refused, request, send, with};

/// A server that keeps connections open, and knows which request came on which.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    /// The requests, each with the number of its connection.
    requests: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, open: Arc::default(), requests: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            let mut accepted = 0;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, number) = (accepting.clone(), accepted);
                accepted += 1;
                tokio::spawn(async move {
                    server.open.fetch_add(1, Ordering::SeqCst);
                    server.serve(number, stream).await;
                    server.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// Serves the requests of one connection. They have no bodies. The path says how a request is answered.
    async fn serve(&self, connection: usize, mut stream: TcpStream) {
        let mut is_first = true;
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap().replace(" HTTP/1.1", "");
            self.requests.lock().unwrap().push((connection, line.clone()));
            if line.ends_with("/dropped-if-not-first") && !is_first {
                return;
            }
            if line.ends_with("/wait") {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.is_err() {
                return;
            }
            if line.ends_with("/last") {
                return;
            }
            is_first = false;
        }
    }

    /// Returns the requests since the last call, each with the number of its connection.
    fn take(&self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Waits until no more than `most` connections are open.
    async fn has_at_most(&self, most: usize) {
        let begun = Instant::now();
        while self.open.load(Ordering::SeqCst) > most {
            // Less than the longest idle time, after which they are closed in any case.
            assert!(begun.elapsed() < Duration::from_secs(20), "{} are open", self.open.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn app(&self, settings: &str) -> App {
        app(&format!("allow = [\"http://{}\"]\n{settings}", self.address), "")
    }

    fn get(&self, path: &str) -> Value {
        request(self.address, path)
    }

    fn post(&self, path: &str) -> Value {
        with(self.get(path), "method", "POST".into())
    }
}

async fn answered(host: &Host, request: Value) {
    let answer = send(host, request.clone()).await;
    assert_eq!(answer["ok"]["text"], "hello", "{request}: {answer}");
}

fn seen(requests: &[(usize, &str)]) -> Vec<(usize, String)> {
    requests.iter().map(|(connection, line)| (*connection, (*line).to_owned())).collect()
}

#[tokio::test]
async fn requests_share_a_connection_that_was_not_idle_for_too_long() {
    let server = Server::start().await;
    let host = server.app("").launch().start();
    for request in [server.get("/a"), server.get("/b"), server.post("/c"), server.post("/d")] {
        answered(&host, request).await;
    }
    // What can be sent again and what can't have different connections.
    assert_eq!(server.take(), seen(&[(0, "GET /a"), (0, "GET /b"), (1, "POST /c"), (1, "POST /d")]));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    answered(&host, server.get("/e")).await;
    answered(&host, server.post("/f")).await;
    assert_eq!(server.take(), seen(&[(0, "GET /e"), (2, "POST /f")]));
    assert_eq!(outcomes(&host).await, [6, 0, 0, 0]);
}

#[tokio::test]
async fn a_server_may_close_an_idle_connection() {
    let server = Server::start().await;
    let host = server.app("").launch().start();
    answered(&host, server.get("/last")).await;
    answered(&host, server.post("/last")).await;
    server.has_at_most(0).await;
    answered(&host, server.get("/a")).await;
    answered(&host, server.post("/b")).await;
    // The next request may go out before the host notices that the server closed the connection.
    for _ in 0..20 {
        answered(&host, server.get("/last")).await;
    }
    assert_eq!(outcomes(&host).await, [24, 0, 0, 0]);
}

#[tokio::test]
async fn only_what_is_idempotent_is_sent_again() {
    let server = Server::start().await;
    let host = server.app("").launch().start();
    answered(&host, server.get("/a")).await;
    answered(&host, server.get("/dropped-if-not-first")).await;
    let [dropped, again] = [(0, "GET /dropped-if-not-first"), (1, "GET /dropped-if-not-first")];
    assert_eq!(server.take(), seen(&[(0, "GET /a"), dropped, again]));

    answered(&host, server.post("/b")).await;
    refused(&host, server.post("/dropped-if-not-first"), "HttpResponseIncomplete").await;
    let requests = server.take();
    assert_eq!(
        requests.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(),
        ["POST /b", "POST /dropped-if-not-first"]
    );
    assert_eq!(outcomes(&host).await, [3, 0, 0, 1]);
}

#[tokio::test]
async fn modules_do_not_share_connections() {
    let server = Server::start().await;
    let fetch = guest("fetch");
    let http = format!("[modules.g.http]\nallow = [\"http://{}\"]", server.address);
    let other = format!("[modules.g]\ncomponent = {fetch:?}\nuses = [\"http\", \"clocks\"]\n{http}");
    let host = app(&format!("allow = [\"http://{}\"]", server.address), &other).launch().start();
    for module in ["f", "g", "f", "g"] {
        let answer = host.called(&format!("{module}/fetch.send"), json!([server.get("/a")])).await;
        assert_eq!(answer["ok"]["text"], "hello", "{module}: {answer}");
    }
    let connections: Vec<_> = server.take().into_iter().map(|(connection, _)| connection).collect();
    assert_eq!(connections, [0, 1, 0, 1]);
}

#[tokio::test]
async fn a_new_grant_holds_for_hosts_that_a_connection_leads_to() {
    let server = Server::start().await;
    let app = server.app("");
    let host = app.launch().start();
    answered(&host, server.get("/a")).await;
    let file = app.path().join("app.toml");
    let manifest = std::fs::read_to_string(&file).unwrap().replace("\nallow = ", "\n# allow = ");
    std::fs::write(&file, manifest).unwrap();
    run(host::binary().arg("apply").arg(app.path()).arg("--state").arg(host.state())).expect(0);
    refused(&host, server.get("/b"), "HttpRequestDenied").await;
    assert_eq!(server.take(), seen(&[(0, "GET /a")]));
    // The generation is freed, and with it its connection.
    server.has_at_most(0).await;
}

#[tokio::test]
async fn not_all_connections_stay_open() {
    let server = Server::start().await;
    let host = server.app("concurrent = 100").launch().start();
    let answers = host.called("f/fetch.send-many", json!([server.get("/wait"), 100])).await;
    assert_eq!(answers, json!(vec!["200"; 100]));
    // The bodies were not read. They came with the heads, so that the connections can be used again.
    server.has_at_most(32).await;
    let before = server.take().len();
    answered(&host, server.get("/a")).await;
    assert_eq!((before, server.take().len()), (100, 1));
}
