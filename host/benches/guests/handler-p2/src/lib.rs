//! The component with a handler of `wasi:http` 0.2 that the benchmark `peers` runs on this host and on its peers. `handler-p3` does the
//! same with 0.3.
//!
//! - `/hello` answers a short text.
//! - `/echo` sends the request's body back while it arrives.
//! - `/trickle/PIECES/MILLISECONDS` sends a number of pieces, and waits before each.
//! - `/count` answers how many such requests its instance had so far.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The component's export.
    #![allow(unsafe_code, reason = "generated")]

    use super::Component;

    wasip2::http::proxy::export!(Component);
}

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

/// The maximum number of bytes that are read from a request's body at once.
const CHUNK: u64 = 64 << 10;
const HELLO: &[u8] = b"Hello, world!";
const PIECE: &[u8] = b"data: one piece of a slow stream\n\n";
const NANOSECONDS: u64 = 1_000_000;

static COUNT: AtomicU64 = AtomicU64::new(0);

struct Component;

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut segments = path.split('/').skip(1);
        match segments.next() {
            Some("hello") => text(HELLO, out),
            Some("count") => text((COUNT.fetch_add(1, Relaxed) + 1).to_string().as_bytes(), out),
            Some("echo") => {
                let length = request.headers().get("content-length").pop();
                let body = answer(200, length, out);
                write(body, |output| echo(&request, output));
            }
            Some("trickle") => {
                let mut number = || segments.next().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
                let (pieces, wait) = (number(), number() * NANOSECONDS);
                write(answer(200, None, out), |output| {
                    (0..pieces).try_for_each(|_| {
                        monotonic_clock::subscribe_duration(wait).block();
                        output.blocking_write_and_flush(PIECE)
                    })
                });
            }
            _ => drop(answer(404, Some(b"0".to_vec()), out)),
        }
    }
}

/// Answers a short text.
fn text(text: &[u8], out: ResponseOutparam) {
    let body = answer(200, Some(text.len().to_string().into_bytes()), out);
    write(body, |output| output.blocking_write_and_flush(text));
}

/// Sends a response's head. `length` is its content length, if that is known.
fn answer(status: u16, length: Option<Vec<u8>>, out: ResponseOutparam) -> OutgoingBody {
    let mut headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
    headers.extend(length.map(|length| ("content-length".to_owned(), length)));
    let response = OutgoingResponse::new(Fields::from_list(&headers).expect("the headers are valid"));
    response.set_status_code(status).expect("the status is valid");
    let body = response.body().expect("it is taken once");
    ResponseOutparam::set(out, Ok(response));
    body
}

/// Lets `send` write a response's body, and ends the body. If `send` fails, the client is gone, and the body stays incomplete.
fn write(body: OutgoingBody, send: impl FnOnce(&OutputStream) -> Result<(), StreamError>) {
    let output = body.write().expect("it is taken once");
    let sent = send(&output);
    drop(output);
    if sent.is_ok() {
        // A client that is gone can't be told.
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Copies the request's body to `output`.
fn echo(request: &IncomingRequest, output: &OutputStream) -> Result<(), StreamError> {
    let body = request.consume().expect("it is taken once");
    let input = body.stream().expect("it is taken once");
    loop {
        match input.blocking_read(CHUNK) {
            Ok(bytes) => write_all(output, &bytes)?,
            Err(StreamError::Closed) => return output.blocking_flush(),
            Err(failed) => return Err(failed),
        }
    }
}

fn write_all(output: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = usize::try_from(output.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            output.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        output.write(now)?;
        bytes = later;
    }
    Ok(())
}
