//! The access log: one log line for each response, with the log target `request` and the level `debug`.

use std::fmt;
use std::time::Duration;

use axum::http::Method;

use super::head;
use watertight_model::config;
use watertight_telemetry::logged_path;

/// The name of all methods that the host does not know, so that clients cannot create arbitrary names.
const OTHER: &str = "_OTHER";

/// The fields of one line of the access log.
pub struct Line<'a, T> {
    /// The listener that answered: `data` or `admin`.
    pub listener: &'static str,
    /// The method of the request.
    pub method: &'a Method,
    /// The path template of the route, such as `/items/{id}`. `None` if no route matched.
    pub route: Option<&'a str>,
    /// The path of the request as the client sent it, without the query.
    pub path: &'a str,
    /// The HTTP status of the response.
    pub status: u16,
    /// The length of the response body, in bytes. `None` if the length is not known before the body is sent.
    pub bytes: Option<u64>,
    /// The time from the arrival of the request's head to the head of the response.
    pub time: Duration,
    /// The id of the request.
    pub request: &'a str,
    /// The id of the request's trace. `None` if the request has no trace.
    pub trace: Option<T>,
    /// The number of the application's generation that answered.
    pub generation: u64,
}

impl<T: fmt::Display> Line<'_, T> {
    /// Writes the line, if the log target `request` is enabled at the level `debug`.
    pub fn write(self) {
        if !tracing::enabled!(target: "request", tracing::Level::DEBUG) {
            return;
        }
        let Self { listener, route, status, bytes, request, generation, .. } = self;
        let micros = u32::try_from(self.time.as_micros()).unwrap_or(u32::MAX);
        // Milliseconds with three decimals.
        let millis = f64::from(micros) / 1e3;
        let (method, path, trace) =
            (method_name(self.method), logged_path(self.path), self.trace.map(tracing::field::display));
        tracing::debug!(
            target: "request", listener, method, route, path, status, bytes, millis, request, trace, generation, "answered"
        );
    }
}

/// Returns the name of a method that a route can have, and `_OTHER` for any other.
pub(super) fn static_method_name(method: &Method) -> &'static str {
    let mut names = config::Method::ALL.iter().map(|known| known.as_str());
    names.find(|name| *name == method.as_str()).unwrap_or(OTHER)
}

/// Returns the name of a method for log lines and spans. An unknown method becomes `_OTHER`, so that clients cannot create arbitrary
/// names.
pub fn method_name(method: &Method) -> &str {
    let is_known = head::is_known(method) || *method == Method::CONNECT;
    if is_known { method.as_str() } else { OTHER }
}
