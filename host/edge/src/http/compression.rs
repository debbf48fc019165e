//! Compresses answers that are whole and in memory, for clients that take it.

use std::convert::Infallible;
use std::future::ready;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use futures::StreamExt as _;
use hyper::body::Body as _;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

/// The sizes of answers that are compressed, in bytes. A smaller one gains nothing. A larger one would take a processor for too long.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=8 << 20;
/// The number of bytes after which compressing gives way to other requests.
const STEP: usize = 64 << 10;
/// The media types besides `text/*` that shrink.
const SHRINKING: [&str; 6] = [
    "application/json",
    "application/javascript",
    "application/wasm",
    "application/xml",
    "application/yaml",
    "image/svg",
];

/// Compresses a response if that is worth it and the client takes it. `headers` are those of the request.
pub(super) async fn compress(headers: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let is_small = !SIZES.contains(&response.body().size_hint().exact().unwrap_or_default());
    // A part of a body has the offsets of the whole body without a coding.
    let is_part = response.headers().contains_key(CONTENT_RANGE);
    if is_small || is_part || !shrinks(response.headers()) {
        return response;
    }
    let mut head = Request::new(());
    for value in headers.get_all(ACCEPT_ENCODING) {
        head.headers_mut().append(ACCEPT_ENCODING, value.clone());
    }
    let mut response = Some(response.map(in_steps));
    let inner = service_fn(|_| ready(Ok::<_, Infallible>(response.take().unwrap_or_default())));
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest);
    let Ok(mut response) = layer.layer(inner).oneshot(head).await;
    if response.headers().contains_key(axum::http::header::CONTENT_ENCODING) {
        weaken(response.headers_mut());
    }
    response.map(Body::new)
}

fn shrinks(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || SHRINKING.iter().any(|known| essence.starts_with(known))
}

/// Splits a body into steps, with room for other requests between them.
fn in_steps(body: Body) -> Body {
    if body.size_hint().exact().is_some_and(|size| size <= STEP as u64) {
        return body;
    }
    let pieces = body.into_data_stream().flat_map(|piece| {
        let pieces: Vec<Result<Bytes, axum::Error>> = match piece {
            Ok(whole) => {
                let starts = (0..whole.len()).step_by(STEP);
                starts.map(|start| Ok(whole.slice(start..whole.len().min(start + STEP)))).collect()
            }
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(pieces)
    });
    Body::from_stream(pieces.then(|piece| async {
        tokio::task::yield_now().await;
        piece
    }))
}

/// Makes an `ETag` weak: the bytes are others than those that a strong one stands for (RFC 9110, section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).map(HeaderValue::as_bytes).filter(|tag| tag.starts_with(b"\"")) else { return };
    let weak = [b"W/", tag].concat();
    if let Ok(weak) = HeaderValue::from_bytes(&weak) {
        headers.insert(ETAG, weak);
    }
}
