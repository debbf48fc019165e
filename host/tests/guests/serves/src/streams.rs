//! Answers whose bodies flow.

use wasip2::http::types::{Fields, IncomingBody, IncomingRequest};
use wasip2::io::streams::{InputStream, StreamError};

use crate::{Exchange, wait};

/// The maximum number of bytes that are read from a request's body at once.
const PIECE: u64 = 64 << 10;

/// Answers in the way that `name` says, or gives the exchange back.
pub(crate) fn answer(name: &str, exchange: Exchange) -> Option<Exchange> {
    match name {
        "echo" => echo(exchange),
        "count" => count(exchange),
        "ignore" => exchange.text(200, "ignored"),
        "trickle" => trickle(exchange),
        "events" => events(exchange),
        "large" => large(exchange),
        "trailers" => trailers(exchange),
        _ => return Some(exchange),
    }
    None
}

/// Passes the pieces of a body to `take` until the body ends. Returns the error's text if it can't be read.
fn each(body: &InputStream, mut take: impl FnMut(Vec<u8>)) -> Result<(), String> {
    loop {
        match body.blocking_read(PIECE) {
            Ok(bytes) => take(bytes),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.map_or_else(|| error.to_debug_string(), |code| format!("{code:?}")));
            }
        }
    }
}

/// Reads the whole body of a request. Returns its length.
pub(crate) fn read(request: &IncomingRequest) -> Result<usize, String> {
    let body = request.consume().expect("it is asked for once");
    let stream = body.stream().expect("it is asked for once");
    let mut length = 0;
    each(&stream, |bytes| length += bytes.len()).map(|()| length)
}

/// Sends the body of the request back, each piece as it comes.
fn echo(exchange: Exchange) {
    let (request, body) = exchange.begin(200, &[("content-type", "application/octet-stream")]);
    let incoming = request.consume().expect("it is asked for once");
    let stream = incoming.stream().expect("it is asked for once");
    let mut is_open = true;
    let read = each(&stream, |bytes| is_open = is_open && body.write(&bytes).is_ok());
    // A body that breaks off is not finished.
    if read.is_ok() {
        body.finish(None);
    }
}

/// Answers with the length of the body, or with the reason why it can't be read. `trap` in the query makes it trap instead.
fn count(exchange: Exchange) {
    let read = read(&exchange.request);
    if exchange.number("trap") == 1 {
        read.as_ref().expect("it can be read");
    }
    match read {
        Ok(length) => exchange.text(200, &length.to_string()),
        Err(error) => exchange.text(400, &error),
    }
}

/// Answers in pieces with time between them.
fn trickle(exchange: Exchange) {
    let (pieces, millis) = (exchange.number("pieces"), exchange.number("millis"));
    let (_, body) = exchange.begin(200, &[]);
    for piece in 0..pieces {
        wait(millis);
        if body.write(format!("{piece}\n").as_bytes()).is_err() {
            return;
        }
    }
    body.finish(None);
}

/// Answers with server-sent events, without end.
fn events(exchange: Exchange) {
    let millis = exchange.number("millis");
    let (_, body) = exchange.begin(200, &[("content-type", "text/event-stream; charset=utf-8")]);
    for number in 0_u64.. {
        if body.write(format!("data: {number}\n\n").as_bytes()).is_err() {
            return;
        }
        wait(millis);
    }
}

/// Answers with this number of bytes, as fast as they are taken.
fn large(exchange: Exchange) {
    let mut left = exchange.number("bytes") as usize;
    let (_, body) = exchange.begin(200, &[]);
    let piece = vec![b'l'; PIECE as usize];
    while left > 0 {
        let Ok(room) = body.stream.check_write() else { return };
        let now = left.min(room as usize).min(piece.len());
        if now == 0 {
            body.stream.subscribe().block();
        } else if body.stream.write(&piece[..now]).is_err() {
            return;
        }
        left -= now;
    }
    body.finish(None);
}

/// Answers with the length of the request's body, and with the request's trailer `checksum` as a trailer.
fn trailers(exchange: Exchange) {
    let incoming = exchange.request.consume().expect("it is asked for once");
    let stream = incoming.stream().expect("it is asked for once");
    let mut length = 0;
    each(&stream, |bytes| length += bytes.len()).expect("it can be read");
    drop(stream);
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    let given = trailers.get().expect("they are ready").expect("they are asked for once").expect("they can be read");
    let checksum = given.map(|given| given.get("checksum").concat()).unwrap_or_default();
    let (_, body) = exchange.begin(200, &[("trailer", "checksum")]);
    let _ = body.write(length.to_string().as_bytes());
    let fields = Fields::new();
    fields.append("checksum", &checksum).expect("the trailer is allowed");
    body.finish(Some(fields));
}
