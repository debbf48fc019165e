//! Requests that a module answers by a handler of its own, because it is mounted or a middleware. Bodies flow both ways; the host reads neither.
//!
//! The handler gets the request as the client sent it. The host adds the request's id and its position in the trace, and takes the mount's
//! path away if the mount says so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::uri::{self, PathAndQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};

use super::access::static_method_name;
use super::answer::{self, HostProblem};
use super::context::Origin;
use super::details::Failure;
use super::server::{BodyError, HeldBytes, RequestBody};
use super::{Answer, InFlightPermit, REQUEST_ID, TRACEPARENT};
use watertight_graph::routes::Mount;
use watertight_runtime::runtime::{Generation, HandlerError, HandlerPlace, HandlerRequest};
use watertight_store::{BodyFault, ClientScheme, Downstream, RequestInfo, RequestNotes};

/// The header in which a handler finds the mount's path, if the mount takes it away from the request's path.
static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The host of a request that names none, which only HTTP/1.0 permits. A handler always gets one.
static NO_HOST: HeaderValue = HeaderValue::from_static("localhost");

/// A request for the handler of a mount or of a middleware.
pub(super) struct HandledRequest<'a> {
    /// The generation that answers.
    pub(super) generation: &'a Arc<Generation>,
    /// The handler.
    pub(super) place: HandlerPlace,
    /// The path that is taken away from the request's path.
    pub(super) prefix: Option<&'a str>,
    /// The name of the handler in log lines: a path.
    pub(super) label: Arc<str>,
    /// What answers the requests that the handler passes on, if it is one of a middleware.
    pub(super) downstream: Option<Arc<dyn Downstream>>,
    /// The head of the request.
    pub(super) head: Parts,
    /// The body of the request.
    pub(super) body: RequestBody,
}

impl<'a> HandledRequest<'a> {
    /// Creates the request of a mount, which is at index `place`.
    pub(super) fn of_mount(
        generation: &'a Arc<Generation>,
        (place, mount): (usize, &'a Mount),
        head: Parts,
        body: RequestBody,
    ) -> Self {
        let prefix = Some(&*mount.path).filter(|path| mount.strip && *path != "/");
        let label = generation.mount_label(place).clone();
        Self { generation, place: HandlerPlace::Mount(place), prefix, label, downstream: None, head, body }
    }

    /// Returns the failure to answer at once, if the request says that its body is larger than its handler's limit.
    pub(super) fn check_length(&self, origin: &Origin) -> Result<(), Failure> {
        let target = self.generation.handler_target(self.place);
        let limit = self.generation.body_limit(target);
        if self.body.size_hint().lower() > limit {
            self.generation.report_large_body(target, limit, &origin.id, &origin.trace);
            return Err(HostProblem::BodyTooLarge { limit }.into());
        }
        Ok(())
    }

    /// Lets the handler answer the request. `permit` is held until the exchange has ended.
    pub(super) async fn answer(self, origin: &Origin, permit: Arc<InFlightPermit>) -> Result<Answer, Failure> {
        let Self { generation, place, prefix, label, downstream, mut head, body } = self;
        prepare(&mut head, prefix, origin);
        let notes = RequestNotes::new(RequestInfo {
            method: static_method_name(&head.method),
            route: label,
            uri: origin.uri.clone(),
            generation: generation.number,
            client: origin.client.clone(),
        });
        let is_answered = Arc::new(AtomicBool::new(false));
        let body = Upload { body: body.without_stall_limit_once(is_answered.clone()), held: None };
        let request = HandlerRequest {
            request: Request::from_parts(head, body.boxed_unsync()),
            arrival: origin.arrival,
            id: origin.id.clone(),
            trace: origin.trace.clone(),
            notes: notes.clone(),
            downstream,
            guard: permit,
        };
        let answered = generation.handle(place, request).await;
        is_answered.store(true, Relaxed);
        match answered {
            Ok(response) => {
                let is_stream = !response.body().is_complete();
                Ok(Answer { response: response.map(Body::new), is_stream })
            }
            Err(error) => Err(answer::storage_full_if_server_error(failure(error), &notes)),
        }
    }
}

fn failure(error: HandlerError) -> Failure {
    match error {
        HandlerError::Call(error) => error.into(),
        HandlerError::Body(fault) => HostProblem::from(fault).into(),
        HandlerError::Timeout => HostProblem::Deadline.into(),
        HandlerError::Unavailable => HostProblem::Unavailable.into(),
        HandlerError::Failed => HostProblem::ModuleFailed.into(),
    }
}

impl From<BodyFault> for HostProblem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge(limit) => Self::BodyTooLarge { limit },
            BodyFault::TooSlow => Self::BodyTooSlow,
            BodyFault::CutOff => Self::BodyCutOff,
            BodyFault::NoRoom => Self::Overloaded,
        }
    }
}

/// Changes the head of a request to the one that its handler sees, without `prefix` in its path.
fn prepare(head: &mut Parts, prefix: Option<&str>, origin: &Origin) {
    if let Some(prefix) = prefix {
        head.uri = without_prefix(&head.uri, prefix);
        let prefix = HeaderValue::from_str(prefix).expect("the path of a mount is header text");
        head.headers.insert(&FORWARDED_PREFIX, prefix);
    }
    set_scheme(head, origin.client.as_ref().map(|client| client.scheme).unwrap_or_default());
    let id = HeaderValue::from_str(&origin.id).expect("request ids are printable ASCII");
    head.headers.insert(&REQUEST_ID, id);
    let trace = HeaderValue::from_bytes(&origin.trace.to_traceparent()).expect("hexadecimal digits are header text");
    head.headers.insert(&TRACEPARENT, trace);
    if head.uri.authority().is_none() && !head.headers.contains_key(header::HOST) {
        head.headers.insert(header::HOST, NO_HOST.clone());
    }
    join_cookies(&mut head.headers);
}

/// Sets the scheme of a request's target. The listener has no TLS, so `https` is only what a trusted proxy says, never the target of a
/// client.
fn set_scheme(head: &mut Parts, scheme: ClientScheme) {
    let is_https = scheme == ClientScheme::Https;
    if head.uri.scheme().is_none() && !is_https {
        return;
    }
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    if parts.authority.is_none() {
        // A target without a host can't have a scheme.
        let host = head.headers.get(header::HOST).unwrap_or(&NO_HOST);
        parts.authority = host.to_str().ok().and_then(|host| host.parse().ok());
    }
    if parts.authority.is_some() {
        parts.scheme = Some(if is_https { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
    }
    head.uri = Uri::from_parts(parts).expect("the target has a path, and a host if it has a scheme");
}

/// Returns the header `Host` of a request to `uri`.
pub(super) fn host_of(uri: &Uri) -> HeaderValue {
    uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()).unwrap_or_else(|| NO_HOST.clone())
}

/// Joins the fields `cookie` of a request. HTTP/2 lets a client send each cookie in a field of its own, and wants them joined before anything
/// reads them as HTTP/1.1 (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).expect("joined header text is header text");
        headers.insert(header::COOKIE, joined);
    }
}

/// Returns a request's target without the path of its mount. The client may have written that path in another way, such as `/%61` for `/a`,
/// but with as many segments.
fn without_prefix(uri: &Uri, prefix: &str) -> Uri {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (path, query) = whole.split_at(whole.find('?').unwrap_or(whole.len()));
    let rest = path.match_indices('/').nth(prefix.matches('/').count()).map_or("/", |(at, _)| &path[at..]);
    let rest = PathAndQuery::try_from(format!("{rest}{query}")).expect("a part of a path is a path");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest);
    Uri::from_parts(parts).expect("the target has the parts that it had before")
}

/// The body of a request on its way to a handler. Only the last piece counts as held in memory for the client.
struct Upload {
    body: RequestBody,
    held: Option<HeldBytes>,
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // The handler has read the piece before this one.
        self.held = self.body.held();
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| match error {
                BodyError::Stalled => BodyFault::TooSlow,
                BodyError::NoRoom(_) => BodyFault::NoRoom,
                BodyError::Http1(_) | BodyError::Http2(_) => BodyFault::CutOff,
                BodyError::PassedOn(fault) => fault,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_mount_is_taken_away_segment_by_segment() {
        for (target, prefix, rest) in [
            ("/a", "/a", "/"),
            ("/a/", "/a", "/"),
            ("/a?q", "/a", "/?q"),
            ("/a/b/c?q=/x", "/a", "/b/c?q=/x"),
            ("/%61/b%2Fc", "/a", "/b%2Fc"),
            ("/a/b", "/a/b", "/"),
            ("/a/b//c", "/a/b", "//c"),
            ("http://host/a/b", "/a", "http://host/b"),
            ("/a?/b", "/a", "/?/b"),
        ] {
            let target: Uri = target.parse().expect("a target");
            assert_eq!(without_prefix(&target, prefix), rest, "{target}");
        }
    }
}
