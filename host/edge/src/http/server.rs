//! A listener: it accepts connections, and speaks HTTP/1.1 and HTTP/2 without TLS (h2c) on them. When it stops, it lets the requests in
//! flight finish.
//!
//! All listeners of the host use this module. An accept error never ends a listener.

mod body;
mod connection;
mod connections;
mod http2;
mod memory;
mod progress;
mod pulse;
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
use axum::http::{HeaderValue, Request, Response, header};
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::unconstrained;

use watertight_telemetry::Telemetry;
use watertight_telemetry::table::RefusalReason;

use body::AnswerBody;
use connection::{ConnectionCommand, ConnectionTimer};
use connections::{ConnectionGuard, Connections};
use http2::Http2;
use refusal::Refusals;
use wire::Wire;

pub use body::{BodyError, RequestBody};
pub use connection::{Connection, HeldBytes, NoRoom, PermitShare};
pub(super) use http2::content_length;
pub use pulse::Pulse;

/// The pause before a listener accepts again after an error that will not pass at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of connections that the kernel queues until they are accepted. A lower `net.core.somaxconn` (4,096 by default)
/// takes precedence. If the queue is full, a client tries again a second later. At 3,500 new connections a second, the 128 of the
/// standard library's sockets are full after 40 ms.
const BACKLOG: u32 = 4096;
/// How long a stopping listener still accepts, so that it learns from the kernel of connections that already wait.
const BACKLOG_GRACE: Duration = Duration::from_millis(20);
/// How long a stopping listener waits for the next request of idle connections. Its response says that the connection ends, so a client that
/// sends one request after another never sends one into a connection that is being closed.
const NEXT_REQUEST_WAIT: Duration = Duration::from_millis(500);
/// The maximum number of bytes that a connection reads at once, and so the largest head of an HTTP/1.1 request. A target of 64 KiB, the
/// longest that hyper accepts, fits in. hyper reads up to sixteen times without yielding the thread. With hyper's own default of 400 KiB,
/// 1 % of the requests beside a large upload waited for 300 ms; with 64 KiB, for 105 ms.
const MAX_BUFFER: usize = 128 << 10;
/// The bytes that are held in memory for one connection are at most [`ListenerLimits::max_held_bytes`] divided by this number.
const HELD_BYTES_DIVISOR: u64 = 8;

/// The limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// The maximum number of open connections. Further connections wait in the kernel's backlog.
    pub connections: u32,
    /// The maximum number of open requests on one HTTP/2 connection. Further requests are refused.
    pub streams: u32,
    /// Stricter limits for connections that have not sent the listener's token. `None` if the listener has no token.
    pub tokenless: Option<UnauthenticatedLimits>,
    /// The maximum time for a request's head to arrive, and the maximum time that a connection may be idle.
    pub header_timeout: Duration,
    /// The minimum time for which a connection must have been idle before it may be closed to make room for another.
    pub min_idle_before_eviction: Duration,
    /// The maximum time in which a client may send too little of a request's body, or accept too little of a response.
    pub progress_timeout: Duration,
    /// The maximum number of bytes that are held in memory for all clients together: request bodies, responses until clients have taken
    /// them, and heads of open HTTP/2 requests.
    pub max_held_bytes: u64,
    /// How long a stopping listener waits for the requests in flight.
    pub drain_timeout: Duration,
}

/// Limits for connections that have not sent the listener's token.
#[derive(Debug, Clone, Copy)]
pub struct UnauthenticatedLimits {
    /// The maximum number of connections that have not sent the token.
    pub connections: u32,
    /// The maximum time that a connection may be idle before it has sent the token.
    pub idle: Duration,
}

/// A response that is ready to be sent, with the guard of the memory that it takes.
pub struct CountedResponse {
    /// The response.
    pub response: Response<Body>,
    /// Guard that counts the body's bytes as held in memory for the client. `None` if the bytes are not counted.
    pub held: Option<HeldBytes>,
}

impl From<Response<Body>> for CountedResponse {
    fn from(response: Response<Body>) -> Self {
        Self { response, held: None }
    }
}

/// A bound socket that does not serve connections yet.
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    bounds: ListenerLimits,
    /// Whether another process gave the socket to this one and keeps it open.
    is_inherited: bool,
    pings: pulse::Pings,
}

impl Listener {
    /// Binds `address`. Port 0 picks a free port. `name` labels the listener in metrics.
    ///
    /// # Errors
    ///
    /// The socket cannot be created or bound, for instance because the port is in use.
    pub fn bind(name: &'static str, address: SocketAddr, bounds: ListenerLimits) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Without this option, a restarted host could not bind the port until the old connections have left the kernel's tables.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let (socket, pings) = (socket.listen(BACKLOG)?, pulse::Pings::default());
        Ok(Self { name, socket, bounds, is_inherited: false, pings })
    }

    /// Takes over a listening socket that a service manager has bound. When the listener stops, connections that it has not accepted stay in
    /// the kernel's queue for the next process. Must run inside a tokio runtime. `name` labels the listener in metrics.
    ///
    /// # Errors
    ///
    /// The socket cannot be set to non-blocking mode or registered with the runtime.
    pub fn inherited(name: &'static str, socket: std::net::TcpListener, bounds: ListenerLimits) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (socket, pings) = (TcpListener::from_std(socket)?, pulse::Pings::default());
        Ok(Self { name, socket, bounds, is_inherited: true, pings })
    }

    /// Returns a handle that tells whether this listener's task still runs.
    pub fn pulse(&self) -> Pulse {
        self.pings.pulse()
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The operating system cannot report the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves connections until `stop` becomes true. Then lets requests in flight finish, for at most [`ListenerLimits::drain_timeout`].
    ///
    /// Returns whether all connections ended within that time.
    pub async fn serve<H, F>(self, handle: H, telemetry: &Telemetry, mut stop: watch::Receiver<bool>) -> bool
    where
        H: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
        F: Future + Send + 'static,
        F::Output: Into<CountedResponse> + Send,
    {
        let Self { name, socket, bounds, is_inherited, mut pings } = self;
        let connections = Connections::new(name, bounds, telemetry);
        let keeper = tokio::spawn(memory::trim_after_peaks(Arc::downgrade(&connections)));
        let mut count = 0;
        let mut serve = |(stream, peer): (TcpStream, SocketAddr)| {
            count += 1;
            tokio::spawn(serve_connection(stream, connections.add(count, peer), handle.clone()));
        };
        let mut all = async || loop {
            serve(accept(&socket, &connections).await);
        };
        tokio::select! {
            biased;
            // An error means that the sender is gone: the process is ending.
            _ = stop.wait_for(|stop| *stop) => {}
            () = all() => {}
            never = pings.answer() => match never {},
        }
        // Clients that connected before the stop have sent a request or are about to, and they could not tell whether it was handled. So
        // connections in the backlog are served too, unless the next process will find them there.
        if !is_inherited {
            let _ = tokio::time::timeout(BACKLOG_GRACE, all()).await;
            while let Some(next) = unconstrained(accept(&socket, &connections)).now_or_never() {
                serve(next);
            }
        }
        drop(socket);
        connections.announce_stop();
        let _ = tokio::time::timeout(NEXT_REQUEST_WAIT, connections.none_idle()).await;
        connections.close_when_idle();
        let all_ended = tokio::time::timeout(bounds.drain_timeout, connections.all_ended()).await.is_ok();
        keeper.abort();
        all_ended
    }
}

/// Waits for room and accepts the next connection. Returns it with the address of its client.
async fn accept(socket: &TcpListener, connections: &Connections) -> (TcpStream, SocketAddr) {
    loop {
        connections.wait_for_room().await;
        match socket.accept().await {
            Ok((stream, peer)) => {
                // Responses are written whole, so waiting for a full segment only delays them. If the option cannot be set, responses are
                // slower but correct.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if is_client_error(&error) => {}
            Err(error) => {
                tracing::warn!(target: "http", %error, "a connection could not be accepted; the listener tries again");
                connections.evict_any_idle();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns whether an accept error only says that one client went away.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves a connection until it ends. A client that disconnects or does not speak HTTP affects no other connection.
async fn serve_connection<H, F>(stream: TcpStream, guard: ConnectionGuard, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
    F: Future + Send + 'static,
    F::Output: Into<CountedResponse> + Send,
{
    let connection = &guard.0;
    let mut clock = ConnectionTimer::new(connection);
    let mut wire = Wire::new(stream, connection.clone());
    let version = loop {
        let command = tokio::select! {
            biased;
            version = wire.is_http2() => break version,
            command = poll_fn(|context| clock.poll_command(connection, context)) => command,
        };
        // A request whose first byte arrived before the stop is answered. Without one, nothing is left to answer.
        if !(matches!(command, ConnectionCommand::CloseWhenIdle) && connection.is_stopping() && wire.has_begun()) {
            return;
        }
    };
    match version {
        Ok(false) => serve_http1(wire, connection, &mut clock, handle).await,
        Ok(true) => Box::pin(serve_http2(wire, connection, &mut clock, handle)).await,
        Err(error) => tracing::debug!(target: "http", %error, "connection ended"),
    }
}

async fn serve_http1<H, F>(wire: Wire, connection: &Arc<Connection>, timer: &mut ConnectionTimer, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Send + 'static,
    F: Future + Send + 'static,
    F::Output: Into<CountedResponse> + Send,
{
    let requests = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let open = requests.open();
        let is_held_back = request.headers().contains_key(header::EXPECT);
        let answer = handle(request.map(|body| RequestBody::http1(body, is_held_back, requests.clone())));
        let stopping = requests.clone();
        async move {
            let CountedResponse { mut response, held } = answer.await.into();
            if stopping.is_stopping() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| AnswerBody::new(body, held, open)))
        }
    });
    let mut builder = http1::Builder::new();
    // The connection's clock ends slow heads, as it ends every connection that stays idle. hyper's own timer would be set and cleared for
    // each request.
    builder.header_read_timeout(None).max_buf_size(MAX_BUFFER);
    let mut http = pin!(builder.serve_connection(TokioIo::new(wire), service));
    loop {
        let step = poll_fn(|context| match http.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Ok(ended)),
            Poll::Pending => timer.poll_command(connection, context).map(Err),
        });
        match step.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                if error.is_parse() && !connection.mark_refused() {
                    refusal::refuse(connection, RefusalReason::Malformed, &error.to_string());
                }
                tracing::debug!(target: "http", %error, "connection ended");
                return;
            }
            Err(ConnectionCommand::CloseWhenIdle) if connection.is_stopping() => {
                // hyper closes an idle connection even if a part of its next request has arrived. So look once more.
                connection.read_unannounced();
                if poll_fn(|context| Poll::Ready(http.as_mut().poll(context).is_ready())).await {
                    return;
                }
                if !connection.has_partial_head() {
                    http.as_mut().graceful_shutdown();
                }
            }
            Err(ConnectionCommand::CloseWhenIdle) => http.as_mut().graceful_shutdown(),
            Err(ConnectionCommand::CloseNow) => return,
        }
    }
}

async fn serve_http2<H, F>(wire: Wire, connection: &Arc<Connection>, timer: &mut ConnectionTimer, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Send + 'static,
    F: Future + Send + 'static,
    F::Output: Into<CountedResponse> + Send,
{
    connection.mark_http2();
    let mut handshake = pin!(Http2::handshake(wire, handle, connection.clone()));
    let greeted = loop {
        tokio::select! {
            biased;
            greeted = &mut handshake => break greeted,
            command = poll_fn(|context| timer.poll_command(connection, context)) => match command {
                ConnectionCommand::CloseWhenIdle if connection.is_stopping() => {}
                _ => return,
            },
        }
    };
    let ended = match greeted {
        Ok(mut http) => {
            // The command may have come during the handshake.
            if connection.is_leaving() {
                http.close_when_idle();
            }
            loop {
                let step = poll_fn(|context| match http.poll(context) {
                    Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                    Poll::Pending => timer.poll_command(connection, context).map(Err),
                });
                match step.await {
                    Ok(ended) => break ended,
                    Err(ConnectionCommand::CloseWhenIdle) => http.close_when_idle(),
                    Err(ConnectionCommand::CloseNow) => return,
                }
            }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        if error.is_library() {
            refusal::refuse(connection, RefusalReason::Protocol, &error.to_string());
        }
        tracing::debug!(target: "http", %error, "connection ended");
    }
}

#[cfg(test)]
mod tests;
