//! The context of a request on the data listener, from its head to its response: id, trace and time of arrival.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Body as _;

use super::access::{Line, method_name};
use super::client;
use super::panics::PanicMessage;
use super::server::RequestBody;
use super::{Answerer, GENERATION, REQUEST_ID, TRACEPARENT, TRACESTATE};
use watertight_runtime::runtime::Generation;
use watertight_store::ClientInfo;
use watertight_telemetry::{Span, Trace, logged_path};

/// The maximum length of a client's own request id, in bytes. A longer id is replaced by a new one.
const MAX_REQUEST_ID: usize = 128;

/// What is known of a client's request from its head on. It is the same for all that middlewares make of the request.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) arrival: Instant,
    pub(super) id: Arc<str>,
    pub(super) trace: Trace,
    pub(super) uri: Uri,
    /// What is known of the client. `None` if nothing of the generation needs it.
    pub(super) client: Option<Arc<ClientInfo>>,
    method: Method,
}

impl Origin {
    /// Returns the name of the host that the client's request is for, if something of the generation needs it. Middlewares can't change it.
    pub(super) fn host(&self) -> Option<&str> {
        self.client.as_ref()?.host.as_deref()
    }

    /// Counts and logs a panic of the host during this request.
    pub(super) fn record_panic(&self, panic: &PanicMessage, generation: &Generation) {
        generation.telemetry().count_panic("data");
        let (request, trace, method, path) =
            (&*self.id, self.trace.id(), method_name(&self.method), logged_path(self.uri.path()));
        let generation = generation.number.0;
        tracing::error!(
            target: "request", method, path, request, %trace, generation, %panic, "the host failed to answer a request"
        );
    }
}

/// The context of a request that is in progress.
pub(super) struct RequestContext {
    pub(super) origin: Origin,
    span: Option<Span>,
}

impl RequestContext {
    /// Creates the context of a request that begins on `generation`.
    pub(super) fn new(request: &Request<RequestBody>, generation: &Generation) -> Self {
        let arrival = Instant::now();
        let headers = request.headers();
        let state = || trace_state(headers).unwrap_or_default();
        let (trace, mut span) = Trace::of_request(trace_parent(headers), state, generation.telemetry().recorder());
        if let Some(span) = &mut span {
            span.name("HTTP");
            span.set("http.request.method", method_name(request.method()).to_owned());
            span.set_text("url.path", request.uri().path());
        }
        let (id, uri, method) = (request_id(headers), request.uri().clone(), request.method().clone());
        let client = client::info(request, generation.routes.door());
        Self { origin: Origin { arrival, id, trace, uri, client, method }, span }
    }

    /// Completes the response's headers, and records the response in metrics, the access log and the trace. `answerer` is the route or the
    /// mount that answered, if one matched.
    pub(super) fn finish(
        self,
        mut response: Response<Body>,
        generation: &Generation,
        answerer: Option<Answerer>,
    ) -> Response<Body> {
        let Self { origin, span } = self;
        let (status, time) = (response.status().as_u16(), origin.arrival.elapsed());
        let metrics = match answerer {
            Some(Answerer::Route(place)) => generation.route_metrics(place),
            Some(Answerer::Mount(place)) => generation.mount_metrics(place),
            None => generation.telemetry().unrouted(),
        };
        let route = answerer.map(|answerer| answerer.path(generation));
        metrics.record_answer(status, time);
        let headers = response.headers_mut();
        headers.insert(&REQUEST_ID, HeaderValue::from_str(&origin.id).expect("request ids are printable ASCII"));
        headers.insert(&GENERATION, generation.number.0.into());
        let trace =
            HeaderValue::from_bytes(&origin.trace.to_traceparent()).expect("hexadecimal digits are header text");
        headers.insert(&TRACEPARENT, trace);
        if origin.method == Method::HEAD {
            drop_body(&mut response);
        }
        let request = &*origin.id;
        let line = Line {
            listener: "data",
            method: &origin.method,
            route,
            path: origin.uri.path(),
            status,
            bytes: response.body().size_hint().exact(),
            time,
            request,
            trace: Some(origin.trace.id()),
            generation: generation.number.0,
        };
        line.write();
        if let Some(span) = span {
            let method = match answerer {
                Some(Answerer::Route(place)) => generation.routes.routes()[place].method.as_str(),
                _ => method_name(&origin.method),
            };
            record(span, request, status, generation, route.map(|path| (method, path)));
        }
        response
    }
}

impl Answerer {
    /// Returns the host, if there is one, and the template of the paths that the route or the mount answers.
    fn path(self, generation: &Generation) -> &str {
        match self {
            Self::Route(place) => &generation.routes.routes()[place].label,
            Self::Mount(place) => generation.mount_label(place),
        }
    }
}

fn record(mut span: Span, request: &str, status: u16, generation: &Generation, route: Option<(&str, &str)>) {
    if let Some((method, path)) = route {
        span.name(format!("{method} {path}"));
        span.set("http.route", path.to_owned());
    }
    span.set("http.response.status_code", i64::from(status));
    span.set("watertight.request", request.to_owned());
    span.set("watertight.generation", generation.number.to_string());
    let failed = format!("status {status}");
    span.end((status >= 500).then_some(&failed));
}

/// Returns the value of the request's only `traceparent` header.
fn trace_parent(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(&TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => Some(one.as_bytes()),
        _ => None,
    }
}

/// Returns the `tracestate` of a request. Several headers form one list.
fn trace_state(headers: &HeaderMap) -> Option<String> {
    let texts: Result<Vec<&str>, _> = headers.get_all(&TRACESTATE).iter().map(HeaderValue::to_str).collect();
    Some(texts.ok()?.join(","))
}

/// Returns the request id that the client sent, if it can be logged and sent back safely. Otherwise returns a new id.
pub fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(&REQUEST_ID).map(HeaderValue::as_bytes);
    let fits = |id: &&[u8]| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    match given.filter(fits).and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => id.into(),
        None => Arc::from(&*ulid::Ulid::generate().array_to_str(&mut [0; ulid::ULID_LEN])),
    }
}

/// Removes the body of a response to a HEAD request, and keeps its `Content-Length`. hyper would leave the body out on HTTP/1.1; on HTTP/2
/// it would be sent.
pub fn drop_body(response: &mut Response<Body>) {
    let body = std::mem::replace(response.body_mut(), Body::empty());
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
}
