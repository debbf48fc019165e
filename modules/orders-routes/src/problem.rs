//! Problem details (RFC 9457): the body of every answer that is not what was asked for. Names, statuses and fields are those of the host.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use shop_orders::model::Error;
use tower::ServiceExt as _;

use crate::app::App;

/// The header that carries the id of the request. The host sets it.
const REQUEST_ID: &str = "x-request-id";
/// The seconds after which a client may send a request again that was answered 503.
const RETRY_SECONDS: u16 = 1;
/// The maximum number of bytes of a client-chosen name that an answer repeats.
const MAX_NAME: usize = 128;

/// The name of the problem that a request's body could not be read.
const BODY_CUT_OFF: &str = "body-cut-off";

/// The body of a request could not be read to its end. The component answers with an error: the host knows why, and tells the client by
/// 408 or 413, for instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadBody;

/// An answer that is not what was asked for, without the id of its request. [`answer`] completes it.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    name: &'static str,
    detail: String,
    faults: Vec<Fault>,
    payload: Option<Value>,
    /// A header that says what would be accepted.
    header: Option<(HeaderName, HeaderValue)>,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// The place in the body as a JSON pointer. Empty if the fault is not in the body.
    pub(crate) pointer: String,
    /// A sentence for people that says what is wrong.
    pub(crate) detail: String,
    /// The part of the request that has the fault. `None` if the fault is in the body.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    place: Option<&'static str>,
    /// The name of the query field, header or path parameter. `None` if the fault is in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Fault {
    fn in_part(place: &'static str, name: &str, detail: impl Into<String>) -> Self {
        let name = name[..name.floor_char_boundary(MAX_NAME)].to_owned();
        Self { pointer: String::new(), detail: detail.into(), place: Some(place), name: Some(name) }
    }

    /// Creates a fault of the query field `name`.
    pub(crate) fn query(name: &str, detail: impl Into<String>) -> Self {
        Self::in_part("query", name, detail)
    }

    /// Creates a fault of the header `name`.
    pub(crate) fn header(name: &str, detail: impl Into<String>) -> Self {
        Self::in_part("header", name, detail)
    }

    /// Creates a fault of the path parameter `name`.
    pub(crate) fn path(name: &str, detail: impl Into<String>) -> Self {
        Self::in_part("path", name, detail)
    }

    /// Creates a fault of the body at the JSON pointer `pointer`.
    pub(crate) fn body(pointer: &str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.into(), place: None, name: None }
    }
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        let (faults, payload, header) = (Vec::new(), None, None);
        Self(Box::new(Parts { status, name, detail: detail.into(), faults, payload, header }))
    }

    /// Creates the answer to a request with faults.
    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid-request", "the request has faults");
        problem.0.faults = faults;
        problem
    }

    /// Returns an error if a request has faults.
    pub(crate) fn check(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::invalid(faults)) }
    }

    /// Creates the answer to a request whose body could not be read to its end.
    pub(crate) fn body_cut_off() -> Self {
        Self::new(StatusCode::BAD_REQUEST, BODY_CUT_OFF, "the request body ended too early")
    }

    /// Creates the answer to a request whose body has more than `limit` bytes.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        let detail = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    /// Creates the answer to a request whose body is not JSON by its `Content-Type`.
    pub(crate) fn unsupported_type() -> Self {
        Self::unsupported("send the body as `Content-Type: application/json`")
    }

    /// Creates the answer to a request whose body is compressed.
    pub(crate) fn unsupported_coding() -> Self {
        let mut problem = Self::unsupported("send the body without a content coding, not compressed");
        problem.0.header = Some((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        problem
    }

    fn unsupported(detail: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    /// Creates the answer to a request for a path without a route.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-path", "nothing is at this path")
    }

    /// Creates the answer to a request with a method that its path does not have.
    pub(crate) fn other_method(method: &Method) -> Self {
        // RFC 9110, section 9.1: 501 says that no resource of the server has the method.
        const KNOWN: [Method; 7] =
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        if KNOWN.contains(method) {
            let detail = "this path does not support the method";
            return Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        }
        Self::new(StatusCode::NOT_IMPLEMENTED, "unknown-method", "the server does not support the method")
    }

    /// Creates the answer for an error of the module: the error table of these routes.
    pub(crate) fn of(error: Error, app: &App) -> Self {
        let (status, name, payload) = match error {
            Error::NotFound(id) => (StatusCode::NOT_FOUND, "not-found", Value::String(id)),
            Error::Invalid(invalid) => {
                let payload = json!({ "field": invalid.field, "reason": invalid.reason });
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid", payload)
            }
            Error::Declined(reason) => (StatusCode::PAYMENT_REQUIRED, "declined", Value::String(reason)),
            Error::Conflict(reason) => (StatusCode::CONFLICT, "conflict", Value::String(reason)),
            Error::Unavailable(reason) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Value::String(reason)),
            Error::Storage(cause) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "storage", Value::String(app.api().report(&cause)))
            }
        };
        // The contract's words for a case whose payload is no text.
        let detail = payload.as_str().unwrap_or("A field is not valid").to_owned();
        let mut problem = Self::new(status, name, detail);
        problem.0.payload = Some(payload);
        problem
    }

    /// Returns the body for the request with the id `instance`.
    fn details(&self, instance: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Details<'a> {
            r#type: String,
            title: String,
            status: u16,
            detail: &'a str,
            instance: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [Fault],
            /// The case of the contract's error, as the host's own routes write it.
            #[serde(skip_serializing_if = "Option::is_none")]
            case: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            payload: Option<&'a Value>,
        }
        let Parts { status, name, detail, faults, payload, header: _ } = &*self.0;
        let details = Details {
            r#type: format!("/problems/{name}"),
            title: title(name),
            status: status.as_u16(),
            detail,
            instance,
            errors: faults,
            // Only an error of the contract has a payload.
            case: payload.as_ref().map(|_| *name),
            payload: payload.as_ref(),
        };
        serde_json::to_vec(&details).expect("problem details are plain JSON")
    }
}

/// Handlers return problems. The response carries the problem as an extension until [`answer`] knows the id of the request.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Answers a request with a router. Writes the details of problems, with the id of the request.
pub(crate) async fn answer(router: axum::Router, request: Request) -> Result<Response, UnreadBody> {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let is_head = *request.method() == Method::HEAD;
    let mut response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        if response.status() == StatusCode::NO_CONTENT {
            list_methods(response.headers_mut());
        }
        return Ok(response);
    };
    if problem.0.name == BODY_CUT_OFF {
        return Err(UnreadBody);
    }
    let status = response.status();
    let body = problem.details(&id);
    let headers = response.headers_mut();
    complete(headers, status);
    headers.extend(problem.0.header.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LENGTH, body.len().into());
    *response.body_mut() = if is_head { Body::empty() } else { Body::from(body) };
    Ok(response)
}

/// Completes the headers that belong to a status.
fn complete(headers: &mut HeaderMap, status: StatusCode) {
    // axum lists the methods of a path on each answer of its fallback.
    if status == StatusCode::METHOD_NOT_ALLOWED {
        list_methods(headers);
    } else {
        headers.remove(ALLOW);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
}

/// Completes the list of a path's methods: axum writes it without spaces, and without OPTIONS.
fn list_methods(headers: &mut HeaderMap) {
    let allow = headers.remove(ALLOW);
    let all = |allow: &HeaderValue| {
        HeaderValue::from_str(&format!("{}, OPTIONS", allow.to_str().ok()?.replace(',', ", "))).ok()
    };
    headers.extend(allow.as_ref().and_then(all).map(|allow| (ALLOW, allow)));
}

/// Converts a name in kebab-case to a title: `not-found` becomes `Not found`.
fn title(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}
