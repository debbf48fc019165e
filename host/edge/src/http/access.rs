//! The access log: a line for each answer, in the log's target `request`.

use std::fmt;
use std::time::Duration;

use axum::http::Method;

use super::head;
use watertight_telemetry::logged_path;

/// An answer, as the access log tells of it.
pub struct Line<'a, T> {
    /// Whose it is: `data` or `admin`.
    pub listener: &'static str,
    /// The request's method.
    pub method: &'a Method,
    /// The path's template, where a route was found.
    pub route: Option<&'a str>,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// The answer's body, in bytes; none where its length isn't known before it is sent.
    pub bytes: Option<u64>,
    /// From the request's head to the answer's.
    pub time: Duration,
    /// The request's id.
    pub request: &'a str,
    /// The request's trace, where it has one.
    pub trace: Option<T>,
    /// The generation that answered.
    pub generation: u64,
}

impl<T: fmt::Display> Line<'_, T> {
    /// Writes the line, if it is to be logged.
    pub fn write(self) {
        if !tracing::enabled!(target: "request", tracing::Level::DEBUG) {
            return;
        }
        let Self { listener, route, status, bytes, request, generation, .. } = self;
        let micros = u32::try_from(self.time.as_micros()).unwrap_or(u32::MAX);
        // A number with three digits after its point.
        let millis = f64::from(micros) / 1e3;
        let (method, path, trace) =
            (method_name(self.method), logged_path(self.path), self.trace.map(tracing::field::display));
        tracing::debug!(
            target: "request", listener, method, route, path, status, bytes, millis, request, trace, generation, "answered"
        );
    }
}

/// The name of a method for log lines and spans: whoever sends one that nobody knows doesn't make a name of it.
pub fn method_name(method: &Method) -> &str {
    let is_known = head::is_implemented(method) || *method == Method::CONNECT || *method == Method::TRACE;
    if is_known { method.as_str() } else { "_OTHER" }
}
