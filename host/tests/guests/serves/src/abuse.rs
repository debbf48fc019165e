//! Answers that take what a handler should not have, or do what no honest handler does.

use std::hint::black_box;
use std::mem::forget;

use wasip2::cli::{exit, stdout};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam};
use wasip2::io::poll;

use crate::bindings::watertight::sql::sql;
use crate::{Exchange, say, wait};

/// Answers in the way that `name` says, or gives the exchange back.
pub(crate) fn answer(name: &str, exchange: Exchange) -> Option<Exchange> {
    match name {
        "burn" => loop {
            black_box(());
        },
        "burn-between" => burn_between(exchange),
        "spin-on-polls" => loop {
            monotonic_clock::subscribe_instant(0).block();
        },
        "headers" => headers(exchange),
        "header" => header(exchange),
        "refused-headers" => refused_headers(exchange),
        "length" => length(exchange),
        "hollow" => hollow(exchange),
        "overdraw" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.stream.write(&vec![b'x'; 4 << 20]);
            wait(100);
            exit::exit(Ok(()));
        }
        "zeroes" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.stream.blocking_write_zeroes_and_flush(u64::MAX);
            let _ = body.stream.write_zeroes(u64::MAX);
        }
        "tail" => tail(exchange),
        "memory" => memory(exchange),
        "stack" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.write(b"a piece");
            wait(100);
            let _ = body.write(&[deep(black_box(1)) as u8]);
        }
        "hoard" => hoard(exchange),
        "poll-nothing" => drop(poll::poll(&[])),
        "poll-many" => {
            let far: Vec<_> = (0..400).map(|_| monotonic_clock::subscribe_duration(u64::MAX)).collect();
            poll::poll(&far.iter().collect::<Vec<_>>());
        }
        "far" => monotonic_clock::subscribe_duration(u64::MAX).block(),
        "far-instant" => monotonic_clock::subscribe_instant(u64::MAX).block(),
        "again" => again(exchange),
        "orphan" => {
            let incoming = exchange.request.consume().expect("it is asked for once");
            let stream = incoming.stream().expect("it is asked for once");
            drop(incoming);
            drop(stream);
        }
        "splice" => splice(exchange),
        "read-all" => {
            let incoming = exchange.request.consume().expect("it is asked for once");
            let stream = incoming.stream().expect("it is asked for once");
            let read = stream.blocking_read(u64::MAX).map_or(0, |bytes| bytes.len());
            drop((stream, incoming));
            exchange.text(200, &read.to_string());
        }
        "transaction" => transaction(exchange),
        "log" => {
            (0..exchange.number("lines")).for_each(|number| say(&format!("line {number} of a flood")));
            exchange.text(200, "said");
        }
        "log-at-once" => {
            // The host takes a part of it.
            let _ = stdout::get_stdout().write(&vec![b'x'; 8 << 20]);
            exchange.text(200, "said");
        }
        "exit" => exit::exit(Err(())),
        "exit-late" => {
            let (_, body) = exchange.begin(200, &[]);
            let _ = body.write(b"a piece");
            wait(100);
            exit::exit(Ok(()));
        }
        _ => return Some(exchange),
    }
    None
}

/// Computes between the pieces of its answer, without end.
fn burn_between(exchange: Exchange) {
    let (_, body) = exchange.begin(200, &[]);
    while body.write(b"a piece\n").is_ok() {
        let start = monotonic_clock::now();
        while monotonic_clock::now() - start < 20_000_000 {
            black_box(());
        }
    }
}

/// Answers with as many headers as the query says.
fn headers(exchange: Exchange) {
    let names: Vec<String> = (0..exchange.number("count")).map(|number| format!("x-{number}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "value")).collect();
    let (_, body) = exchange.begin(200, &headers);
    let _ = body.write(b"many");
    body.finish(None);
}

/// Answers with one header of as many bytes as the query says.
fn header(exchange: Exchange) {
    let value = "x".repeat(exchange.number("bytes") as usize);
    let (_, body) = exchange.begin(200, &[("x-large", &value)]);
    let _ = body.write(b"large");
    body.finish(None);
}

/// Answers with the headers that a handler can't set, of those that would break the framing of an answer.
fn refused_headers(exchange: Exchange) {
    const HEADERS: [(&str, &[u8]); 9] = [
        ("x-split", b"a\r\nx-other: b"),
        ("x-zero", b"a\0b"),
        ("x-line", b"a\nb"),
        ("x name", b"a"),
        ("", b"a"),
        ("connection", b"close"),
        ("transfer-encoding", b"chunked"),
        ("upgrade", b"websocket"),
        ("keep-alive", b"timeout=1"),
    ];
    let fields = Fields::new();
    let refused = HEADERS.iter().filter(|(name, value)| fields.append(name, value).is_err()).map(|(name, _)| *name);
    exchange.text(200, &refused.collect::<Vec<_>>().join(","));
}

/// Answers five bytes with the lengths that the query says.
fn length(exchange: Exchange) {
    let target = exchange.target();
    let given = target.split_once("is=").map_or("", |(_, lengths)| lengths);
    let headers: Vec<(&str, &str)> = given.split('&').map(|length| ("content-length", length)).collect();
    let (_, body) = exchange.begin(200, &headers);
    let _ = body.write(b"hello");
    body.finish(None);
}

/// Writes pieces of no bytes, without end.
fn hollow(exchange: Exchange) {
    let (_, body) = exchange.begin(200, &[]);
    while body.stream.blocking_write_and_flush(&[]).is_ok() {}
}

/// Answers with a trailer of as many bytes as the query says.
fn tail(exchange: Exchange) {
    let bytes = exchange.number("bytes") as usize;
    let (_, body) = exchange.begin(200, &[("trailer", "x-large")]);
    let _ = body.write(b"a piece");
    let fields = Fields::new();
    fields.append("x-large", &vec![b'x'; bytes]).expect("the trailer is allowed");
    body.finish(Some(fields));
}

/// Takes memory while it answers, until there is none.
fn memory(exchange: Exchange) {
    let (_, body) = exchange.begin(200, &[]);
    while body.write(b"a piece\n").is_ok() {
        forget(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Calls itself without end.
#[allow(unconditional_recursion, reason = "the stack must overflow")]
fn deep(number: u64) -> u64 {
    black_box(deep(black_box(number + 1)) + number)
}

/// Leaks as many resources as the query says, of the kind that it says.
fn hoard(exchange: Exchange) {
    let target = exchange.target();
    for _ in 0..exchange.number("count") {
        if target.contains("kind=pollables") {
            forget(monotonic_clock::subscribe_duration(u64::MAX));
        } else if target.contains("kind=requests") {
            forget(OutgoingRequest::new(Fields::new()));
        } else {
            forget(Fields::new());
        }
    }
    exchange.text(200, "hoarded");
}

/// Asks for all that may be asked for once a second time.
fn again(exchange: Exchange) {
    let incoming = exchange.request.consume().expect("it is asked for once");
    let stream = incoming.stream().expect("it is asked for once");
    let (body, second) = (exchange.request.consume().is_err(), incoming.stream().is_err());
    let response = OutgoingResponse::new(Fields::new());
    let out = response.body().expect("it is asked for once");
    let written = out.write().expect("it is asked for once");
    let (again, twice) = (response.body().is_err(), out.write().is_err());
    ResponseOutparam::set(exchange.out, Ok(response));
    let text = format!("{body} {second} {again} {twice}");
    let _ = written.blocking_write_and_flush(text.as_bytes());
    drop((written, stream, incoming));
    let _ = OutgoingBody::finish(out, None);
}

/// Sends the body of the request back by the host's own means, and reads it at the same time.
fn splice(exchange: Exchange) {
    let (request, body) = exchange.begin(200, &[]);
    let incoming = request.consume().expect("it is asked for once");
    let stream = incoming.stream().expect("it is asked for once");
    while body.stream.blocking_splice(&stream, u64::MAX).is_ok() {
        if let Ok(bytes) = stream.read(u64::MAX) {
            let _ = body.write(&bytes);
        }
    }
    drop((stream, incoming));
    body.finish(None);
}

/// Holds a transaction open while it answers, and says in the end how that went.
fn transaction(exchange: Exchange) {
    let transaction = sql::Transaction::begin().expect("there is no other");
    transaction.execute("INSERT INTO note (text) VALUES ('held')", &[]).expect("the table is there");
    let (_, body) = exchange.begin(200, &[]);
    for _ in 0..4 {
        let _ = body.write(b"piece ");
        wait(100);
    }
    let ended = sql::Transaction::commit(transaction);
    let _ = body.write(if ended.is_ok() { b"committed" } else { b"refused" });
    body.finish(None);
}
