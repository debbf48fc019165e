//! The connections that a module keeps open between its requests: two pools of hyper-util, and the connector that fills them.
//!
//! hyper-util tells connections apart by scheme and authority only. A pool must therefore never serve two modules, nor two generations of a
//! module: their grants differ.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Extensions, Response, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::body::LimitedRequestBody;
use super::connect::{self, ConnectError, Stream};
use super::trust::RootCertificates;
use super::{MAX_FIELDS, MAX_HEAD, origin};
use watertight_model::config::OutboundConfig;

/// How long a connection may be idle and still serve a request that can be sent again. Shorter than most servers' own limit. hyper-util looks
/// for older ones as often, so it may close one only after twice that time.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How long a connection may be idle and still serve any other request. A server that closes idle connections may close this one while the
/// request is on its way. Nobody then knows whether it was carried out. Hardly any server closes a connection that soon.
const MAX_IDLE_ONE_SHOT: Duration = Duration::from_secs(1);
/// The largest number of idle connections to one host, in each of the two pools.
const MAX_IDLE_PER_HOST: usize = 32;

tokio::task_local! {
    /// The exchange that the current task connects for. hyper-util passes nothing but the URI to a connector.
    pub(super) static EXCHANGE: CancellationToken;
}

pub(super) type Client = legacy::Client<Connector, LimitedRequestBody>;

/// The pools of one module in one generation.
///
/// There are two, because hyper-util has one limit of idle time for each. A request that can't be sent again never sees a connection of the
/// pool with the longer limit.
pub(super) struct Pools {
    /// For requests that can be sent again: idempotent ones without a body.
    pub(super) repeatable: Client,
    /// For all other requests.
    pub(super) one_shot: Client,
    /// The number of [`RootCertificates::reloads`] when the pools were made.
    reloads: u64,
}

impl Pools {
    pub(super) fn new(grant: &OutboundConfig) -> Arc<Self> {
        let connector = Connector {
            private: grant.private,
            timeout: grant.timeout,
            pooled: Arc::new(Semaphore::new(OutboundConfig::MAX_POOLED as usize)),
        };
        // Before the first connection is made, so that a reload in between makes the pools outdated.
        let reloads = RootCertificates::global().reloads();
        let client = |max_idle: Duration| {
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(max_idle).pool_max_idle_per_host(MAX_IDLE_PER_HOST);
            builder.http1_max_buf_size(MAX_HEAD).http1_max_headers(MAX_FIELDS).set_host(false);
            // hyper-util repeats only what a closed connection returned before a byte of it was written, so no server sees anything twice.
            builder.retry_canceled_requests(true);
            builder.build(connector.clone())
        };
        Arc::new(Self { repeatable: client(MAX_IDLE), one_shot: client(MAX_IDLE_ONE_SHOT), reloads })
    }

    /// Whether the trusted certificates were replaced since the pools were made.
    pub(super) fn are_outdated(&self) -> bool {
        self.reloads != RootCertificates::global().reloads()
    }
}

/// Whether a connection has served a request. All holders share the answer.
#[derive(Clone, Default)]
struct Served(Arc<AtomicBool>);

/// Records that the connection of a response has served a request.
pub(super) fn set_served<B>(response: &Response<B>) {
    if let Some(Served(served)) = response.extensions().get() {
        served.store(true, Ordering::Relaxed);
    }
}

/// Whether a request failed because its server closed the connection after it had served another request. The server then most likely never
/// read this one.
pub(super) fn was_closed_after_use(error: &legacy::Error) -> bool {
    let mut extras = Extensions::new();
    error.connect_info().inspect(|connected| connected.get_extras(&mut extras));
    let served = extras.get().is_some_and(|Served(served)| served.load(Ordering::Relaxed));
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<hyper::Error>());
    served && source.is_some_and(is_closing)
}

fn is_closing(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kind = std::error::Error::source(error).and_then(|source| Some(source.downcast_ref::<io::Error>()?.kind()));
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || matches!(kind, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

/// Connects to checked addresses for the pools.
#[derive(Clone)]
pub(super) struct Connector {
    private: bool,
    timeout: Duration,
    /// The [`OutboundConfig::MAX_POOLED`] permits of connections that can be pooled.
    pooled: Arc<Semaphore>,
}

impl Service<Uri> for Connector {
    type Response = PooledStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<PooledStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // hyper-util calls this in the task of the request, but may poll the future in another.
        let exchange = EXCHANGE.try_with(CancellationToken::clone).unwrap_or_default();
        Box::pin(self.clone().connect(uri, exchange))
    }
}

impl Connector {
    /// Connects to the host of a URI.
    ///
    /// hyper-util goes on to connect, for the pool, if the request gets another connection meanwhile. That is bounded by the permits of
    /// pooled connections and by the module's time limit. Without such a permit, connecting ends with the request's exchange.
    async fn connect(self, uri: Uri, exchange: CancellationToken) -> Result<PooledStream, ConnectError> {
        let to = origin(&uri).map_err(|_| ConnectError::BadName)?;
        let permit = self.pooled.try_acquire_owned().ok();
        let connecting = connect::connect(&to, self.private, RootCertificates::global());
        let stream = tokio::select! {
            connected = tokio::time::timeout(self.timeout, connecting) => connected.map_err(|_| ConnectError::TimedOut)??,
            () = exchange.cancelled(), if permit.is_none() => return Err(ConnectError::Closed),
        };
        Ok(PooledStream { stream: TokioIo::new(stream), served: Served::default(), permit })
    }
}

/// A connection of a pool, or one that serves a single request.
pub(super) struct PooledStream {
    stream: TokioIo<Box<dyn Stream>>,
    served: Served,
    /// The permit to be pooled. A connection without it serves one request.
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection for PooledStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.served.clone());
        if self.permit.is_none() {
            connected.poison();
        }
        connected
    }
}

impl Read for PooledStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl Write for PooledStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
