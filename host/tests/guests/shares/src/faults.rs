//! Answers that break a rule, or take what a handler should not have.

use std::future::Future as _;
use std::hint::black_box;
use std::mem::forget;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasip3::clocks::monotonic_clock;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{spawn_local, wit_bindgen, wit_future, wit_stream};

use crate::bindings::watertight::sql::sql::Transaction;
use crate::{Body, FOREVER, answer, outbound, text, wait, work};

/// The number of bytes that are written or read at once.
const CHUNK: usize = 64 << 10;

/// What a handler returns.
type Answer = Result<Response, ErrorCode>;

/// Answers in the way that `name` says, or gives the request back. `words` are its arguments.
pub(crate) async fn fault(name: &str, words: &[String], request: Request) -> Result<Answer, Request> {
    let number = words.first().and_then(|word| word.parse().ok()).unwrap_or(0_u64);
    Ok(match name {
        "error" => Err(ErrorCode::InternalError(Some("a reason".to_owned()))),
        "trap-late" => Ok(spawned(async |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            wait(200).await;
            panic!("within the answer");
        })),
        "trap-after" => {
            spawn_local(async {
                wait(300).await;
                panic!("after the answer");
            });
            Ok(text("the whole answer".to_owned()))
        }
        "yield" => loop {
            wit_bindgen::yield_async().await;
        },
        "burn-between" => Ok(spawned(async |mut body: Body| {
            while body.output.write_all(b"a piece\n".to_vec()).await.is_empty() {
                work(20);
            }
        })),
        "status" => {
            let answer = text("some text".to_owned());
            answer.set_status_code(number as u16).expect("the status is one");
            Ok(answer)
        }
        "headers" => {
            let names = (0..number).map(|number| (format!("x-{number}"), b"value".to_vec()));
            Ok(with_headers(&names.collect::<Vec<_>>(), b"many"))
        }
        "header" => Ok(with_headers(&[("x-large".to_owned(), vec![b'x'; number as usize])], b"large")),
        "refused-headers" => Ok(refused_headers()),
        "length" => {
            let lengths = words.iter().map(|word| ("content-length".to_owned(), word.clone().into_bytes()));
            Ok(with_headers(&lengths.collect::<Vec<_>>(), b"hello"))
        }
        "endless" => {
            Ok(spawned(async |mut body: Body| while body.output.write_all(vec![b'x'; CHUNK]).await.is_empty() {}))
        }
        "hollow" => Ok(spawned(async |mut body: Body| {
            loop {
                body.output.write(Vec::new()).await;
            }
        })),
        "keep" => Ok(spawned(async |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            forget(body);
        })),
        "no-trailers" => Ok(spawned(async |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            drop(body.output);
            forget(body.trailers);
        })),
        "late-trailers" => Ok(spawned(async |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            drop(body.output);
            wait(FOREVER).await;
            let _ = body.trailers.write(Ok(None)).await;
        })),
        "error-trailers" => Ok(spawned(async |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            drop(body.output);
            let _ = body.trailers.write(Err(ErrorCode::InternalError(None))).await;
        })),
        "tail" => Ok(spawned(async move |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            drop(body.output);
            let fields = Fields::from_list(&[("x-large".to_owned(), vec![b'x'; number as usize])]);
            let _ = body.trailers.write(Ok(Some(fields.expect("the trailer is allowed")))).await;
        })),
        "memory" => Ok(spawned(async |mut body: Body| {
            while body.output.write_all(b"a piece\n".to_vec()).await.is_empty() {
                forget(black_box(vec![1_u8; 1 << 20]));
            }
        })),
        "stack" => Ok(spawned(async |mut body: Body| {
            body.output.write_all(b"a piece".to_vec()).await;
            wait(100).await;
            body.output.write_all(vec![deep(black_box(1)) as u8]).await;
        })),
        "exit" => std::process::exit(1),
        "far" => {
            monotonic_clock::wait_for(u64::MAX).await;
            Ok(text("never".to_owned()))
        }
        "far-instant" => {
            monotonic_clock::wait_until(u64::MAX).await;
            Ok(text("never".to_owned()))
        }
        "log" => {
            (0..number).for_each(|number| println!("line {number} of a flood"));
            Ok(text("said".to_owned()))
        }
        "tasks" => {
            let time = words[1].parse().unwrap_or(FOREVER);
            (0..number).for_each(|_| drop(spawn_local(wait(time))));
            Ok(text("spawned".to_owned()))
        }
        "streams" => {
            (0..number).for_each(|_| forget(wit_stream::new::<u8>()));
            Ok(text("leaked".to_owned()))
        }
        "futures" => {
            (0..number).for_each(|_| forget(wit_future::new::<Result<(), ErrorCode>>(|| Ok(()))));
            Ok(text("leaked".to_owned()))
        }
        "fields" => {
            (0..number).for_each(|_| forget(Fields::new()));
            Ok(text("leaked".to_owned()))
        }
        "requests" => Ok(requests(number).await),
        "own" => Ok(own(request)),
        "cancel" => Ok(text(cancel(request, number).await)),
        "read-on" => Ok(read_on(request).await),
        "transaction" => Ok(transaction()),
        "ignore" => {
            drop(request);
            Ok(text("ignored".to_owned()))
        }
        "never-read" => {
            wait(FOREVER).await;
            drop(request);
            Ok(text("never".to_owned()))
        }
        _ => return Err(request),
    })
}

/// Creates an answer whose body `write` writes in a task of its own. The task drops what it leaves of the body.
fn spawned<F: Future<Output = ()> + 'static>(write: impl FnOnce(Body) -> F) -> Response {
    let (body, response) = answer("text/plain");
    spawn_local(write(body));
    response
}

/// Creates an answer with a short text and these headers.
fn with_headers(headers: &[(String, Vec<u8>)], text: &'static [u8]) -> Response {
    let fields = Fields::from_list(headers).expect("the headers are allowed");
    let (mut output, body) = wit_stream::new();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(fields, Some(body), no_trailers);
    spawn_local(async move {
        output.write_all(text.to_vec()).await;
        drop(output);
        let _ = trailers.write(Ok(None)).await;
    });
    response
}

/// Answers with the headers that a handler can't set, of those that would break the framing of an answer.
fn refused_headers() -> Response {
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
    text(refused.collect::<Vec<_>>().join(","))
}

/// Calls itself without end.
#[allow(unconditional_recursion, reason = "the stack must overflow")]
fn deep(number: u64) -> u64 {
    black_box(deep(black_box(number + 1)) + number)
}

/// Sends this number of requests to another host at once. Answers with the number of those that were answered.
async fn requests(number: u64) -> Response {
    let sent = (0..number).map(|_| client::send(outbound()));
    let mut answered = 0;
    let mut sent: Vec<_> = sent.map(Box::pin).collect();
    while let Some(next) = sent.pop() {
        answered += u64::from(next.await.is_ok());
    }
    text(answered.to_string())
}

/// Answers with the body of the request itself, which the host carries from its client to its client.
fn own(request: Request) -> Response {
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, end_of_read);
    drop(read);
    let (response, _sent) = Response::new(Fields::new(), Some(body), trailers);
    response
}

/// Begins to read and to write, and cancels both, this number of times or until the body ends. Answers with the length of the body.
async fn cancel(request: Request, times: u64) -> String {
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let (mut body, _trailers) = Request::consume_body(request, end_of_read);
    let (mut output, unread) = wit_stream::new::<u8>();
    let mut context = Context::from_waker(Waker::noop());
    let (mut length, mut has_ended) = (0, false);
    for _ in 0..times {
        let mut reading = pin!(body.read(Vec::with_capacity(1)));
        let (result, bytes) = match reading.as_mut().poll(&mut context) {
            Poll::Ready(read) => read,
            Poll::Pending => reading.as_mut().cancel(),
        };
        length += bytes.len();
        if result == StreamResult::Dropped {
            has_ended = true;
            break;
        }
        let mut writing = pin!(output.write(vec![b'x']));
        if writing.as_mut().poll(&mut context).is_pending() {
            writing.as_mut().cancel();
        }
    }
    drop((output, unread));
    if !has_ended {
        length += body.collect().await.len();
    }
    let _ = read.write(Ok(())).await;
    length.to_string()
}

/// Reads the body to its end, and then reads on.
async fn read_on(request: Request) -> Response {
    let (_read, end_of_read) = wit_future::new(|| Ok(()));
    let (mut body, _trailers) = Request::consume_body(request, end_of_read);
    loop {
        drop(body.read(Vec::with_capacity(CHUNK)).await);
    }
}

/// Holds a transaction open while it answers, and says in the end how that went.
fn transaction() -> Response {
    spawned(async |mut body: Body| {
        let transaction = Transaction::begin().expect("there is no other");
        transaction.execute("INSERT INTO note (text) VALUES ('held')", &[]).expect("the table is there");
        for _ in 0..4 {
            body.output.write_all(b"piece ".to_vec()).await;
            wait(100).await;
        }
        let ended = Transaction::commit(transaction);
        body.output.write_all(if ended.is_ok() { b"committed".to_vec() } else { b"refused".to_vec() }).await;
        body.end().await;
    })
}
