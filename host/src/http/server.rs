//! A listener: accepts connections, speaks HTTP/1.1 and h2c on them, and stops when told, letting what is in flight finish.
//!
//! An accept error never ends it. Both edges are served by it.

mod idle;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::unconstrained;

use idle::{Activity, Sent};

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
/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

/// What bounds a listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections open at once; further ones wait in the backlog.
    pub connections: u32,
    /// How long a client may take to send a request's head; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long stopping waits for what is in flight.
    pub drain: Duration,
}

/// A bound socket that nobody serves yet.
pub struct Listener {
    socket: TcpListener,
    bounds: Bounds,
}

impl Listener {
    /// Binds `address`; port 0 takes any that is free.
    pub fn bind(address: SocketAddr, bounds: Bounds) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A host that starts again would otherwise wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(BACKLOG)?, bounds })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` says so, then lets what is in flight finish, up to the bound.
    ///
    /// Returns whether everything finished.
    pub async fn serve<H, F>(self, handle: H, mut stop: watch::Receiver<bool>) -> bool
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.bounds.connections as usize));
        let graceful = GracefulShutdown::new();
        let builder = self.protocols();
        // Each connection has one until its first request.
        let (newcomer, mut newcomers) = mpsc::channel::<Infallible>(1);
        let serve = |(stream, place): (TcpStream, OwnedSemaphorePermit), newcomer: mpsc::Sender<Infallible>| {
            let newcomer = Mutex::new(Some(newcomer));
            let activity = Activity::new();
            let stream = TokioIo::new(stream);
            let (handle, requests) = (handle.clone(), activity.clone());
            let service = service_fn(move |request| {
                newcomer.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (busy, activity) = (requests.request(), requests.clone());
                let answer = handle(request);
                async move {
                    let answer = answer.await.map(|body| Sent::new(body, activity));
                    drop(busy);
                    Ok::<_, Infallible>(answer)
                }
            });
            let connection = graceful.watch(builder.serve_connection(stream, service).into_owned());
            let limit = self.bounds.header_timeout;
            tokio::spawn(async move {
                let ended = tokio::select! {
                    ended = connection => ended,
                    () = activity.idle(limit) => Err("nothing happened on it".into()),
                };
                // A client that breaks off or speaks no HTTP concerns nobody else.
                if let Err(error) = ended {
                    tracing::debug!(target: "http", %error, "connection ended");
                }
                drop(place);
            });
        };
        let all = async || loop {
            serve(self.accept(&places).await, newcomer.clone());
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
        while let Some(next) = unconstrained(self.accept(&places)).now_or_never() {
            serve(next, newcomer.clone());
        }
        drop((self.socket, newcomer));
        let _ = tokio::time::timeout(FIRST_REQUESTS, newcomers.recv()).await;
        tokio::time::timeout(self.bounds.drain, graceful.shutdown()).await.is_ok()
    }

    fn protocols(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        // A slow head is let go by `Activity`, like everything else that holds a connection for nothing: hyper's own timer would be set
        // and cleared for each request.
        builder.http1().header_read_timeout(None).max_buf_size(MAX_BUFFER);
        builder.http2().max_concurrent_streams(MAX_STREAMS);
        builder
    }

    /// The next connection, with its place among those that may be open.
    async fn accept(&self, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // Answers are written whole: waiting to fill a segment only delays them. If it can't be set, they are slower.
                    let _ = stream.set_nodelay(true);
                    return (stream, place);
                }
                Err(error) if of_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(target: "http", %error, "a connection could not be accepted");
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
