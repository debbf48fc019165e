//! A listener: accepts connections, speaks HTTP/1.1 and h2c on them, and stops when told, letting what is in flight finish.
//!
//! An accept error never ends it. All listeners are served by it.

mod body;
mod connection;
mod connections;
mod http2;
mod memory;
mod progress;
mod refusal;
mod wire;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::unconstrained;

use watertight_telemetry::Telemetry;
use watertight_telemetry::table::Refusal;

use body::AnswerBody;
use connection::{Clock, Order};
use connections::{Connections, Entry};
use http2::Http2;
use refusal::Refusals;
use wire::Wire;

pub use body::{BodyError, RequestBody};
pub use connection::{Connection, HeldBytes, NoRoom, PlaceShare};

/// How long accepting pauses after an error that will not pass at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps until they are accepted, if its own `net.core.somaxconn` (4,096 by default) doesn't allow fewer. One
/// too many has its client try again a second later: the 128 that a socket of the standard library has are full after 40 ms at 3,500
/// new connections a second.
const BACKLOG: u32 = 4096;
/// How long a stop goes on accepting, so that the kernel's word of what waits is heard.
const LAST_CALL: Duration = Duration::from_millis(20);
/// How long a stop waits for the first requests of connections that were made before it.
const FIRST_REQUESTS: Duration = Duration::from_millis(500);
/// Bytes that a connection reads at once, and the largest head of an HTTP/1.1 request: a target of 64 KiB, the longest that hyper takes, fits
/// in. hyper reads up to sixteen times in one piece, in which nobody else has a turn on the thread: with its own 400 KiB, 1 % of those
/// beside a large upload waited for 300 ms, with 64 KiB for 105.
const MAX_BUFFER: usize = 128 << 10;
/// One connection may have this part of the bytes that are held for all clients.
const HELD_SHARE: u64 = 8;

/// What bounds a listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections open at once; further ones wait in the backlog.
    pub connections: u32,
    /// Requests open at once on one HTTP/2 connection; further ones are refused.
    pub streams: u32,
    /// What holds for those that have sent no token, where there is one.
    pub tokenless: Option<Tokenless>,
    /// How long a client may take to send a request's head; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a connection is idle before it may be ended to make room for another.
    pub grace: Duration,
    /// How long a body, an answer or a connection may make no progress.
    pub stall: Duration,
    /// Bytes that are held for all clients at once.
    pub held: u64,
    /// How long stopping waits for what is in flight.
    pub drain: Duration,
}

/// What bounds connections that have not sent the listener's token.
#[derive(Debug, Clone, Copy)]
pub struct Tokenless {
    /// How many there may be.
    pub connections: u32,
    /// How long one may be idle.
    pub idle: Duration,
}

/// An answer, on its way to the client.
pub struct Answer {
    /// The answer itself.
    pub response: Response<Body>,
    /// What is held for its body, where that is counted.
    pub held: Option<HeldBytes>,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self { response, held: None }
    }
}

/// A bound socket that nobody serves yet.
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    bounds: Bounds,
}

impl Listener {
    /// Binds `address`; port 0 takes any that is free. Metrics call the listener `name`.
    pub fn bind(name: &'static str, address: SocketAddr, bounds: Bounds) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A host that starts again would otherwise wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { name, socket: socket.listen(BACKLOG)?, bounds })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` says so, then lets what is in flight finish, up to the bound.
    ///
    /// Returns whether everything finished.
    pub async fn serve<H, F>(self, handle: H, telemetry: &Telemetry, mut stop: watch::Receiver<bool>) -> bool
    where
        H: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
        F: Future + Send + 'static,
        F::Output: Into<Answer> + Send,
    {
        let connections = Connections::new(self.name, self.bounds, telemetry);
        let keeper = tokio::spawn(memory::keep(Arc::downgrade(&connections)));
        let mut count = 0;
        let mut serve = |(stream, peer): (TcpStream, SocketAddr)| {
            count += 1;
            tokio::spawn(serve_connection(stream, connections.add(count, peer), handle.clone()));
        };
        let mut all = async || loop {
            serve(self.accept(&connections).await);
        };
        tokio::select! {
            biased;
            // An error means that nobody can say stop any more: the process is ending.
            _ = stop.wait_for(|stop| *stop) => {}
            () = all() => {}
        }
        // Who came before that has sent a request, or is about to, and could not know what became of it. So those in the backlog are
        // served too; and hyper, which ends connections that it has read no request of, is told to stop once it has read them.
        let _ = tokio::time::timeout(LAST_CALL, all()).await;
        while let Some(next) = unconstrained(self.accept(&connections)).now_or_never() {
            serve(next);
        }
        drop(self.socket);
        let _ = tokio::time::timeout(FIRST_REQUESTS, connections.all_have_asked()).await;
        connections.leave();
        let all_ended = tokio::time::timeout(self.bounds.drain, connections.all_ended()).await.is_ok();
        keeper.abort();
        all_ended
    }

    /// The next connection and where it comes from, once there is room for it.
    async fn accept(&self, connections: &Connections) -> (TcpStream, SocketAddr) {
        loop {
            connections.room().await;
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    // Answers are written whole: waiting to fill a segment only delays them. If it can't be set, they are slower.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) if of_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(target: "http", %error, "a connection could not be accepted");
                    connections.shed();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether an accept error is about one client that went away.
fn of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves a connection to its end. A client that breaks off or speaks no HTTP concerns nobody else.
async fn serve_connection<H, F>(stream: TcpStream, entry: Entry, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
    F: Future + Send + 'static,
    F::Output: Into<Answer> + Send,
{
    let connection = &entry.0;
    let mut clock = Clock::new(connection);
    let mut wire = Wire::new(stream, connection.clone());
    let version = tokio::select! {
        biased;
        version = wire.is_http2() => version,
        // Nothing was asked for yet.
        _ = poll_fn(|context| clock.poll_order(connection, context)) => return,
    };
    match version {
        Ok(false) => serve_http1(wire, connection, &mut clock, handle).await,
        Ok(true) => Box::pin(serve_http2(wire, connection, &mut clock, handle)).await,
        Err(error) => tracing::debug!(target: "http", %error, "connection ended"),
    }
}

async fn serve_http1<H, F>(wire: Wire, connection: &Arc<Connection>, clock: &mut Clock, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Send + 'static,
    F: Future + Send + 'static,
    F::Output: Into<Answer> + Send,
{
    let requests = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let open = requests.open();
        let answer = handle(request.map(|body| RequestBody::http1(body, requests.clone())));
        async move {
            let Answer { response, held } = answer.await.into();
            Ok::<_, Infallible>(response.map(|body| AnswerBody::new(body, held, open)))
        }
    });
    let mut builder = http1::Builder::new();
    // A slow head is let go by the clock, like everything else that holds a connection for nothing: hyper's own timer would be set
    // and cleared for each request.
    builder.header_read_timeout(None).max_buf_size(MAX_BUFFER);
    let mut http = pin!(builder.serve_connection(TokioIo::new(wire), service));
    loop {
        let step = poll_fn(|context| match http.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Ok(ended)),
            Poll::Pending => clock.poll_order(connection, context).map(Err),
        });
        match step.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                if error.is_parse() && !connection.refuse() {
                    refusal::refuse(connection, Refusal::Malformed, &error.to_string());
                }
                tracing::debug!(target: "http", %error, "connection ended");
                return;
            }
            Err(Order::Leave) => http.as_mut().graceful_shutdown(),
            Err(Order::End) => return,
        }
    }
}

async fn serve_http2<H, F>(wire: Wire, connection: &Arc<Connection>, clock: &mut Clock, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Send + 'static,
    F: Future + Send + 'static,
    F::Output: Into<Answer> + Send,
{
    let greeted = tokio::select! {
        biased;
        greeted = Http2::greet(wire, handle, connection.clone()) => greeted,
        _ = poll_fn(|context| clock.poll_order(connection, context)) => return,
    };
    let ended = match greeted {
        Ok(mut http) => loop {
            let step = poll_fn(|context| match http.poll(context) {
                Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                Poll::Pending => clock.poll_order(connection, context).map(Err),
            });
            match step.await {
                Ok(ended) => break ended,
                Err(Order::Leave) => http.leave(),
                Err(Order::End) => return,
            }
        },
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        if error.is_library() {
            refusal::refuse(connection, Refusal::Protocol, &error.to_string());
        }
        tracing::debug!(target: "http", %error, "connection ended");
    }
}
