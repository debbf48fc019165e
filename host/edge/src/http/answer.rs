//! Responses of the data listener: results of functions as JSON, and the problems that the host itself reports.
//!
//! A response describes only what the client did or what a module returned. It never contains a file path, an SQL statement or a
//! backtrace.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::details::{Failure, RequestFault, title};
use watertight_graph::routes::{ErrorMapping, Route};
use watertight_json::EncodeError;
use watertight_runtime::runtime::CallError;
use watertight_store::RequestNotes;

/// A reason for which the host answers a request with an error of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostProblem {
    /// The request is not valid HTTP.
    Malformed,
    /// The request target is longer than the limit.
    TargetTooLong,
    /// The request head is larger than the limit.
    HeadTooLarge,
    /// The request does not match the parameters of its route. The list has every fault.
    Invalid(Vec<RequestFault>),
    /// No route matches the path.
    NoSuchPath,
    /// Nothing answers requests for the host that the request names.
    Misdirected,
    /// Routes match the path, but only with other methods.
    MethodNotAllowed,
    /// The request body did not arrive in time.
    BodyTooSlow,
    /// The connection ended before the request body was complete.
    BodyCutOff,
    /// The request body is larger than the limit.
    BodyTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The request's body is not of a media type that the route takes.
    UnsupportedMediaType {
        /// The media types that the route takes, separated by commas.
        accepted: String,
    },
    /// The request body is compressed.
    UnsupportedContentCoding,
    /// The method is one that no route can use.
    UnknownMethod,
    /// The request uses a transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// A module failed: it trapped or met a limit.
    ModuleFailed,
    /// The host panicked while it handled the request.
    HostFailed,
    /// The host has no capacity left: too many requests are in flight or queued, or too many bytes are held for clients.
    Overloaded,
    /// A call to a module of another compartment failed, and the caller could not handle that failure.
    Unavailable,
    /// The request did not finish before its deadline.
    Deadline,
    /// A module's database could not write because storage was full, and the call failed.
    StorageFull,
}

impl HostProblem {
    /// Returns the status, the stable name, and a sentence for people.
    fn describe(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Malformed => {
                (StatusCode::BAD_REQUEST, "malformed-request", "the request is not valid HTTP".to_owned())
            }
            Self::TargetTooLong => {
                (StatusCode::URI_TOO_LONG, "target-too-long", "the request target is too long".to_owned())
            }
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head-too-large",
                "the request head has too many fields or too many bytes".to_owned(),
            ),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid-request", "the request has faults".to_owned()),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "nothing is at this path".to_owned()),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "nothing here answers for the host of the request".to_owned(),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this path does not support the method".to_owned(),
            ),
            Self::BodyTooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the request body did not arrive in time".to_owned())
            }
            Self::BodyCutOff => {
                (StatusCode::BAD_REQUEST, "body-cut-off", "the request body ended too early".to_owned())
            }
            Self::BodyTooLarge { limit } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", format!("the body has more than {limit} bytes"))
            }
            Self::UnsupportedMediaType { accepted } => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                format!("send the body as `Content-Type: {accepted}`"),
            ),
            Self::UnsupportedContentCoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send the body without a content coding, not compressed".to_owned(),
            ),
            Self::UnknownMethod => {
                (StatusCode::NOT_IMPLEMENTED, "unknown-method", "the server does not support the method".to_owned())
            }
            Self::UnknownTransferCoding => (
                StatusCode::NOT_IMPLEMENTED,
                "unknown-transfer-coding",
                "the only supported transfer coding is `chunked`".to_owned(),
            ),
            Self::ModuleFailed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "module-failed",
                "the application failed to process the request".to_owned(),
            ),
            Self::HostFailed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "host-failed", "the host failed to answer the request".to_owned())
            }
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many requests at once".to_owned()),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a part of the application is temporarily unavailable".to_owned(),
            ),
            Self::StorageFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "storage-full",
                "the storage for the request's data is full at the moment".to_owned(),
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
            CallError::Limit { .. } | CallError::Trap { .. } | CallError::Exit { .. } | CallError::Neighbour { .. } => {
                Self::ModuleFailed
            }
        }
    }
}

impl<P: Into<HostProblem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        let problem = problem.into();
        let (status, name, detail) = problem.describe();
        let failure = Self::new(status, name, detail);
        if let HostProblem::Invalid(faults) = problem { failure.with_faults(faults) } else { failure }
    }
}

/// Replaces a server error by [`HostProblem::StorageFull`] if storage was full during the call: the error is temporary, and the module is
/// not at fault. Errors that a module reports about the request itself stay.
pub(super) fn storage_full_if_server_error(failure: Failure, notes: &RequestNotes) -> Failure {
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

/// Builds the response for the result of a function. `limit` is the maximum length of its JSON, in bytes. The inner `Err` is the response
/// for a typed error that the module returned.
///
/// # Errors
///
/// Fails if the result cannot be encoded: its JSON is longer than `limit`, or it contains a float that JSON cannot express.
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

/// Builds the error response for a typed error that a module returned.
fn module_error(
    error: Option<&Val>,
    errors: &std::collections::BTreeMap<String, ErrorMapping>,
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
    Ok(Failure::of_module(answer.status, case, detail, raw))
}
