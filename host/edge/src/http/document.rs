//! Serves the OpenAPI document of a generation, on both listeners.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};

use super::media::JSON;
use watertight_openapi::format::OpenApi;
use watertight_runtime::runtime::Generation;

/// Returns the text of a generation's document. The first call for a generation makes it.
pub fn text(generation: &Generation) -> Bytes {
    // A document of many routes takes milliseconds, which would hold up other requests of this thread.
    let make = || tokio::task::block_in_place(|| OpenApi::new(&generation.graph, &generation.routes).to_json());
    generation.routes.document(make).clone()
}

/// Returns the answer that has a generation's document.
pub fn answer(generation: &Generation) -> Response<Body> {
    let mut response = Response::new(Body::from(text(generation)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
