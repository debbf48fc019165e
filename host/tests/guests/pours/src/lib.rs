//! A test module that answers HTTP requests with what another one streams.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::wasi::http::handler::Guest;
use bindings::test::feeds::feeds;
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};
use bindings::{wit_future, wit_stream};
use wit_bindgen::{StreamReader, spawn_local};

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let mut segments = path.split('/').rev();
        let number = segments.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok(answer(match segments.next() {
            Some("bytes") => feeds::bytes(number).await,
            Some("endless") => feeds::endless().await.0,
            Some("through") => feeds::through(body(request)).await,
            Some("total") => text(feeds::total(body(request)).await.to_string()),
            _ => text("nothing".to_owned()),
        }))
    }
}

/// Returns the body of a request.
fn body(request: Request) -> StreamReader<u8> {
    let (_, read) = wit_future::new(|| Ok(()));
    Request::consume_body(request, read).0
}

/// Returns a stream of a short text.
fn text(text: String) -> StreamReader<u8> {
    let (mut output, reader) = wit_stream::new();
    spawn_local(async move {
        output.write_all(text.into_bytes()).await;
    });
    reader
}

/// Answers with a body that flows without this module.
fn answer(body: StreamReader<u8>) -> Response {
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    Response::new(Fields::new(), Some(body), no_trailers).0
}
