//! HTTP requests that modules send to other hosts: checks the grant, connects, and bounds size, time and number.
//!
//! Each request is checked on its own. A redirect is returned to the module like any other response; a module that follows it sends a
//! new request. Each request has its own connection and uses HTTP/1.1.

mod address;
mod body;
mod connect;
mod trust;

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ::http::header::CONTENT_LENGTH;
use ::http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use body::{LimitedRequestBody, LimitedResponseBody};
use trust::RootCertificates;
use watertight_model::config::{AllowedOrigin, HostName, Origin, OutboundConfig, Scheme};
use watertight_telemetry::OutboundMetrics;
use watertight_telemetry::table::OutboundOutcome;

pub use trust::{NoCertificates, reload_certificates};

/// The largest head of a response, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// The largest number of header fields in a response.
const MAX_FIELDS: usize = 200;

/// The outbound HTTP client of one module in one generation: its grant, its concurrency limit and its counters.
pub(super) struct OutboundClient {
    grant: OutboundConfig,
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
    /// The network or the other host failed.
    #[error(transparent)]
    Other(#[from] Error),
}

impl OutboundError {
    fn outcome(&self) -> OutboundOutcome {
        match self {
            Self::Denied { .. } | Self::PrivateAddress { .. } | Self::Malformed(_) => OutboundOutcome::Denied,
            Self::Limit { .. } => OutboundOutcome::Limit,
            Self::Other(_) => OutboundOutcome::Failed,
        }
    }

    /// Returns whether the host should log the failure for the operator: if the module's grant, its limits or a forbidden form caused it.
    pub fn should_be_logged(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Converts the failure to the error of `wasi:http` that the module receives.
    pub fn into_error(self) -> Error {
        match self {
            Self::Denied { .. } | Self::Malformed(_) => Error::HttpRequestDenied,
            Self::PrivateAddress { .. } => Error::DestinationIpProhibited,
            Self::Limit { limit: "request", figure, .. } => Error::HttpRequestBodySize(Some(figure)),
            Self::Limit { .. } => Error::ConnectionLimitReached,
            Self::Other(error) => error,
        }
    }
}

impl OutboundClient {
    /// Creates a client for a grant. Starts to read the system's certificates if the grant allows `https`.
    ///
    /// Must run inside a tokio runtime.
    pub(super) fn new(grant: OutboundConfig, counters: OutboundMetrics) -> Arc<Self> {
        if grant.allow.iter().any(AllowedOrigin::is_https) {
            // The first request then does not wait for the certificates, and a host without certificates logs that at once.
            tokio::spawn(async { drop(RootCertificates::global().connector().await) });
        }
        let places = Arc::new(Semaphore::new(grant.concurrent as usize));
        Arc::new(Self { grant, permits: places, counters })
    }

    /// Sends a request if the grant permits it. `deadline` also ends the reading of the response body.
    ///
    /// # Errors
    ///
    /// Returns [`OutboundError`]. If the cause is the grant or a limit, nothing was sent, except if the body exceeded its limit on the way.
    pub(super) async fn send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        deadline: Instant,
    ) -> Result<Response<WasiBody>, OutboundError> {
        let sent = self.clone().try_send(request, options.unwrap_or_default(), deadline).await;
        self.counters.count(sent.as_ref().map_or_else(OutboundError::outcome, |_| OutboundOutcome::Answered));
        sent
    }

    async fn try_send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
        deadline: Instant,
    ) -> Result<Response<WasiBody>, OutboundError> {
        let to = self.check(&request)?;
        let place = self.admit(&to)?;
        let now = Instant::now();
        let end = deadline.min(now + self.grant.timeout);
        let until = |wish: Option<_>| tokio::time::Instant::from(wish.map_or(end, |wish| end.min(now + wish)));

        let connecting = connect::connect(&to, self.grant.private, RootCertificates::global());
        let connected = tokio::time::timeout_at(until(options.connect_timeout), connecting).await;
        let stream = connected.map_err(|_| Error::ConnectionTimeout)??;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| from_hyper_error(&error))?;
        let connection = wasmtime_wasi::runtime::spawn(async move {
            // The sender of the request and the reader of the response body see the same error.
            let _ = connection.await;
        });
        let limit = self.grant.request;
        let request = origin_form(request).map(|body| LimitedRequestBody::new(body, limit));
        let wish = options.first_byte_timeout.map(|wish| wish.saturating_add(now.elapsed()));
        let answered = tokio::time::timeout_at(until(wish), sender.send_request(request)).await;
        let answer =
            answered.map_err(|_| Error::ConnectionReadTimeout)?.map_err(|error| match from_hyper_error(&error) {
                Error::HttpRequestBodySize(_) => OutboundError::Limit { to, limit: "request", figure: limit },
                error => error.into(),
            })?;
        Ok(answer.map(|body| LimitedResponseBody::new(body, end, self, place, connection).boxed_unsync()))
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

/// Reduces a request's target to path and query: the form that HTTP/1.1 sends to an origin server.
fn origin_form<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    request
}

/// Converts an error of hyper to the error of `wasi:http`.
fn from_hyper_error(error: &hyper::Error) -> Error {
    if let Some(Error::HttpRequestBodySize(limit)) = error.source().and_then(|source| source.downcast_ref()) {
        return Error::HttpRequestBodySize(*limit);
    }
    match () {
        () if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        () if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        () if error.is_timeout() => Error::HttpResponseTimeout,
        () if error.is_closed() || error.is_canceled() => Error::ConnectionTerminated,
        () => Error::HttpProtocolError,
    }
}
