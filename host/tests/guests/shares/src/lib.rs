//! A test module that answers many HTTP requests at once on one instance, with globals that all of them use. The first segment of a
//! request's path says how it answers, in good ways and in bad ones; the next ones are its arguments.
#![cfg(target_arch = "wasm32")]

mod bindings;
mod faults;

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::Write as _;

use bindings::watertight::request::context;
use bindings::watertight::sql::sql::{self, Transaction};
use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme, Trailers};
use wasip3::wit_bindgen::{FutureWriter, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// The time for which a handler waits that never goes on, in milliseconds.
const FOREVER: u64 = 24 * 60 * 60 * 1000;

thread_local! {
    /// The number of requests that wait for each other.
    static MET: Cell<u64> = const { Cell::new(0) };
    /// The number of answers whose clients have gone.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    /// A transaction that one request leaves for the others.
    static TRANSACTION: RefCell<Option<Transaction>> = const { RefCell::new(None) };
    /// Whether a request has tried to use what another one has left.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
    /// A request to another host that one request leaves for the others.
    static OUTBOUND: RefCell<Option<Request>> = const { RefCell::new(None) };
}

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let mut segments = path.split('/').skip(1);
        let name = segments.next().unwrap_or_default().to_owned();
        let words: Vec<String> = segments.map(str::to_owned).collect();
        let number = |place: usize| words.get(place).and_then(|word| word.parse().ok()).unwrap_or(0_u64);
        Ok(match &*name {
            "hello" => text("hello".to_owned()),
            "meet" => text(meet(number(0)).await),
            "sleep" => {
                wait(number(0)).await;
                text("awake".to_owned())
            }
            "events" => events(number(0)),
            "left" => text(LEFT.get().to_string()),
            "trap" => panic!("before the answer"),
            "spin" => loop {
                black_box(());
            },
            "silent" => {
                wait(FOREVER).await;
                text("never".to_owned())
            }
            "late" => {
                wait(number(0)).await;
                println!("the late call has ended");
                text("late".to_owned())
            }
            "say" => {
                println!("said by {}", words[0]);
                wait(number(1)).await;
                print!("unfinished by {}", words[0]);
                std::io::stdout().flush().expect("the log takes texts");
                text("said".to_owned())
            }
            "hold" => text(hold(number(0)).await),
            "work" => {
                work(number(0));
                text("worked".to_owned())
            }
            "after" => {
                let (name, time) = (words[0].clone(), number(1));
                spawn_local(async move {
                    wait(time).await;
                    println!("after the answer to {name}");
                });
                text("answered".to_owned())
            }
            "plant" => {
                OUTBOUND.set(Some(outbound()));
                text(hold(number(0)).await)
            }
            "use" => text(take().await),
            "write" => text(write()),
            "notes" => text(notes()),
            "context" => known(number(0)),
            _ => {
                return match faults::fault(&name, &words, request).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(text("nothing".to_owned())),
                };
            }
        })
    }
}

async fn wait(milliseconds: u64) {
    monotonic_clock::wait_for(milliseconds * 1_000_000).await;
}

/// Computes for this number of milliseconds.
fn work(milliseconds: u64) {
    let start = monotonic_clock::now();
    while monotonic_clock::now() - start < milliseconds * 1_000_000 {
        black_box(());
    }
}

/// Waits until this number of requests are here.
async fn meet(number: u64) -> String {
    MET.set(MET.get() + 1);
    while MET.get() < number {
        wait(5).await;
    }
    MET.get().to_string()
}

/// Leaves a transaction for the others, and commits it after some time, or when another request has tried to use it.
async fn hold(milliseconds: u64) -> String {
    let transaction = Transaction::begin().expect("there is no other");
    transaction.execute("INSERT INTO note (text) VALUES ('planted')", &[]).expect("the table is there");
    TRANSACTION.set(Some(transaction));
    let end = monotonic_clock::now() + milliseconds * 1_000_000;
    while monotonic_clock::now() < end && !TAKEN.get() {
        wait(5).await;
        // A transaction ends by itself if nothing happens in it.
        TRANSACTION.with_borrow(|held| held.as_ref().map(|held| held.query("SELECT 1", &[])));
    }
    let committed = TRANSACTION.take().map(Transaction::commit);
    format!("{committed:?}")
}

/// Uses what another request has left. Says what came of it.
async fn take() -> String {
    let executed = TRANSACTION.with_borrow(|planted| {
        planted.as_ref().map(|transaction| transaction.execute("INSERT INTO note (text) VALUES ('mixed up')", &[]))
    });
    let begun = Transaction::begin().map(drop);
    let sent = match OUTBOUND.take() {
        Some(request) => client::send(request).await.map(drop),
        None => Ok(()),
    };
    TAKEN.set(true);
    println!("used what another has left");
    format!("{executed:?} {begun:?} {sent:?}")
}

fn outbound() -> Request {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    request.set_method(&Method::Get).expect("it is a method");
    request.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
    request.set_authority(Some("denied.invalid")).expect("it is a host");
    request.set_path_with_query(Some("/")).expect("it is a path");
    request
}

fn write() -> String {
    let written = Transaction::begin().and_then(|transaction| {
        transaction.execute("INSERT INTO note (text) VALUES ('written')", &[])?;
        Transaction::commit(transaction)
    });
    format!("{written:?}")
}

fn notes() -> String {
    let rows = sql::query("SELECT text FROM note", &[]);
    rows.map_or_else(|error| format!("{error:?}"), |rows| rows.len().to_string())
}

/// Says what the guest knows of the request: at first, when `number` requests are here, and after the answer has begun.
fn known(number: u64) -> Response {
    let (mut body, response) = answer("text/plain");
    let first = facts();
    spawn_local(async move {
        body.output.write_all(format!("{first}\n").into_bytes()).await;
        meet(number).await;
        body.output.write_all(format!("{}\n", facts()).into_bytes()).await;
        wait(20).await;
        body.output.write_all(facts().into_bytes()).await;
        body.end().await;
    });
    response
}

fn facts() -> String {
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ids = [context::request_id(), context::trace_id(), context::host()].map(known);
    let languages = context::languages().join(",");
    format!("{} {languages} {}", ids.join(" "), context::time_left().is_some())
}

/// Answers with server-sent events, without end.
fn events(milliseconds: u64) -> Response {
    let (mut body, response) = answer("text/event-stream");
    spawn_local(async move {
        let mut number = 0;
        while body.output.write_all(format!("data: {number}\n\n").into_bytes()).await.is_empty() {
            number += 1;
            wait(milliseconds).await;
        }
        LEFT.set(LEFT.get() + 1);
        body.end().await;
    });
    response
}

fn text(text: String) -> Response {
    let (mut body, response) = answer("text/plain");
    spawn_local(async move {
        body.output.write_all(text.into_bytes()).await;
        body.end().await;
    });
    response
}

/// The body of a response.
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

fn answer(kind: &str) -> (Body, Response) {
    let headers = Fields::from_list(&[("content-type".to_owned(), kind.as_bytes().to_vec())]);
    let (output, body) = wit_stream::new();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers.expect("the header is valid"), Some(body), no_trailers);
    (Body { output, trailers }, response)
}
