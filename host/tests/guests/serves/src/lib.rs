//! A test module that answers HTTP requests by a handler of its own. The last segment of a request's path says how it answers, in good ways
//! and in bad ones; the query has numbers.
#![cfg(target_arch = "wasm32")]

mod abuse;
mod bindings;
mod faults;
mod streams;

use std::cell::Cell;

use bindings::exports::test::serves::serves::Guest;
use bindings::test::probe::acts;
use bindings::watertight::request::context;
use bindings::watertight::sql::sql;
use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler;
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

/// The maximum number of bytes that are written to a stream at once by `blocking-write-and-flush`.
const CHUNK: usize = 4096;

/// The type that implements the component's exports.
pub(crate) struct Component;

thread_local! {
    static HANDLED: Cell<u32> = const { Cell::new(0) };
}

impl Guest for Component {
    fn handled() -> u32 {
        HANDLED.get()
    }
}

/// A request, and what answers it.
pub(crate) struct Exchange {
    pub(crate) request: IncomingRequest,
    pub(crate) out: ResponseOutparam,
}

impl incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        HANDLED.set(HANDLED.get() + 1);
        let exchange = Exchange { request, out };
        let target = exchange.target();
        let path = target.split('?').next().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "hello" => exchange.text(200, "hello"),
            "seen" => seen(exchange),
            "handled" => exchange.text(200, &HANDLED.get().to_string()),
            "status" => {
                let status = exchange.number("code") as u16;
                exchange.text(status, "some text");
            }
            "empty" => drop(exchange.begin_without_body(200, &[])),
            "context" => known(exchange),
            "note" => note(exchange),
            "notes" => notes(exchange),
            "ask" => ask(exchange),
            "leave" => leave(exchange),
            name => {
                let unknown = streams::answer(name, exchange)
                    .and_then(|exchange| faults::answer(name, exchange))
                    .and_then(|exchange| abuse::answer(name, exchange));
                if let Some(exchange) = unknown {
                    exchange.text(404, "not found");
                }
            }
        }
    }
}

impl Exchange {
    pub(crate) fn target(&self) -> String {
        self.request.path_with_query().unwrap_or_default()
    }

    /// Returns a number in the query, or 0.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let target = self.target();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let fields = query.split('&').filter_map(|field| field.split_once('='));
        fields.filter(|(field, _)| *field == name).find_map(|(_, value)| value.parse().ok()).unwrap_or_default()
    }

    /// Sends the head of an answer. Returns the request and the answer's body.
    pub(crate) fn begin(self, status: u16, headers: &[(&str, &str)]) -> (IncomingRequest, Body) {
        let response = response(status, headers);
        let body = response.body().expect("it is asked for once");
        ResponseOutparam::set(self.out, Ok(response));
        let stream = body.write().expect("it is asked for once");
        (self.request, Body { stream, body })
    }

    /// Sends the head of an answer that has no body.
    pub(crate) fn begin_without_body(self, status: u16, headers: &[(&str, &str)]) -> IncomingRequest {
        ResponseOutparam::set(self.out, Ok(response(status, headers)));
        self.request
    }

    /// Answers with a text.
    pub(crate) fn text(self, status: u16, text: &str) {
        let (_, body) = self.begin(status, &[("content-type", "text/plain")]);
        // The client may be gone.
        let _ = body.write(text.as_bytes());
        body.finish(None);
    }
}

fn response(status: u16, headers: &[(&str, &str)]) -> OutgoingResponse {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).expect("the header is allowed");
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).expect("the status is one");
    response
}

/// Says what the guest knows of the request: before the answer, and some milliseconds after it has begun.
fn known(exchange: Exchange) {
    let (wait, first) = (exchange.number("wait"), facts());
    let (_, body) = exchange.begin(200, &[("content-type", "text/plain")]);
    monotonic_clock::subscribe_duration(wait * 1_000_000).block();
    // The client may be gone.
    let _ = body.write(format!("{first}\n{}", facts()).as_bytes());
    body.finish(None);
}

fn facts() -> String {
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ids = [context::request_id(), context::trace_id(), context::host()].map(known);
    let languages = context::languages().join(",");
    format!("{} {languages} {}", ids.join(" "), context::time_left().is_some())
}

/// The body of an answer.
pub(crate) struct Body {
    pub(crate) stream: OutputStream,
    pub(crate) body: OutgoingBody,
}

impl Body {
    /// Writes bytes, piece by piece.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), StreamError> {
        bytes.chunks(CHUNK).try_for_each(|chunk| self.stream.blocking_write_and_flush(chunk))
    }

    /// Ends the body. Fails if its length is not the announced one, which the test sees.
    pub(crate) fn finish(self, trailers: Option<Fields>) {
        drop(self.stream);
        let _ = OutgoingBody::finish(self.body, trailers);
    }
}

/// Waits for this number of milliseconds.
pub(crate) fn wait(milliseconds: u64) {
    monotonic_clock::subscribe_duration(milliseconds * 1_000_000).block();
}

/// Writes a line to the module's log.
pub(crate) fn say(line: &str) {
    let out = wasip2::cli::stdout::get_stdout();
    out.blocking_write_and_flush(format!("{line}\n").as_bytes()).expect("the log takes lines");
}

/// Answers with what the module sees of the request's head.
fn seen(exchange: Exchange) {
    let request = &exchange.request;
    let method = match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Other(name) => name,
        other => format!("{other:?}"),
    };
    let mut lines = vec![
        format!("{method} {}", exchange.target()),
        format!("authority: {}", request.authority().unwrap_or_default()),
        format!("scheme: {:?}", request.scheme()),
    ];
    let headers = request.headers().entries();
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))));
    exchange.text(200, &lines.join("\n"));
}

/// Opens a transaction, writes a note, answers, and returns without a commit.
fn note(exchange: Exchange) {
    let transaction = sql::Transaction::begin().expect("there is no other");
    transaction.execute("INSERT INTO note (text) VALUES ('lost')", &[]).expect("the table is there");
    exchange.text(200, "written");
    std::mem::forget(transaction);
}

/// Answers with the number of notes, after the request's body has ended.
fn notes(exchange: Exchange) {
    streams::read(&exchange.request);
    let rows = sql::query("SELECT text FROM note", &[]);
    exchange.text(200, &rows.map_or_else(|error| format!("{error:?}"), |rows| rows.len().to_string()));
}

/// Answers, and then lets another module wait for the time that the query says, piece by piece.
fn ask(exchange: Exchange) {
    let (pieces, millis) = (exchange.number("pieces"), exchange.number("millis") as u32);
    let (_, body) = exchange.begin(200, &[]);
    for _ in 0..pieces {
        let said = acts::wait(millis);
        if body.write(format!("{said}\n").as_bytes()).is_err() {
            return;
        }
    }
    body.finish(None);
}

/// Answers piece by piece until the client has gone, and says so in the log.
fn leave(exchange: Exchange) {
    let (_, body) = exchange.begin(200, &[]);
    while body.write(b"piece\n").is_ok() {
        wait(20);
    }
    say("the write failed");
    wait(200);
    say("the handler went on");
}
