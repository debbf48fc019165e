//! Bodies of requests to the admin listener: read whole, within a bound and without a long pause, and strictly.

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

/// So many bytes of an upload are read at once, then others have their turn for [`PACE`]: 256 MiB/s at most. What comes as fast as it can
/// be copied takes a whole core from those who are served, and each transaction waits for it several times.
const PIECE: usize = 256 << 10;
const PACE: Duration = Duration::from_millis(1);
/// How long a body may pause.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// What errors call a request's body.
const BODY: &str = "the body";
/// The byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// That a request can't be taken, in the words of `why`.
pub(super) fn invalid(why: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "invalid-request", why)
}

/// The body of at most `most` bytes as one JSON object of that type.
///
/// # Errors
///
/// 415 for a body that says that it is something else, 413, 400, 408.
pub(super) async fn object<T: DeserializeOwned>(request: Request, most: u64) -> Result<T, Failure> {
    parse(&json(request, most).await?, BODY)
}

/// The body of at most `most` bytes as one JSON object of that type, or the default where there is no body.
///
/// # Errors
///
/// As [`object`].
pub(super) async fn object_or_default<T: DeserializeOwned + Default>(
    request: Request,
    most: u64,
) -> Result<T, Failure> {
    let body = json(request, most).await?;
    if body.is_empty() { Ok(T::default()) } else { parse(&body, BODY) }
}

/// A body that is JSON, or says nothing of what it is.
async fn json(request: Request, most: u64) -> Result<Bytes, Failure> {
    let (head, body) = request.into_parts();
    if !body.is_end_stream() {
        let declared = media::declared(&head.headers);
        if declared != Declared::Nothing && !declared.is_json() {
            return Err(HostProblem::UnsupportedMediaType.into());
        }
    }
    read(&head.headers, body, most).await
}

/// A text as one JSON object of that type. Errors call the text `what`.
///
/// # Errors
///
/// 400, with what is wrong and where.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8], what: &str) -> Result<T, Failure> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    // serde takes a list for a structure.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(invalid(&format!("{what} is no JSON object")));
    }
    serde_json::from_slice(text).map_err(|error| invalid(&format!("{what}: {error}")))
}

/// Refuses a body that isn't of that media type.
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
/// 413; 415 where it is compressed; 400 where it ends too early; 408 where nothing of it comes for [`MAX_PAUSE`].
pub(super) async fn read(headers: &HeaderMap, mut body: Body, most: u64) -> Result<Bytes, Failure> {
    media::check_coding(headers)?;
    let too_large = || Failure::from(HostProblem::BodyTooLarge { limit: most });
    // Where its length is announced it is refused before it comes.
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    // Room only: the kernel gives memory as it is written to. What grew instead could be copied each time.
    let mut bytes = BytesMut::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or_default());
    let mut next = PIECE;
    loop {
        if bytes.len() >= next {
            next = bytes.len() + PIECE;
            tokio::time::sleep(PACE).await;
        }
        let frame = match tokio::time::timeout(MAX_PAUSE, body.frame()).await {
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) if is_stalled(&error) => return Err(HostProblem::BodyTooSlow.into()),
            Ok(Some(Err(_))) => return Err(HostProblem::BodyCutOff.into()),
            Err(_) => {
                let detail = format!("nothing of the body came for {} s", MAX_PAUSE.as_secs());
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

/// Whether a body can't be read since it doesn't come.
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
