//! Problem details (RFC 9457): the body of every error response of both listeners, which the command line also reads.
//!
//! On the data listener, problem details describe only what the client did or what a module returned. They never contain a file path, an
//! SQL statement or a backtrace.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use watertight_json::Violation;
use watertight_model::ids::json_name;
use watertight_model::problem::Problem;

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// The prefix of a problem's `type`. The stable name of the problem follows.
const TYPE_PREFIX: &str = "/problems/";
/// The value of `Retry-After` in responses with status 503, in seconds.
const RETRY_SECONDS: u16 = 1;
/// The name of an error that a module returned without a case.
pub(super) const UNNAMED_ERROR: &str = "error";
/// The maximum number of bytes of a client-chosen name, such as a query field, that a response repeats.
const MAX_NAME: usize = 128;

/// The body of an error response, as RFC 9457 defines it with extension members.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// The problem's type: `/problems/` followed by its stable name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The problem's stable name written as words, such as `Not found`.
    pub title: String,
    /// The HTTP status of the response.
    pub status: u16,
    /// A sentence for people that says what is wrong.
    pub detail: String,
    /// The id of the request.
    pub instance: String,
    /// Every fault of the request. Empty if the error is not about faults of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RequestFault>,
    /// The case of the typed error that a module returned, in WIT's spelling. `None` for any other error, so that a client can tell a
    /// contract's case from an error of the host with the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The payload of the typed error that a module returned, as JSON. `None` for any other error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// The problems for which a change of the application is refused. Empty for any other error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFault {
    /// The place in the body as a JSON pointer. It is empty if the fault is not in the body.
    pub pointer: String,
    /// A sentence for people that says what is wrong.
    pub detail: String,
    /// The part of the request that has the fault: `query`, `header`, `cookie` or `path`. `None` if the fault is in the body.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Cow<'static, str>>,
    /// The name of the query field, header, cookie or path parameter. `None` if the fault is in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl RequestFault {
    fn in_part(place: &'static str, name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), detail: detail.into(), place: Some(place.into()), name: Some(name.to_owned()) }
    }

    /// Creates a fault of the query field `name`. A name that the client chose may be of any length; it is cut to 128 bytes.
    pub(crate) fn query(name: &str, detail: impl Into<String>) -> Self {
        Self::in_part("query", &name[..name.floor_char_boundary(MAX_NAME)], detail)
    }

    /// Creates a fault of the cookie `name`.
    pub(crate) fn cookie(name: &str, detail: impl Into<String>) -> Self {
        Self::in_part("cookie", name, detail)
    }

    /// Creates a fault of a field of a form; of its value at `index` if it has several. The client may have chosen the name, of any length.
    pub(crate) fn field(name: &str, index: Option<usize>, detail: impl Into<String>) -> Self {
        let mut pointer = String::new();
        if !name.is_empty() {
            watertight_json::push_pointer(&mut pointer, &name[..name.floor_char_boundary(MAX_NAME)]);
        }
        if let Some(index) = index {
            watertight_json::push_pointer(&mut pointer, &index.to_string());
        }
        Self::body(&pointer, detail)
    }

    /// Creates a fault of the header `name`.
    pub(crate) fn header(name: &HeaderName, detail: impl Into<String>) -> Self {
        Self::in_part("header", name.as_str(), detail)
    }

    /// Creates a fault of the path parameter `name`, in WIT's spelling. An empty name means the path as a whole.
    pub(crate) fn path(name: &str, detail: impl Into<String>) -> Self {
        Self::in_part("path", &json_name(name), detail)
    }

    /// Creates a fault of the body at the JSON pointer `pointer`.
    pub(crate) fn body(pointer: &str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.into(), place: None, name: None }
    }
}

impl From<Violation> for RequestFault {
    fn from(violation: Violation) -> Self {
        Self { pointer: violation.pointer, detail: violation.detail, place: None, name: None }
    }
}

/// An error response that is not serialized yet. The content is boxed because failures are rare, and `Result`s that carry one stay small.
#[derive(Debug, Clone)]
pub struct Failure(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    details: ProblemDetails,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// Creates a failure. `name` is the problem's stable name in kebab-case; `detail` is a sentence for people.
    pub fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Self {
        let details = ProblemDetails {
            kind: format!("{TYPE_PREFIX}{name}"),
            title: title(name),
            status: status.as_u16(),
            detail: detail.into(),
            ..ProblemDetails::default()
        };
        Self(Box::new(Parts { status, details, headers: Vec::new() }))
    }

    /// Sets the list of the request's faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<RequestFault>) -> Self {
        self.0.details.errors = faults;
        self
    }

    /// Creates the failure for a typed error that a module returned: its case, unless its type has none, and its payload as JSON if it has
    /// one.
    pub(super) fn of_module(
        status: StatusCode,
        case: Option<&str>,
        title: String,
        detail: String,
        payload: Option<Box<RawValue>>,
    ) -> Self {
        let mut failure = Self::new(status, case.unwrap_or(UNNAMED_ERROR), detail);
        let details = &mut failure.0.details;
        (details.title, details.payload) = (title, payload);
        details.case = case.map(ToOwned::to_owned);
        failure
    }

    /// Replaces the start of the problem's `type`, `/problems/`, by `base`.
    pub(super) fn with_type_base(mut self, base: Option<&str>) -> Self {
        if let Some(base) = base {
            self.0.details.kind.replace_range(..TYPE_PREFIX.len(), base);
        }
        self
    }

    /// Sets the problems for which a change is refused.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.0.details.problems = problems;
        self
    }

    /// Adds a header that tells the client what would be accepted, such as `Allow`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The HTTP status of the response.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Builds the response. `id` is the id of the request.
    pub fn into_response_for(self, id: &str) -> Response<Body> {
        let Parts { status, mut details, headers: more } = *self.0;
        id.clone_into(&mut details.instance);
        let body = serde_json::to_vec(&details).expect("problem details are plain JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(more);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.entry(RETRY_AFTER).or_insert_with(|| RETRY_SECONDS.into());
        }
        response
    }
}

/// Handlers of the admin listener return a failure. The response carries it as an extension; [`Failure::into_response_for`] serializes the
/// failure where the request's id is known.
impl IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Converts a name in kebab-case to a title: `not-found` becomes `Not found`.
pub(super) fn title(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}
