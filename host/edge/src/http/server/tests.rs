//! Tests of connections whose clients read slowly, over real sockets with small buffers.

use std::sync::{Mutex, PoisonError};

use axum::Error;
use bytes::Bytes;
use futures::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// The size of a body in bytes: more than the sockets take, and less than hyper buffers.
const BODY: usize = 112 << 10;
/// The size of each socket's buffer in bytes. The kernel may take a few times as much.
const SOCKET: u32 = 4 << 10;
/// A time that no test reaches.
const LONG: Duration = Duration::from_secs(60);

/// A client that has sent a request and reads nothing of the answer, and the task that serves its connection.
struct Slow {
    client: TcpStream,
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    served: JoinHandle<()>,
}

impl Slow {
    /// Connects a client that gets [`BODY`] bytes as a stream, and then `end` or the end of the stream. Waits for that.
    async fn connect(progress_timeout: Duration, end: Option<&'static str>) -> Self {
        let (alive, gone) = oneshot::channel::<()>();
        let pieces = [Ok(Bytes::from(vec![b'x'; BODY]))].into_iter().chain(end.map(|end| Err(Error::new(end))));
        // The channel ends when the failure was taken, or when the body is dropped.
        let pieces = stream::unfold((pieces, Some(alive)), async |(mut pieces, alive)| {
            let piece = pieces.next()?;
            let alive = alive.filter(|_| piece.is_ok());
            Some((piece, (pieces, alive)))
        });
        let body = Arc::new(Mutex::new(Some(Body::from_stream(pieces))));
        let handle = move |_| {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(Response::new(body.expect("there is one request")))
        };

        let address = "127.0.0.1:0".parse().expect("a valid address");
        let socket = TcpSocket::new_v4().expect("a socket");
        // Accepted sockets inherit the size.
        socket.set_send_buffer_size(SOCKET).expect("a size");
        socket.bind(address).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let client = TcpSocket::new_v4().expect("a socket");
        client.set_recv_buffer_size(SOCKET).expect("a size");
        let connecting = client.connect(listener.local_addr().expect("an address"));
        let (client, accepted) = tokio::join!(connecting, listener.accept());
        let (mut client, (stream, peer)) = (client.expect("a connection"), accepted.expect("a connection"));
        let bounds = ListenerLimits {
            connections: 1,
            streams: 1,
            tokenless: None,
            header_timeout: LONG,
            min_idle_before_eviction: Duration::from_millis(1),
            progress_timeout,
            max_held_bytes: 1 << 20,
            drain_timeout: LONG,
        };
        let connections = Connections::new("test", bounds, &Telemetry::new());
        let guard = connections.add(1, peer);
        let connection = guard.0.clone();
        let served = tokio::spawn(serve_connection(stream, guard, handle));
        client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("the request is sent");
        let _ = gone.await;
        Self { client, connections, connection, served }
    }

    /// Waits until the connection would have been idle for long enough to be closed, and asks for room.
    async fn evict(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.connections.evict_any_idle();
    }

    /// Reads until the connection is closed or `end` has arrived. Returns the text.
    async fn read(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) || end.is_empty() {
            match self.client.read_buf(&mut text).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        String::from_utf8(text).expect("the answer is a text")
    }
}

fn body_length(text: &str) -> usize {
    text.matches('x').count()
}

#[tokio::test]
async fn a_connection_whose_answer_waits_to_be_written_is_not_idle() {
    let mut slow = Slow::connect(LONG, None).await;
    slow.evict().await;
    assert!(!slow.connection.is_leaving());
    let text = slow.read("\r\n0\r\n\r\n").await;
    assert_eq!((body_length(&text), text.ends_with("\r\n0\r\n\r\n")), (BODY, true));
    // Once the client has all of it, the connection makes room for others.
    while !slow.connection.is_leaving() {
        slow.evict().await;
    }
    assert_eq!(slow.read("").await, "");
    slow.served.await.expect("the connection is served");
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_its_connection_for_a_bounded_time() {
    let slow = Slow::connect(Duration::from_millis(100), None).await;
    slow.served.await.expect("the connection is served");
    assert_eq!(slow.connections.count(), 0);
}

#[tokio::test]
async fn what_came_before_a_failure_is_written_before_the_connection_ends() {
    let mut slow = Slow::connect(LONG, Some("the handler has failed")).await;
    slow.evict().await;
    let text = slow.read("").await;
    assert_eq!((body_length(&text), text.ends_with("x\r\n")), (BODY, true));
    slow.served.await.expect("the connection is served");
}
