//! Answers of the data listener: values as JSON, and the problems that the host itself answers with.
//!
//! Nothing of the inside leaves: an answer names what the client did or what a module said, never a path, a statement or a backtrace.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::details::{Failure, Fault, title};
use watertight_graph::routes::{ErrorAnswer, Route};
use watertight_json::EncodeError;
use watertight_runtime::runtime::CallError;
use watertight_runtime::store::Notes;

/// Why the host itself doesn't give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostProblem {
    /// It is no request.
    Malformed,
    /// The target is longer than it may be.
    TargetTooLong,
    /// The head is larger than it may be.
    HeadTooLarge,
    /// The request isn't what the route takes.
    Invalid(Vec<Fault>),
    /// No route has the path.
    NoSuchPath,
    /// Routes have the path under other methods.
    MethodNotAllowed,
    /// The body didn't come in time.
    BodyTooSlow,
    /// The connection ended within the body.
    BodyCutOff,
    /// The body is larger than it may be.
    BodyTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The body isn't declared as JSON.
    UnsupportedMediaType,
    /// The body is compressed.
    UnsupportedContentCoding,
    /// No route can have the method.
    UnknownMethod,
    /// The body is transferred in a coding that isn't `chunked`.
    UnknownTransferCoding,
    /// A module failed: a trap, or a limit.
    ModuleFailed,
    /// The host failed: a panic.
    HostFailed,
    /// Too many requests at once.
    Overloaded,
    /// A module of another compartment gave no result, and nobody handled that.
    Unavailable,
    /// The request ran past its deadline.
    Deadline,
    /// There was no room for a module's database to write to, and the call failed.
    StorageFull,
}

impl HostProblem {
    /// Status, stable name, and a sentence for a person.
    fn words(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed-request", "this is not HTTP".to_owned()),
            Self::TargetTooLong => (StatusCode::URI_TOO_LONG, "target-too-long", "the target is too long".to_owned()),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "the head has too many fields or too many bytes".to_owned(),
            ),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid-request", "the request has faults".to_owned()),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "nothing is at this path".to_owned()),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the path takes other methods".to_owned())
            }
            Self::BodyTooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the body did not come in time".to_owned())
            }
            Self::BodyCutOff => (StatusCode::BAD_REQUEST, "body-cut-off", "the body ended too early".to_owned()),
            Self::BodyTooLarge { limit } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", format!("the body has more than {limit} bytes"))
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send the body as `Content-Type: application/json`".to_owned(),
            ),
            Self::UnsupportedContentCoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send the body without a content coding, not compressed".to_owned(),
            ),
            Self::UnknownMethod => {
                (StatusCode::NOT_IMPLEMENTED, "unknown-method", "no resource here has this method".to_owned())
            }
            Self::UnknownTransferCoding => (
                StatusCode::NOT_IMPLEMENTED,
                "unknown-transfer-coding",
                "no transfer coding but `chunked` is implemented".to_owned(),
            ),
            Self::ModuleFailed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "module-failed", "the request failed inside".to_owned())
            }
            Self::HostFailed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "host-failed", "the host failed to answer the request".to_owned())
            }
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many requests at once".to_owned()),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a part of the application doesn't answer now".to_owned(),
            ),
            Self::StorageFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "storage-full",
                "there is no room now to store what the request needs".to_owned(),
            ),
            Self::Deadline => (StatusCode::GATEWAY_TIMEOUT, "deadline", "the request took too long".to_owned()),
        }
    }
}

impl From<CallError> for HostProblem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::QueueFull { .. } | CallError::NoRoom { .. } => Self::Overloaded,
            CallError::Callee(_) => Self::Unavailable,
            CallError::Deadline { .. } => Self::Deadline,
            CallError::Limit { .. } | CallError::Trap { .. } | CallError::Exit { .. } => Self::ModuleFailed,
        }
    }
}

impl<P: Into<HostProblem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        let problem = problem.into();
        let (status, name, detail) = problem.words();
        let failure = Self::new(status, name, detail);
        if let HostProblem::Invalid(faults) = problem { failure.with_faults(faults) } else { failure }
    }
}

/// What is answered instead where storage was full and the call failed by the server's fault: not for good, and not by the module's.
/// What a module says of the request itself stays.
pub(super) fn or_full(failure: Failure, notes: &Notes) -> Failure {
    if notes.was_storage_full() && failure.status().is_server_error() {
        HostProblem::StorageFull.into()
    } else {
        failure
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer that a function's result stands for; `limit` is what its JSON may take, in bytes.
///
/// # Errors
///
/// A result that can't be written: too large, or a float that JSON doesn't have.
pub(super) fn from_result(
    route: &Route,
    result: Option<&Val>,
    limit: usize,
) -> Result<Result<Response<Body>, Failure>, EncodeError> {
    let value = match (result, &route.answer.errors) {
        (Some(Val::Result(Ok(value))), Some(_)) => value.as_deref(),
        (Some(Val::Result(Err(error))), Some(errors)) => {
            return module_error(error.as_deref(), errors, limit).map(Err);
        }
        (value, _) => value,
    };
    let status = route.answer.status;
    Ok(Ok(match (value, &route.answer.value) {
        (Some(value), Some(codec)) => {
            let mut body = Vec::with_capacity(256);
            codec.encode(value, &mut body, limit)?;
            json(status, body)
        }
        _ => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response
        }
    }))
}

/// The answer to a typed error.
fn module_error(
    error: Option<&Val>,
    errors: &std::collections::BTreeMap<String, ErrorAnswer>,
    limit: usize,
) -> Result<Failure, EncodeError> {
    let not = |expected: &str| EncodeError::Mismatch { pointer: String::new(), expected: expected.to_owned() };
    let (case, payload) = match error {
        Some(Val::Variant(case, payload)) => (case, payload.as_deref()),
        Some(Val::Enum(case)) => (case, None),
        _ => return Err(not("an error with cases")),
    };
    let answer = errors.get(case).ok_or_else(|| not("a case that has a status"))?;
    let raw = match (payload, &answer.payload) {
        (Some(payload), Some(codec)) => {
            let mut body = Vec::new();
            codec.encode(payload, &mut body, limit)?;
            let text = String::from_utf8(body).map_err(|_| not("UTF-8"))?;
            Some(RawValue::from_string(text).map_err(|_| not("JSON"))?)
        }
        _ => None,
    };
    let detail = match payload {
        Some(Val::String(text)) => text.clone(),
        _ => title(case),
    };
    Ok(Failure::new(answer.status, case, detail).with_payload(raw))
}
