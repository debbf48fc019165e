//! Refusals of input that is not a valid request. Each gets a request id, a log line and a count, as requests do.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;

use super::connection::Connection;
use crate::http::REQUEST_ID;
use crate::http::answer::HostProblem;
use crate::http::details::Failure;
use watertight_telemetry::LineRateLimit;
use watertight_telemetry::table::RefusalReason;

/// The maximum length of a response that hyper writes by itself, in bytes: a status line and three headers.
const MAX_OWN_RESPONSE: usize = 256;

/// The limit on how many lines about refusals a listener logs.
#[derive(Default)]
pub(super) struct Refusals(LineRateLimit);

/// Counts a refusal, logs it unless too many were logged already, and returns the response to send. `detail` is a sentence for the log.
pub(super) fn refuse(connection: &Connection, why: RefusalReason, detail: &str) -> Response<Body> {
    let id = ulid::Ulid::generate().to_string();
    let all = connection.listener();
    all.metrics().count_refused(why);
    connection.mark_refused();
    if let Some(dropped) = all.refusals().0.try_acquire() {
        let (request, reason) = (id.as_str(), why.as_str());
        tracing::info!(target: "http", request, reason, detail, dropped, "an invalid request was refused");
    }
    let problem = match why {
        RefusalReason::TargetTooLong => HostProblem::TargetTooLong,
        RefusalReason::HeadTooLarge => HostProblem::HeadTooLarge,
        RefusalReason::Malformed | RefusalReason::Protocol => HostProblem::Malformed,
    };
    let mut response = Failure::from(problem).into_response_for(&id);
    let id = HeaderValue::from_str(&id).expect("letters and digits are header text");
    response.headers_mut().insert(&REQUEST_ID, id);
    response
}

/// Returns the response to write in place of `written`, if `written` is a refusal that hyper made by itself.
pub(super) fn replacement(written: &[u8], connection: &Connection) -> Option<Vec<u8>> {
    if !written.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let why = match own_status(written)? {
        "400" => RefusalReason::Malformed,
        "414" => RefusalReason::TargetTooLong,
        "431" => RefusalReason::HeadTooLarge,
        _ => return None,
    };
    let response = refuse(connection, why, "the HTTP parser refused the request");
    let (head, body) = response.into_parts();
    let body = body.collect().now_or_never()?.ok()?.to_bytes();
    let status: StatusCode = head.status;
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    // Keeps hyper's other headers: the date, and that the connection closes.
    for line in written.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"content-length")).skip(1) {
        if line.len() > 1 {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

/// Returns the status of `written` if hyper made that response by itself. Every response of the host has a header that hyper's do not
/// have.
fn own_status(written: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(written).ok().filter(|text| text.len() <= MAX_OWN_RESPONSE)?;
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let known = |line: &str| ["connection: close", "content-length: 0"].contains(&line) || line.starts_with("date: ");
    lines.all(known).then_some(status)
}
