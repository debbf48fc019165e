//! HTTP requests that modules send to other hosts: checks the grant, connects, and bounds size, time and number.
//!
//! Each request is checked on its own, also if an open connection could serve it. A redirect is returned to the module like any other
//! response; a module that follows it sends a new request. Requests use HTTP/1.1. Connections stay open for further requests of the same
//! module in the same generation, never for those of others.

mod address;
mod body;
mod connect;
mod pool;
mod trust;

use std::error::Error as _;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::CONTENT_LENGTH;
use ::http::{Method, Request, Response, Uri};
use arc_swap::ArcSwap;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use body::{LimitedRequestBody, LimitedResponseBody, RequestBodyError};
use connect::ConnectError;
use pool::{Client, EXCHANGE, Pools};
use trust::RootCertificates;
use watertight_model::config::{AllowedOrigin, HostName, Origin, OutboundConfig, Scheme};
use watertight_telemetry::OutboundMetrics;
use watertight_telemetry::table::OutboundOutcome;

pub use trust::{NoCertificates, reload_certificates};

/// The largest head of a response, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// The largest number of header fields in a response.
const MAX_FIELDS: usize = 200;

/// The outbound HTTP client of one module in one generation: its grant, its connections, its concurrency limit and its counters.
pub struct OutboundClient {
    grant: OutboundConfig,
    /// The pooled connections. They are closed when the client is dropped, which is when its generation is freed.
    pools: ArcSwap<Pools>,
    permits: Arc<Semaphore>,
    counters: OutboundMetrics,
}

/// The reason why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No entry of the manifest's `http.allow` permits the destination.
    #[error("a request to {to} is denied: no entry of the module's `http.allow` permits it")]
    Denied {
        /// The destination of the request.
        to: Origin,
    },
    /// The host name resolves only to private addresses, and the manifest does not set `http.private`.
    #[error(
        "a request to {to} is denied: {address} is not an address of the public internet, and `http.private` is not set"
    )]
    PrivateAddress {
        /// The destination of the request.
        to: Origin,
        /// One of the addresses that the name resolves to.
        address: IpAddr,
    },
    /// The request has a form that modules may not use, such as `CONNECT`. The text says which.
    #[error("a request is denied: {0}")]
    Malformed(&'static str),
    /// The request met a limit of the module.
    #[error("a request to {to} is refused: the module has reached its limit `http.{limit}` of {figure}")]
    Limit {
        /// The destination of the request.
        to: Origin,
        /// The key of the limit in the manifest's table `http`.
        limit: &'static str,
        /// The value of the limit: bytes for `request`, requests for `concurrent`.
        figure: u64,
    },
    /// The module wrote another number of bytes than the request's `content-length` says.
    #[error("a request to {to} is broken off: its body has {size} bytes, and its `content-length` says another number")]
    WrongLength {
        /// The destination of the request.
        to: Origin,
        /// The number of bytes that the module wrote until then.
        size: u64,
    },
    /// The network or the other host failed.
    #[error(transparent)]
    Other(#[from] Error),
}

impl OutboundError {
    fn outcome(&self) -> OutboundOutcome {
        match self {
            Self::Denied { .. } | Self::PrivateAddress { .. } | Self::Malformed(_) => OutboundOutcome::Denied,
            Self::Limit { .. } => OutboundOutcome::Limit,
            Self::WrongLength { .. } | Self::Other(_) => OutboundOutcome::Failed,
        }
    }

    /// Returns whether the host should log the failure for the operator: if the module, its grant or its limits caused it.
    pub fn should_be_logged(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Converts the failure to the error of `wasi:http` that the module receives.
    pub fn into_error(self) -> Error {
        match self {
            Self::Denied { .. } | Self::Malformed(_) => Error::HttpRequestDenied,
            Self::PrivateAddress { .. } => Error::DestinationIpProhibited,
            Self::Limit { limit: "request", figure, .. } => Error::HttpRequestBodySize(Some(figure)),
            Self::WrongLength { size, .. } => Error::HttpRequestBodySize(Some(size)),
            Self::Limit { .. } => Error::ConnectionLimitReached,
            Self::Other(error) => error,
        }
    }
}

impl OutboundClient {
    /// Creates a client for a grant. Starts to read the system's certificates if the grant allows `https`.
    ///
    /// Must run inside a tokio runtime.
    pub fn new(grant: OutboundConfig, counters: OutboundMetrics) -> Arc<Self> {
        if grant.allow.iter().any(AllowedOrigin::is_https) {
            // The first request then does not wait for the certificates, and a host without certificates logs that at once.
            tokio::spawn(async { drop(RootCertificates::global().connector().await) });
        }
        let permits = Arc::new(Semaphore::new(grant.concurrent as usize));
        Arc::new(Self { pools: Pools::new(&grant).into(), grant, permits, counters })
    }

    /// Sends a request if the grant permits it. `deadline` also ends the reading of the response body. Returns the response, and a future that
    /// must be polled beside it: it closes a response that a module keeps and does not read.
    ///
    /// # Errors
    ///
    /// Returns [`OutboundError`]. If the cause is the grant or a limit, nothing was sent, except if the body exceeded its limit on the way.
    pub async fn send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        deadline: Instant,
    ) -> Result<(Response<WasiBody>, impl Future<Output = ()> + Send + use<>), OutboundError> {
        let sent = self.clone().try_send(request, options.unwrap_or_default(), deadline).await;
        self.counters.count(sent.as_ref().map_or_else(OutboundError::outcome, |_| OutboundOutcome::Answered));
        sent
    }

    async fn try_send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
        deadline: Instant,
    ) -> Result<(Response<WasiBody>, impl Future<Output = ()> + Send + use<>), OutboundError> {
        let to = self.check(&request)?;
        let permit = self.admit(&to)?;
        let limits = TimeLimits::new(&options, deadline, self.grant.timeout);
        let exchange = CancellationToken::new();
        let guard = exchange.clone().drop_guard();
        let pools = self.pools();

        let (head, body) = request.into_parts();
        let again = (head.method.is_idempotent() && body.is_end_stream()).then(|| head.clone());
        let client = if again.is_some() { &pools.repeatable } else { &pools.one_shot };
        let limited = |body| LimitedRequestBody::new(body, self.grant.request, exchange.clone());
        let mut answered = limits.apply(client, Request::from_parts(head, limited(body)), &exchange).await;
        if let (Err(SendError::Client(error)), Some(head)) = (&answered, again)
            && pool::was_closed_after_use(error)
        {
            let request = Request::from_parts(head, limited(WasiBody::default()));
            answered = limits.apply(&pools.one_shot, request, &exchange).await;
        }
        let answer = answered.map_err(|error| self.send_error(&error, to))?;
        pool::set_served(&answer);
        let (head, body) = answer.into_parts();
        let (body, closing) = LimitedResponseBody::new(body, limits.end, self, permit, guard);
        Ok((Response::from_parts(head, body.boxed_unsync()), closing))
    }

    /// Returns the pools. Replaces them if the trusted certificates changed, so that no connection outlives the certificates that it was
    /// checked against by more than its current request.
    fn pools(&self) -> Arc<Pools> {
        if self.pools.load().are_outdated() {
            self.pools.store(Pools::new(&self.grant));
        }
        self.pools.load_full()
    }

    fn send_error(&self, error: &SendError, to: Origin) -> OutboundError {
        let error = match error {
            SendError::Late(late) => return late().into(),
            SendError::Client(error) => error.source(),
        };
        if let Some(failure) = error.and_then(|error| error.downcast_ref::<ConnectError>()) {
            return failure.for_request(to);
        }
        let Some(error) = error.and_then(|error| error.downcast_ref::<hyper::Error>()) else {
            return Error::ConnectionTerminated.into();
        };
        match error.source().and_then(|source| source.downcast_ref()) {
            Some(RequestBodyError::TooLarge) => {
                OutboundError::Limit { to, limit: "request", figure: self.grant.request }
            }
            Some(RequestBodyError::Failed(Error::HttpRequestBodySize(Some(size)))) => {
                OutboundError::WrongLength { to, size: *size }
            }
            _ => from_hyper_error(error).into(),
        }
    }

    /// Returns the destination of a request if the grant permits it.
    fn check<B>(&self, request: &Request<B>) -> Result<Origin, OutboundError> {
        let to = origin(request.uri())?;
        if !self.grant.allow.iter().any(|allowed| allowed.permits(&to)) {
            return Err(OutboundError::Denied { to });
        }
        if request.method() == Method::CONNECT {
            return Err(OutboundError::Malformed("the method `CONNECT` is not allowed"));
        }
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.grant.request) {
            return Err(OutboundError::Limit { to, limit: "request", figure: self.grant.request });
        }
        Ok(to)
    }

    fn admit(&self, to: &Origin) -> Result<OwnedSemaphorePermit, OutboundError> {
        let figure = u64::from(self.grant.concurrent);
        let full = |_| OutboundError::Limit { to: to.clone(), limit: "concurrent", figure };
        self.permits.clone().try_acquire_owned().map_err(full)
    }
}

fn origin(uri: &Uri) -> Result<Origin, OutboundError> {
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(OutboundError::Malformed("the scheme of its URL is neither `http` nor `https`")),
    };
    let authority = uri.authority().ok_or(OutboundError::Malformed("its URL names no host"))?;
    if authority.as_str().contains('@') {
        return Err(OutboundError::Malformed("its URL contains a user name"));
    }
    if authority.host().is_empty() {
        return Err(OutboundError::Malformed("its URL names no host"));
    }
    let port = authority.port_u16().unwrap_or(scheme.port());
    Ok(Origin { scheme, host: HostName::new(authority.host()), port })
}

/// The reason why the client returned no response.
enum SendError {
    /// A time limit ended, with this error.
    Late(fn() -> Error),
    Client(legacy::Error),
}

/// The time limits of one request: the module's, and those that the guest set for it.
struct TimeLimits {
    /// The end of the request, with its response.
    end: Instant,
    /// When there must be a connection.
    connect: Instant,
    /// The time from then to the head of the response.
    first_byte: Option<Duration>,
}

impl TimeLimits {
    fn new(options: &RequestOptions, deadline: Instant, timeout: Duration) -> Self {
        let now = Instant::now();
        let end = deadline.min(now + timeout);
        let connect = options.connect_timeout.map_or(end, |wish| end.min(now + wish));
        Self { end, connect, first_byte: options.first_byte_timeout }
    }

    /// Sends a request and returns the response, if the limits permit it.
    async fn apply(
        &self,
        client: &Client,
        mut request: Request<LimitedRequestBody>,
        exchange: &CancellationToken,
    ) -> Result<Response<Incoming>, SendError> {
        let mut connection = capture_connection(&mut request);
        let mut answering = pin!(EXCHANGE.scope(exchange.clone(), client.request(request)));
        let connecting =
            timeout_at(self.connect.into(), async { drop(connection.wait_for_connection_metadata().await) });
        tokio::select! {
            // A request that fails without a connection also ends the wait for it.
            biased;
            answered = &mut answering => return answered.map_err(SendError::Client),
            connected = connecting => connected.map_err(|_| SendError::Late(|| Error::ConnectionTimeout))?,
        }
        let first_byte = self.first_byte.map_or(self.end, |wish| self.end.min(Instant::now() + wish));
        let answered = timeout_at(first_byte.into(), answering).await;
        answered.map_err(|_| SendError::Late(|| Error::ConnectionReadTimeout))?.map_err(SendError::Client)
    }
}

/// Converts an error of hyper to the error of `wasi:http`.
fn from_hyper_error(error: &hyper::Error) -> Error {
    match () {
        () if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        () if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        () if error.is_timeout() => Error::HttpResponseTimeout,
        () if error.is_closed() || error.is_canceled() => Error::ConnectionTerminated,
        () => Error::HttpProtocolError,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use watertight_telemetry::Telemetry;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_no_one_reads_ends_at_its_timeout() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let (allow, timeout) = (vec![format!("http://{address}").parse().unwrap()], Duration::from_millis(500));
        let grant = OutboundConfig { allow, timeout, concurrent: 1, ..OutboundConfig::default() };
        let client = OutboundClient::new(grant, Telemetry::new().outbound(&"a".parse().unwrap()));
        let send = || {
            let request = Request::get(format!("http://{address}/")).body(WasiBody::default()).unwrap();
            client.clone().send(request, None, Instant::now() + Duration::from_secs(60))
        };
        let (sent, mut connection) = tokio::join!(send(), async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await.unwrap();
            stream
        });
        let (kept, closing) = sent.unwrap();
        assert!(matches!(send().await, Err(OutboundError::Limit { limit: "concurrent", .. })));
        closing.await;
        assert_eq!(client.permits.available_permits(), 1);
        // The connection is closed, too.
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);
        let read = kept.into_body().collect().await;
        assert!(matches!(read, Err(Error::ConnectionReadTimeout)));
    }

    /// Returns the error of a request whose body is `pieces`, under a limit of 20 bytes.
    async fn refused(pieces: Vec<Result<&'static str, Error>>) -> OutboundError {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let allow = vec![format!("http://{address}").parse().unwrap()];
        let grant = OutboundConfig { allow, private: true, request: 20, ..OutboundConfig::default() };
        let client = OutboundClient::new(grant, Telemetry::new().outbound(&"a".parse().unwrap()));
        let pieces = pieces.into_iter().map(|piece| piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))));
        let body = StreamBody::new(futures::stream::iter(pieces)).boxed_unsync();
        let request = Request::post(format!("http://{address}/")).body(body).unwrap();
        let sending = client.send(request, None, Instant::now() + Duration::from_secs(60));
        let (sent, _connection) = tokio::join!(sending, server.accept());
        sent.err().unwrap()
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_its_head_says_is_not_the_modules_limit() {
        let too_long = refused(vec![Ok("Hello"), Err(Error::HttpRequestBodySize(Some(18)))]).await;
        assert!(matches!(&too_long, OutboundError::WrongLength { size: 18, .. }), "{too_long}");
        assert!(too_long.should_be_logged() && too_long.to_string().contains("18 bytes"), "{too_long}");
        assert!(matches!(too_long.into_error(), Error::HttpRequestBodySize(Some(18))));
        let above = refused(vec![Ok("0123456789"), Ok("0123456789 ")]).await;
        assert!(matches!(&above, OutboundError::Limit { limit: "request", figure: 20, .. }), "{above}");
    }
}
