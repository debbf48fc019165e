//! Tries of operations by the page that shows the OpenAPI document. A browser lets the page reach its own origin only, so the page sends a
//! request for `/PATH` to `/openapi/try/PATH` of the admin listener, and the data listener answers it within this process.
//!
//! The headers of the tried request have the prefix `Try-`, and so have those of its answer. Without that, `Authorization` would be that of
//! the operator. And an answer could act on the operator's browser: `Location` could send a request with the token to another path of the
//! admin listener.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use tokio::sync::Semaphore;

use super::guard::{RequestId, TryAnswer};
use super::{AdminApi, not_ready, page};
use crate::http::answer::HostProblem;
use crate::http::details::{Failure, RequestFault};
use crate::http::server::Connection;
use crate::http::{DataListener, REQUEST_ID};

/// The maximum number of tries that are answered at once. A try counts until the last byte of its answer. It takes a place in flight of the
/// data listener too.
const MAX_TRIES: usize = 4;
/// The path below which tries are sent. The rest of the path is that of the tried request.
const PREFIX: &str = "/openapi/try";
/// The path of a try of `/`.
pub(super) const ROOT: &str = "/openapi/try/";
/// The paths of all other tries.
pub(super) const BELOW: &str = "/openapi/try/{*path}";
/// The start of the names of headers that belong to the tried request or to its answer.
const HEADER_PREFIX: &str = "try-";
/// The headers that describe a body. A try and its answer have them without the prefix.
const OF_BODY: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH];
/// The headers that say how a message is sent. A try can't have them.
const OF_MESSAGE: [HeaderName; 7] = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE, EXPECT];

/// What answers tries, and how many at once.
pub struct Tries {
    listener: Arc<DataListener>,
    address: SocketAddr,
    permits: Arc<Semaphore>,
}

impl Tries {
    /// Lets `listener`, which is bound to `address`, answer tries.
    pub fn new(listener: Arc<DataListener>, address: SocketAddr) -> Self {
        Self { listener, address, permits: Arc::new(Semaphore::new(MAX_TRIES)) }
    }

    /// Returns the address of the data listener for a client that reaches the admin listener by the name `host`.
    pub(super) fn address(&self, host: Option<Box<str>>) -> String {
        match host {
            Some(host) if self.address.ip().is_unspecified() => format!("http://{host}:{}", self.address.port()),
            _ => format!("http://{}", self.address),
        }
    }
}

/// Answers a try.
///
/// # Errors
///
/// 400 if a header is none of a tried request. 503 while the host is not ready, or if [`MAX_TRIES`] others are being answered. Everything
/// else is the answer of the data listener.
pub(super) async fn answer(
    State(admin): State<Arc<AdminApi>>,
    Extension(RequestId(id)): Extension<RequestId>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Result<Response, Failure> {
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let Ok(permit) = admin.tries.permits.clone().try_acquire_owned() else {
        let detail = format!("{MAX_TRIES} tries are already in progress; try again when one has ended");
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail));
    };
    let (head, body) = request.into_parts();
    let tried = tried(&head, &id)?.map(|()| body);
    let answered = Box::pin(admin.tries.listener.clone().answer_for(tried, connection, permit)).await;
    Ok(shown(answered))
}

/// Returns the head of the request that a try is about. `id` is the id of both.
fn tried(head: &Parts, id: &str) -> Result<axum::http::Request<()>, Failure> {
    let target = head.uri.path_and_query().and_then(|target| target.as_str().strip_prefix(PREFIX));
    let target = target.and_then(|target| target.parse::<Uri>().ok()).ok_or(HostProblem::NoSuchPath)?;
    let (mut headers, mut faults) = (HeaderMap::new(), Vec::new());
    for (name, value) in &head.headers {
        match name.as_str().strip_prefix(HEADER_PREFIX).map(|rest| HeaderName::from_bytes(rest.as_bytes())) {
            Some(Ok(own)) if !OF_MESSAGE.contains(&own) => _ = headers.append(own, value.clone()),
            Some(_) => faults.push(RequestFault::header(name, "a tried request can't have it")),
            None if OF_BODY.contains(name) => _ = headers.append(name, value.clone()),
            None => {}
        }
    }
    if !faults.is_empty() {
        return Err(HostProblem::Invalid(faults).into());
    }
    if !headers.contains_key(HOST) {
        let own = head.uri.authority().and_then(|own| HeaderValue::from_str(own.as_str()).ok());
        headers.extend(own.or_else(|| head.headers.get(HOST).cloned()).map(|host| (HOST, host)));
    }
    headers.insert(&REQUEST_ID, HeaderValue::from_str(id).expect("request ids are printable ASCII"));
    let mut request = axum::http::Request::new(());
    head.method.clone_into(request.method_mut());
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Turns the answer of the data listener into that of a try.
fn shown(answered: Response<Body>) -> Response<Body> {
    let (mut head, body) = answered.into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in &head.headers {
        if OF_BODY.contains(name) {
            headers.append(name, value.clone());
        } else if let Ok(name) = HeaderName::try_from(format!("{HEADER_PREFIX}{name}")) {
            headers.append(name, value.clone());
        }
    }
    page::protect_data(&mut headers);
    head.headers = headers;
    head.extensions.insert(TryAnswer);
    Response::from_parts(head, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = axum::http::Request::new(());
        *request.uri_mut() = target.parse().expect("a target");
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        request.headers_mut().extend(headers);
        request.into_parts().0
    }

    #[test]
    fn a_tried_request_has_the_headers_with_the_prefix_only() {
        let given = [
            ("host", "127.0.0.1:1"),
            ("authorization", "Bearer secret"),
            ("cookie", "of=the browser"),
            ("origin", "http://127.0.0.1:1"),
            ("content-type", "application/json"),
            ("try-authorization", "Bearer other"),
            ("try-cookie", "a=1"),
        ];
        let request = tried(&head("/openapi/try/items/a%2Fb?q=1", &given), "id").expect("a request");
        assert_eq!(*request.uri(), "/items/a%2Fb?q=1");
        let mut headers: Vec<(&str, &str)> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        headers.sort_unstable();
        let expected = [
            ("authorization", "Bearer other"),
            ("content-type", "application/json"),
            ("cookie", "a=1"),
            ("host", "127.0.0.1:1"),
            ("x-request-id", "id"),
        ];
        assert_eq!(headers, expected);
        let other = tried(&head("/openapi/try/", &[("host", "a"), ("try-host", "b")]), "id").expect("a request");
        assert_eq!((other.uri().path(), &other.headers()[HOST]), ("/", &HeaderValue::from_static("b")));
        for name in ["try-", "try-content-length", "try-transfer-encoding"] {
            assert!(tried(&head("/openapi/try/", &[(name, "1")]), "id").is_err(), "{name}");
        }
    }

    #[test]
    fn an_answer_can_do_nothing_to_a_browser() {
        let mut answered = Response::new(Body::empty());
        *answered.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let given =
            [("location", "/rollback"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-type", "text/html")];
        given.iter().for_each(|(name, value)| {
            answered.headers_mut().append(*name, HeaderValue::from_static(value));
        });
        let shown = shown(answered);
        let headers = shown.headers();
        assert!(!headers.contains_key("location") && !headers.contains_key("set-cookie"));
        assert_eq!(
            (&headers["try-location"], headers.get_all("try-set-cookie").iter().count()),
            (&"/rollback".parse().expect("text"), 2)
        );
        assert_eq!(headers["content-type"], "text/html");
        assert!(headers["content-security-policy"].to_str().expect("text").ends_with("sandbox"));
    }
}
