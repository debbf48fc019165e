//! The component with a handler of `wasi:http` 0.3 that the benchmark `peers` runs on this host and on its peers. It does what
//! `handler-p2` does.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The component's export.
    #![allow(unsafe_code, reason = "generated")]

    use super::Component;

    wasip3::http::service::export!(Component);
}

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::{FutureWriter, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// The maximum number of bytes that are read from a request's body at once.
const CHUNK: usize = 64 << 10;
const HELLO: &[u8] = b"Hello, world!";
const PIECE: &[u8] = b"data: one piece of a slow stream\n\n";
const NANOSECONDS: u64 = 1_000_000;

static COUNT: AtomicU64 = AtomicU64::new(0);

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let mut segments = path.split('/').skip(1);
        match segments.next() {
            Some("hello") => Ok(text(HELLO.to_vec())),
            Some("count") => Ok(text((COUNT.fetch_add(1, Relaxed) + 1).to_string().into_bytes())),
            Some("echo") => {
                let length = request.get_headers().get("content-length").pop();
                let (body, response) = answer(200, length);
                spawn_local(echo(request, body));
                Ok(response)
            }
            Some("trickle") => {
                let mut number = || segments.next().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
                let (pieces, wait) = (number(), number() * NANOSECONDS);
                let (body, response) = answer(200, None);
                spawn_local(trickle(pieces, wait, body));
                Ok(response)
            }
            _ => {
                let (body, response) = answer(404, Some(b"0".to_vec()));
                spawn_local(body.end());
                Ok(response)
            }
        }
    }
}

/// Creates a response with a short text.
fn text(text: Vec<u8>) -> Response {
    let (mut body, response) = answer(200, Some(text.len().to_string().into_bytes()));
    spawn_local(async move {
        body.output.write_all(text).await;
        body.end().await;
    });
    response
}

/// The body of a response. It must be ended, so that no handle of it is left in an instance that serves further requests.
struct Body {
    output: StreamWriter<u8>,
    trailers: FutureWriter<Result<Option<Trailers>, ErrorCode>>,
}

impl Body {
    async fn end(self) {
        drop(self.output);
        // The reader may be gone.
        let _ = self.trailers.write(Ok(None)).await;
    }
}

/// Creates a response. `length` is its content length, if that is known.
fn answer(status: u16, length: Option<Vec<u8>>) -> (Body, Response) {
    let mut headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
    headers.extend(length.map(|length| ("content-length".to_owned(), length)));
    let headers = Fields::from_list(&headers).expect("the headers are valid");
    let (output, body) = wit_stream::new();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(body), no_trailers);
    response.set_status_code(status).expect("the status is valid");
    (Body { output, trailers }, response)
}

/// Copies the request's body to the response.
async fn echo(request: Request, mut body: Body) {
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let (mut input, _trailers) = Request::consume_body(request, end_of_read);
    loop {
        let (_, bytes) = input.read(Vec::with_capacity(CHUNK)).await;
        // No bytes: the request's body has ended. Bytes are left over: the client is gone.
        if bytes.is_empty() || !body.output.write_all(bytes).await.is_empty() {
            break;
        }
    }
    drop(input);
    let _ = read.write(Ok(())).await;
    body.end().await;
}

async fn trickle(pieces: u64, wait: u64, mut body: Body) {
    for _ in 0..pieces {
        monotonic_clock::wait_for(wait).await;
        if !body.output.write_all(PIECE.to_vec()).await.is_empty() {
            break;
        }
    }
    body.end().await;
}
