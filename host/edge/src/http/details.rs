//! Problem details (RFC 9457): what both listeners answer where they don't give what was asked for, and what the command line reads.
//!
//! On the data listener nothing of the inside is in them: they name what the client did or what a module said, never a path, a statement
//! or a backtrace.

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
pub const CONTENT: &str = "application/problem+json";
/// What a problem's type begins with; its name follows.
const TYPES: &str = "/problems/";
/// What a client that was turned away should wait before it tries again, in seconds.
const RETRY_SECONDS: u16 = 1;
/// Bytes of a client's own name of something that are sent back.
const MAX_NAME: usize = 128;

/// The body of an answer that isn't what was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Details {
    /// `/problems/` and the problem's stable name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name as words.
    pub title: String,
    /// The answer's status.
    pub status: u16,
    /// What is wrong, in a sentence for a person.
    pub detail: String,
    /// The request's id.
    pub instance: String,
    /// Each thing that is wrong with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// What a module's error carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// What a change of the application is refused for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where in the body: a JSON pointer; empty where it isn't in the body.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
    /// `query`, `header` or `path`, where it isn't in the body.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Cow<'static, str>>,
    /// The name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Fault {
    fn outside(place: &'static str, name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), detail: detail.into(), place: Some(place.into()), name: Some(name.to_owned()) }
    }

    /// In the query field `name`, which may be the client's own, of any length.
    pub(crate) fn query(name: &str, detail: impl Into<String>) -> Self {
        Self::outside("query", &name[..name.floor_char_boundary(MAX_NAME)], detail)
    }

    /// In the header `name`.
    pub(crate) fn header(name: &HeaderName, detail: impl Into<String>) -> Self {
        Self::outside("header", name.as_str(), detail)
    }

    /// In the path: in the parameter of that name in WIT's spelling, or in the path itself, which has none.
    pub(crate) fn path(name: &str, detail: impl Into<String>) -> Self {
        Self::outside("path", &json_name(name), detail)
    }

    /// In the body, at that JSON pointer.
    pub(crate) fn at(pointer: &str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.into(), place: None, name: None }
    }
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self { pointer: violation.pointer, detail: violation.detail, place: None, name: None }
    }
}

/// An answer that isn't what was asked for, before it is bytes. Boxed: it is rare, and what is returned beside it is small.
#[derive(Debug, Clone)]
pub struct Failure(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    details: Details,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// The problem of that stable name, in kebab-case; `detail` is a sentence for a person.
    pub fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Self {
        let details = Details {
            kind: format!("{TYPES}{name}"),
            title: title(name),
            status: status.as_u16(),
            detail: detail.into(),
            ..Details::default()
        };
        Self(Box::new(Parts { status, details, header: None }))
    }

    /// The same, with each thing that is wrong with the request.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.0.details.errors = faults;
        self
    }

    /// The same, with what a module's error carries.
    #[must_use]
    pub(super) fn with_payload(mut self, payload: Option<Box<RawValue>>) -> Self {
        self.0.details.payload = payload;
        self
    }

    /// The same, with what a change is refused for.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.0.details.problems = problems;
        self
    }

    /// The same, with a header that says what would have been right.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The answer, to the request of that id.
    pub fn answer(self, id: &str) -> Response<Body> {
        let Parts { status, mut details, header } = *self.0;
        id.clone_into(&mut details.instance);
        let body = serde_json::to_vec(&details).expect("problem details are plain JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        headers.extend(header);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        response
    }
}

/// What a handler of the admin listener returns: the failure is carried along as it is, and becomes an answer where the request's id
/// is known.
impl IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// `not-found` as a title: `Not found`.
pub(super) fn title(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}
