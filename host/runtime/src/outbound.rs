//! Requests that modules send to other hosts: which may go, and how they go.
//!
//! Every request is looked at by itself, and an answer that names another place is handed to the module like any other: what the
//! module then asks for is a new request. Each has a connection of its own, over HTTP/1.1.

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

use body::{Received, Sent};
use trust::Trust;
use watertight_model::config::{Allowed, HostName, Origin, Outbound, Scheme};
use watertight_telemetry::OutboundMetrics;
use watertight_telemetry::table::Went;

pub use trust::{NoCertificates, reload_certificates};

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// The most fields of it.
const MAX_FIELDS: usize = 200;

/// One module's way out, in one generation.
pub struct Outgoing {
    grant: Outbound,
    places: Arc<Semaphore>,
    counters: OutboundMetrics,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The manifest doesn't allow it.
    #[error("a request to {to} is denied: no entry of the module's `http.allow` permits it")]
    Denied {
        /// Where it was to go.
        to: Origin,
    },
    /// The name stands for an address that leads inside.
    #[error(
        "a request to {to} is denied: {address} is not an address of the public internet, and `http.private` is not set"
    )]
    Private {
        /// Where it was to go.
        to: Origin,
        /// What the name stands for.
        address: IpAddr,
    },
    /// It isn't one that a module may make.
    #[error("a request is denied: {0}")]
    Odd(&'static str),
    /// It met a limit.
    #[error("a request to {to} is refused: its module met `http.{limit}`, {figure}")]
    Limit {
        /// Where it was to go.
        to: Origin,
        /// The key of the manifest.
        limit: &'static str,
        /// What it says.
        figure: u64,
    },
    /// The network, or the other host.
    #[error(transparent)]
    Other(#[from] Error),
}

impl Failure {
    fn went(&self) -> Went {
        match self {
            Self::Denied { .. } | Self::Private { .. } | Self::Odd(_) => Went::Denied,
            Self::Limit { .. } => Went::Limit,
            Self::Other(_) => Went::Failed,
        }
    }

    /// Whether the operator should hear of it: it is about a grant.
    pub fn is_about_a_grant(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// As the module is told.
    pub fn into_error(self) -> Error {
        match self {
            Self::Denied { .. } | Self::Odd(_) => Error::HttpRequestDenied,
            Self::Private { .. } => Error::DestinationIpProhibited,
            Self::Limit { limit: "request", figure, .. } => Error::HttpRequestBodySize(Some(figure)),
            Self::Limit { .. } => Error::ConnectionLimitReached,
            Self::Other(error) => error,
        }
    }
}

impl Outgoing {
    /// Has the certificates read that the system trusts, where they are needed. Must run inside a tokio runtime.
    pub fn new(grant: Outbound, counters: OutboundMetrics) -> Arc<Self> {
        if grant.allow.iter().any(Allowed::is_https) {
            // A first request then needn't wait for them, and a host that trusts nobody says so at once.
            tokio::spawn(async { drop(Trust::of_process().connector().await) });
        }
        let places = Arc::new(Semaphore::new(grant.concurrent as usize));
        Arc::new(Self { grant, places, counters })
    }

    /// Sends a request, if it may go. It ends with `deadline`, its answer's body included.
    ///
    /// # Errors
    ///
    /// [`Failure`]; nothing was sent where that is about a grant or a limit, unless the body turned out too large.
    pub async fn send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        deadline: Instant,
    ) -> Result<Response<WasiBody>, Failure> {
        let sent = self.clone().try_send(request, options.unwrap_or_default(), deadline).await;
        self.counters.went(sent.as_ref().map_or_else(Failure::went, |_| Went::Answered));
        sent
    }

    async fn try_send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
        deadline: Instant,
    ) -> Result<Response<WasiBody>, Failure> {
        let to = self.check(&request)?;
        let place = self.admit(&to)?;
        let now = Instant::now();
        let end = deadline.min(now + self.grant.timeout);
        let until = |wish: Option<_>| tokio::time::Instant::from(wish.map_or(end, |wish| end.min(now + wish)));

        let connecting = connect::connect(&to, self.grant.private, Trust::of_process());
        let connected = tokio::time::timeout_at(until(options.connect_timeout), connecting).await;
        let stream = connected.map_err(|_| Error::ConnectionTimeout)??;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| of_hyper(&error))?;
        let connection = wasmtime_wasi::runtime::spawn(async move {
            // What goes wrong there is told to whoever waits for the answer or reads it.
            let _ = connection.await;
        });
        let limit = self.grant.request;
        let request = to_the_origin(request).map(|body| Sent::new(body, limit));
        let wish = options.first_byte_timeout.map(|wish| wish.saturating_add(now.elapsed()));
        let answered = tokio::time::timeout_at(until(wish), sender.send_request(request)).await;
        let answer = answered.map_err(|_| Error::ConnectionReadTimeout)?.map_err(|error| match of_hyper(&error) {
            Error::HttpRequestBodySize(_) => Failure::Limit { to, limit: "request", figure: limit },
            error => error.into(),
        })?;
        Ok(answer.map(|body| Received::new(body, end, self, place, connection).boxed_unsync()))
    }

    /// Where a request goes, if it may.
    fn check<B>(&self, request: &Request<B>) -> Result<Origin, Failure> {
        let to = origin(request.uri())?;
        if !self.grant.allow.iter().any(|allowed| allowed.permits(&to)) {
            return Err(Failure::Denied { to });
        }
        if request.method() == Method::CONNECT {
            return Err(Failure::Odd("`CONNECT` asks for a tunnel to somewhere else"));
        }
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.grant.request) {
            return Err(Failure::Limit { to, limit: "request", figure: self.grant.request });
        }
        Ok(to)
    }

    fn admit(&self, to: &Origin) -> Result<OwnedSemaphorePermit, Failure> {
        let figure = u64::from(self.grant.concurrent);
        let full = |_| Failure::Limit { to: to.clone(), limit: "concurrent", figure };
        self.places.clone().try_acquire_owned().map_err(full)
    }
}

fn origin(uri: &Uri) -> Result<Origin, Failure> {
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(Failure::Odd("its scheme is neither `http` nor `https`")),
    };
    let authority = uri.authority().ok_or(Failure::Odd("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(Failure::Odd("there is a user in its address"));
    }
    if authority.host().is_empty() {
        return Err(Failure::Odd("it names no host"));
    }
    let port = authority.port_u16().unwrap_or(scheme.port());
    Ok(Origin { scheme, host: HostName::new(authority.host()), port })
}

/// The same request as it is written on a connection: with its path alone.
fn to_the_origin<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    request
}

/// What went wrong on a connection, in the interface's words.
fn of_hyper(error: &hyper::Error) -> Error {
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
