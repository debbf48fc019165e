//! Reads and parses bodies of requests to the admin listener. A body is read completely, within a size limit and a time limit, and parsed
//! strictly.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use crate::http::answer::HostProblem;
use crate::http::details::Failure;
use crate::http::media::{self, Declared};
use crate::http::server::BodyError;

/// The number of bytes of an upload that are read before a pause of [`PACE_PAUSE`]: 256 MiB/s at most. Without the pause, an upload that
/// arrives as fast as it can be copied takes a whole core from other requests. Each of their transactions would wait for it several
/// times.
const PACE_BYTES: usize = 256 << 10;
const PACE_PAUSE: Duration = Duration::from_millis(1);
/// The maximum time for which no data of a request's body may arrive.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The name of a request's body in error messages.
const BODY: &str = "the body";
/// The byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the failure for an invalid request. `why` is the sentence that the client gets.
pub(super) fn invalid_request(why: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "invalid-request", why)
}

/// Reads a body of at most `most` bytes and parses it as one JSON object of type `T`.
///
/// # Errors
///
/// 415 if the request declares another media type. 413 if the body is too large. 400 if the body is not such an object. 408 if the rest of
/// the body does not arrive.
pub(super) async fn object<T: DeserializeOwned>(request: Request, most: u64) -> Result<T, Failure> {
    parse(&json(request, most).await?, BODY)
}

/// Reads a body of at most `most` bytes and parses it as one JSON object of type `T`. Returns the default if the body is empty.
///
/// # Errors
///
/// The errors of [`object`].
pub(super) async fn object_or_default<T: DeserializeOwned + Default>(
    request: Request,
    most: u64,
) -> Result<T, Failure> {
    let body = json(request, most).await?;
    if body.is_empty() { Ok(T::default()) } else { parse(&body, BODY) }
}

/// Reads a body that is declared as JSON or has no declared media type.
///
/// # Errors
///
/// 415 if the request declares another media type, and the errors of [`read`].
async fn json(request: Request, most: u64) -> Result<Bytes, Failure> {
    let (head, body) = request.into_parts();
    if !body.is_end_stream() {
        let declared = media::declared(&head.headers);
        if declared != Declared::Nothing && !declared.is_json() {
            return Err(HostProblem::UnsupportedMediaType { accepted: media::JSON.to_owned() }.into());
        }
    }
    read(&head.headers, body, most).await
}

/// Parses a text as one JSON object of type `T`. Error messages call the text `what`.
///
/// # Errors
///
/// 400, with the fault and its place in the text.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8], what: &str) -> Result<T, Failure> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    // serde also accepts a JSON list for a structure.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(invalid_request(&format!("{what} is not a JSON object")));
    }
    serde_json::from_slice(text).map_err(|error| invalid_request(&format!("{what}: {error}")))
}

/// Refuses a body that is not declared as `media_type`. The error message calls the body `what`.
///
/// # Errors
///
/// 415.
pub(super) fn check_type(headers: &HeaderMap, media_type: &str, what: &str) -> Result<(), Failure> {
    if media::declared(headers).is(media_type) {
        return Ok(());
    }
    let detail = format!("send {what} as `{media_type}`");
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

/// Reads a whole body of at most `most` bytes.
///
/// # Errors
///
/// 413 if the body is too large. 415 if it is compressed. 400 if it ends too early. 408 if none of it arrives for [`MAX_PAUSE`].
pub(super) async fn read(headers: &HeaderMap, mut body: Body, most: u64) -> Result<Bytes, Failure> {
    media::check_coding(headers)?;
    let too_large = || Failure::from(HostProblem::BodyTooLarge { limit: most });
    // A body with a declared length is refused before it arrives.
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    // This reserves address space only; the kernel provides memory once it is written to. A buffer that grows could be copied each time.
    let mut bytes = BytesMut::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or_default());
    let mut next = PACE_BYTES;
    loop {
        if bytes.len() >= next {
            next = bytes.len() + PACE_BYTES;
            tokio::time::sleep(PACE_PAUSE).await;
        }
        let frame = match tokio::time::timeout(MAX_PAUSE, body.frame()).await {
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) if is_stalled(&error) => return Err(HostProblem::BodyTooSlow.into()),
            Ok(Some(Err(_))) => return Err(HostProblem::BodyCutOff.into()),
            Err(_) => {
                let detail = format!("no data of the request body arrived for {} s", MAX_PAUSE.as_secs());
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
}

/// Returns whether reading a body failed because the client sent too little data for too long.
fn is_stalled(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(BodyError::Stalled) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}
