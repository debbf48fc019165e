//! Responses of the data listener: results of functions as JSON, and the problems that the host itself reports.
//!
//! A response describes only what the client did or what a module returned. It never contains a file path, an SQL statement or a
//! backtrace.

mod accept;
mod body;
mod conditions;
mod extras;
mod template;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use serde_json::value::RawValue;
use wasmtime::component::Val;

pub(super) use conditions::check;
pub(crate) use conditions::is_known;

use super::details::{Failure, RequestFault, UNNAMED_ERROR, title};
use template::Values;
use watertight_graph::routes::{BodyForm, CaseDocs, ErrorMappings, ParameterValue, Route};
use watertight_json::EncodeError;
use watertight_model::config::needs_location;
use watertight_runtime::runtime::CallError;
use watertight_store::RequestNotes;

/// Statuses whose answers never have a body (RFC 9110, section 15.3).
const NO_BODY: [StatusCode; 2] = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT];

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
    /// The client doesn't take the media type of the answer.
    NotAcceptable {
        /// The media type of the answer.
        offered: String,
    },
    /// A condition of the request doesn't hold, or nobody can check it.
    PreconditionFailed,
    /// The route takes only requests with the header `If-Match`.
    PreconditionRequired,
    /// The body doesn't have the part that the request asks for.
    RangeNotSatisfiable {
        /// The length of the body, in bytes.
        length: usize,
    },
    /// The request body is compressed.
    UnsupportedContentCoding,
    /// The method is one that the host does not know, and no route can use.
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
            Self::NotAcceptable { offered } => (
                StatusCode::NOT_ACCEPTABLE,
                "not-acceptable",
                format!("the answer is `{offered}`, which the request's `Accept` rules out"),
            ),
            Self::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "a condition of the request does not hold, or can't be checked here".to_owned(),
            ),
            Self::PreconditionRequired => (
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                "send the entity tag of what the request changes as `If-Match`".to_owned(),
            ),
            Self::RangeNotSatisfiable { length } => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range-not-satisfiable",
                format!("the body has {length} bytes, and none of those that the request asks for"),
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

/// What an answer depends on besides the function's result.
pub(super) struct Asked<'a> {
    head: &'a Parts,
    /// The texts of parameters that templates of the answer use.
    parameters: Vec<Option<String>>,
}

impl<'a> Asked<'a> {
    /// Keeps what the answer of `route` needs of a request. `values` are the parameters of the call.
    pub(super) fn new(route: &Route, head: &'a Parts, values: &[Val]) -> Self {
        let text = |value: &ParameterValue| value.path.text(values.get(value.index)?, usize::MAX).ok().flatten();
        Self { head, parameters: route.answer.parameters.iter().map(text).collect() }
    }
}

/// Builds the response for the result of a function. `limit` is the maximum length of its body, in bytes. The inner `Err` is the response
/// for a typed error that the module returned, or for a condition of the request.
///
/// # Errors
///
/// Fails if the result cannot be written: its body is longer than `limit`, it contains a float that JSON cannot express, or a value that
/// can't stand where a template has it.
pub(super) fn from_result(
    route: &Route,
    result: Option<&Val>,
    limit: usize,
    asked: &Asked<'_>,
) -> Result<Result<Response<Body>, Failure>, EncodeError> {
    let mapping = &route.answer;
    let value = match (result, &mapping.errors) {
        (Some(Val::Result(Ok(value))), Some(_)) => value.as_deref(),
        (Some(Val::Result(Err(error))), Some(errors)) => {
            return module_error(error.as_deref(), errors, limit, asked).map(Err);
        }
        (value, _) => value,
    };
    let status = mapping.status.of(value).ok_or_else(|| mismatch("a case that has a status"))?;
    let values = Values { result: value, parameters: &asked.parameters };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let mut bytes = Vec::new();
    let mut is_bytes = false;
    if let (Some(value), Some(body)) = (value, &mapping.body)
        && !NO_BODY.contains(&status)
    {
        let media_type = body::write(body, value, values, limit, &mut bytes)?;
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        is_bytes = matches!(body.form, BodyForm::Bytes);
    }
    if let Some(extras) = &mapping.extras {
        extras::add(extras, values, &bytes, response.headers_mut())?;
    }
    if needs_location(status) && !response.headers().contains_key(LOCATION) {
        let what = format!("an answer of status {}", status.as_u16());
        return Err(EncodeError::Unfit { what, why: "a value of its `Location` is absent".to_owned() });
    }
    Ok(conditions::complete(response, bytes, is_bytes, route, asked.head))
}

/// Builds the error response for an error that a module returned.
fn module_error(
    error: Option<&Val>,
    errors: &ErrorMappings,
    limit: usize,
    asked: &Asked<'_>,
) -> Result<Failure, EncodeError> {
    let (case, payload, answer) = match (errors, error) {
        (ErrorMappings::Whole(answer), payload) => (None, payload, answer),
        (ErrorMappings::Cases(cases), Some(Val::Variant(case, _) | Val::Enum(case))) => {
            let answer = cases.get(case).ok_or_else(|| mismatch("a case that has a status"))?;
            let payload = if let Some(Val::Variant(_, payload)) = error { payload.as_deref() } else { None };
            (Some(&**case), payload, answer)
        }
        (ErrorMappings::Cases(_), _) => return Err(mismatch("an error with cases")),
    };
    let raw = match (payload, &answer.payload) {
        (Some(payload), Some(codec)) => {
            let mut body = Vec::new();
            codec.encode(payload, &mut body, limit)?;
            let text = String::from_utf8(body).map_err(|_| mismatch("UTF-8"))?;
            Some(RawValue::from_string(text).map_err(|_| mismatch("JSON"))?)
        }
        _ => None,
    };
    let documented = answer.docs.as_ref().map(|docs| &*docs.title);
    let title = documented.map_or_else(|| title(case.unwrap_or(UNNAMED_ERROR)), ToOwned::to_owned);
    let detail = match (payload, &answer.docs) {
        (Some(Val::String(text)), _) => text.clone(),
        (_, Some(CaseDocs { detail: Some(detail), .. })) => (**detail).to_owned(),
        _ => title.clone(),
    };
    let values = Values { result: payload, parameters: &asked.parameters };
    let mut failure = Failure::of_module(answer.status, case, title, detail, raw);
    for (name, template) in &answer.headers {
        if let Some(value) = template::header(template, values, name.as_str())? {
            failure = failure.with_header(name.clone(), value);
        }
    }
    Ok(failure)
}

fn mismatch(expected: &str) -> EncodeError {
    EncodeError::Mismatch { pointer: String::new(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests;
