//! Answers that break a rule.
#![allow(unsafe_code, reason = "only unsafe code can use a handle twice")]

use std::hint::black_box;
use std::mem::forget;

use wasip2::http::types::{ErrorCode, Fields, OutgoingResponse, ResponseOutparam};

use crate::{Exchange, say, wait};

/// The time for which a handler waits that never goes on, in milliseconds.
const FOREVER: u64 = 24 * 60 * 60 * 1000;

/// Answers in the way that `name` says, or gives the exchange back.
pub(crate) fn answer(name: &str, exchange: Exchange) -> Option<Exchange> {
    match name {
        "silent" => {
            wait(FOREVER);
            drop(exchange);
        }
        "none" => drop(exchange),
        "none-and-on" => {
            drop(exchange.out);
            wait(FOREVER);
        }
        "error" => error(exchange),
        "twice" => twice(exchange),
        "trap" => panic!("before the answer"),
        "trap-late" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.write(b"a piece");
            wait(200);
            panic!("within the answer");
        }
        "trap-after" => {
            exchange.text(200, "the whole answer");
            panic!("after the answer");
        }
        "short" => measured(exchange, "10", b"5 byte"),
        "long" => measured(exchange, "5", b"hello and more"),
        "short-late" => late(exchange, "10", b"5 byte"),
        "long-late" => late(exchange, "5", b"hello and more"),
        "open" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.write(b"a piece");
            wait(200);
            forget(body);
        }
        "hang" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.write(b"a piece");
            wait(FOREVER);
        }
        "spin" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.write(b"a piece");
            wait(200);
            loop {
                black_box(());
            }
        }
        "afterwards" => {
            exchange.text(200, "done");
            wait(300);
            say("the work after the answer is done");
        }
        _ => return Some(exchange),
    }
    None
}

fn error(exchange: Exchange) {
    let code = match exchange.number("code") {
        503 => ErrorCode::DestinationUnavailable,
        504 => ErrorCode::HttpResponseTimeout,
        _ => ErrorCode::InternalError(Some("a reason".to_owned())),
    };
    ResponseOutparam::set(exchange.out, Err(code));
}

/// Answers twice with one handle.
fn twice(exchange: Exchange) {
    let handle = exchange.out.handle();
    ResponseOutparam::set(exchange.out, Ok(OutgoingResponse::new(Fields::new())));
    wait(200);
    // SAFETY: there is none. The host must notice that the handle is no longer valid.
    let again = unsafe { ResponseOutparam::from_handle(handle) };
    ResponseOutparam::set(again, Ok(OutgoingResponse::new(Fields::new())));
}

/// Answers with a body that has another length than announced.
fn measured(exchange: Exchange, length: &str, bytes: &[u8]) {
    let (_, body) = exchange.begin(200, &[("content-length", length)]);
    let _ = body.write(bytes);
    body.finish(None);
}

/// Answers like [`measured`], but with time between the first byte and the others.
fn late(exchange: Exchange, length: &str, bytes: &[u8]) {
    let (_, body) = exchange.begin(200, &[("content-length", length)]);
    let _ = body.write(&bytes[..1]);
    wait(200);
    let _ = body.write(&bytes[1..]);
    body.finish(None);
}
