//! Requests to other hosts, which the manifest allows: `uses = ["http", "clocks"]` and
//! `[modules.NAME.http] allow = ["https://api.example.com"]`.
//!
//! ```
//! # use watertight_guest::{Http, HttpError, http::Request};
//! fn reserve(http: &impl Http, key: &str, cents: u32) -> Result<bool, HttpError> {
//!     let request = Request::post("https://api.example.com/charges")
//!         .header("idempotency-key", key)
//!         .body("application/json", format!(r#"{{"cents":{cents}}}"#));
//!     Ok(http.send(&request)?.status == 201)
//! }
//! ```
//!
//! A response with any status is `Ok`. Redirects are not followed. With the feature `json`, [`Request::json`] and [`Response::json`] convert
//! bodies.

use std::time::Duration;

/// The time that is waited for a connection, for the head of the response, and for each part of its body, unless the request says
/// otherwise. The call's own deadline ends all of them.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of bytes of a response's body, unless the request says otherwise. A longer body is [`HttpError::TooLarge`].
pub const MAX_BODY: usize = 1 << 20;

/// A sender of requests.
pub trait Http {
    /// Sends a request, and waits for the response with its whole body.
    ///
    /// # Errors
    ///
    /// There is no usable response. The other side may have acted on the request nevertheless.
    fn send(&self, request: &Request) -> Result<Response, HttpError>;
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The address: `http://` or `https://`, authority, path and query.
    pub url: String,
    /// The header fields. `host` and `content-length` are added.
    pub headers: Vec<(String, String)>,
    /// The body. Empty for none.
    pub body: Vec<u8>,
    /// The time for each wait: see [`TIMEOUT`].
    pub timeout: Duration,
    /// The maximum number of bytes of the response's body: see [`MAX_BODY`].
    pub max_body: usize,
}

impl Request {
    /// Creates a request without header fields and body.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self { method: method.to_owned(), url: url.into(), headers, body, timeout: TIMEOUT, max_body: MAX_BODY }
    }

    /// Creates a GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Creates a POST request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Creates a PUT request.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// Creates a DELETE request.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body and its media type.
    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media_type)
    }

    /// Sets the body to a value as JSON.
    ///
    /// # Errors
    ///
    /// [`HttpError::Invalid`] if the value has no JSON, such as a map whose keys are no texts.
    #[cfg(feature = "json")]
    pub fn json(self, value: &impl serde::Serialize) -> Result<Self, HttpError> {
        let body = serde_json::to_vec(value).map_err(|_| HttpError::Invalid("its body has no JSON"))?;
        Ok(self.body("application/json", body))
    }

    /// Sets the time for each wait.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum number of bytes of the response's body.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Splits the address into whether it is `https`, the authority, and the path with the query.
    ///
    /// # Errors
    ///
    /// [`HttpError::Invalid`] if the address has another scheme or no authority.
    pub fn target(&self) -> Result<(bool, &str, String), HttpError> {
        let split = self.url.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme));
        let (scheme, rest) = split.ok_or(HttpError::Invalid("its address begins neither with http:// nor https://"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(HttpError::Invalid("its address names no host"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok((scheme == "https", authority, format!("{slash}{path}")))
    }
}

/// A response with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields, with names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Creates a response, for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Returns the first header field of a name, if it is text. `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(own, _)| own == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Returns whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the body as a text.
    ///
    /// # Errors
    ///
    /// [`HttpError::Body`] if the body is not UTF-8.
    pub fn text(&self) -> Result<&str, HttpError> {
        std::str::from_utf8(&self.body).map_err(|error| HttpError::Body(error.to_string()))
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// [`HttpError::Body`] if the body is not the JSON of a `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Body(error.to_string()))
    }
}

/// A reason for which a request got no usable response. Whatever it says, the other side may have acted on the request, except after
/// [`Invalid`](Self::Invalid) and [`Denied`](Self::Denied).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request can't be sent as it is.
    #[error("the request is not valid: {0}")]
    Invalid(&'static str),
    /// The manifest does not allow the address.
    #[error("the manifest does not allow this address")]
    Denied,
    /// No connection, or no response, in time.
    #[error("there was no response in time")]
    Timeout,
    /// No connection can be made, or it broke off. The text is the error code of `wasi:http`.
    #[error("the other host can't be reached: {0}")]
    Unreachable(String),
    /// The response's body is longer than the request allows.
    #[error("the response is too large")]
    TooLarge,
    /// The response's body is not what was expected.
    #[error("the response can't be read: {0}")]
    Body(String),
}

impl HttpError {
    /// Returns whether the same request may be answered in a moment.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable(_))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        for (url, https, authority, path) in [
            ("https://a.example", true, "a.example", "/"),
            ("http://a.example:81/b/c?d=e/f#g", false, "a.example:81", "/b/c?d=e/f"),
            ("https://[::1]:8443?q", true, "[::1]:8443", "/?q"),
        ] {
            assert_eq!(Request::get(url).target(), Ok((https, authority, path.to_owned())));
        }
        for url in ["", "a.example", "ftp://a.example", "https://", "https:///a"] {
            assert!(matches!(Request::get(url).target(), Err(HttpError::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn responses_are_read() {
        let mut response = Response::new(201, "\u{e4}");
        response.headers.push(("location".to_owned(), b"/1".to_vec()));
        assert_eq!((response.header("location"), response.header("etag")), (Some("/1"), None));
        assert_eq!((response.is_success(), response.text()), (true, Ok("\u{e4}")));
        assert!(matches!(Response::new(200, [0xff]).text(), Err(HttpError::Body(_))));
    }

    #[cfg(feature = "json")]
    #[test]
    fn bodies_are_json() {
        let request = Request::post("https://a.example").json(&[1, 2]).unwrap();
        assert_eq!(request.body, b"[1,2]");
        assert_eq!(Response::new(200, request.body).json::<Vec<i32>>(), Ok(vec![1, 2]));
        assert!(matches!(Response::new(200, "[").json::<Vec<i32>>(), Err(HttpError::Body(_))));
    }
}
