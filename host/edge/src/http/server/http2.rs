//! HTTP/2 connections, served with `h2` directly. hyper hands a whole chunk of a response to `h2` as soon as one byte may be sent, and
//! the stream cannot be ended after that.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Request, Response};
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body as _, Frame};
use tokio::sync::Notify;

use super::body::{AnswerBody, PIECE, Piece, RequestBody};
use super::connection::{Connection, HeldBytes, OpenRequest};
use super::progress::ProgressTimer;
use super::wire::Wire;
use super::{CountedResponse, refusal};
use watertight_model::clock;
use watertight_telemetry::table::{CutOffReason, RefusalReason};

/// The maximum size of the head of an HTTP/2 request, in bytes. RFC 9113 counts each field with 32 bytes more (section 6.5.2).
const MAX_HEAD: u64 = 16 << 10;
/// The maximum size of a head that `h2` reads, in bytes. The host refuses a head between [`MAX_HEAD`] and this limit with problem details.
/// `h2` itself refuses a larger head and does not report it.
const MAX_HEAD_READ: u32 = 64 << 10;
/// The flow-control window, in bytes: what a client may send before the host has read it. It applies to each stream and to each
/// connection.
const WINDOW: u32 = 1 << 20;
/// The maximum number of bytes of a response that a stream has handed to `h2` and that are not sent yet.
const MAX_UNSENT: usize = 64 << 10;
/// The memory that an open HTTP/2 stream takes in addition to its request's head, in bytes.
const STREAM_BYTES: u64 = 4 << 10;
/// The longest time that the reset of a stream waits for the head of its answer to be sent.
const HEAD_TIME: Duration = Duration::from_millis(100);
/// The bytes that RFC 9113 adds for each field to its name and value.
const FIELD_OVERHEAD: usize = 32;

/// Header fields of HTTP/1.1 that concern the connection and are not allowed in HTTP/2 (RFC 9113, section 8.2.2).
static CONNECTION_HEADERS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A connection that speaks HTTP/2. `H` handles its requests.
pub(super) struct Http2<H> {
    streams: h2::server::Connection<Wire, Piece>,
    handle: H,
    connection: Arc<Connection>,
    turns: Arc<Turns>,
}

impl<H, F> Http2<H>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future + Send + 'static,
    F::Output: Into<CountedResponse> + Send,
{
    /// Completes the HTTP/2 handshake with the client.
    ///
    /// # Errors
    ///
    /// The connection failed, or the client broke the protocol.
    pub(super) async fn handshake(wire: Wire, handle: H, connection: Arc<Connection>) -> Result<Self, h2::Error> {
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_concurrent_streams(connection.listener().limits().streams)
            .max_header_list_size(MAX_HEAD_READ)
            .max_send_buffer_size(MAX_UNSENT);
        Ok(Self { streams: builder.handshake(wire).await?, handle, connection, turns: Arc::default() })
    }

    /// Tells the client that no further request is accepted. Requests that the client has sent meanwhile are answered.
    pub(super) fn close_when_idle(&mut self) {
        self.streams.graceful_shutdown();
    }

    /// Polls the connection for new requests and serves each in a task. Resolves when the connection ends.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.turns.begin();
        let polled = self.poll_streams(context);
        self.turns.end();
        polled
    }

    fn poll_streams(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some(accepted) = ready!(self.streams.poll_accept(context)) {
            let (request, respond) = accepted?;
            self.begin(request, respond);
        }
        Poll::Ready(Ok(()))
    }

    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Piece>) {
        let (open, size) = (self.connection.open(), head_size(&request));
        let Ok(held) = self.connection.hold(size + STREAM_BYTES) else {
            // `REFUSED_STREAM` tells the client that the request was not processed and may be sent again.
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        let stall = self.connection.listener().limits().progress_timeout;
        let stream = Stream {
            respond,
            connection: self.connection.clone(),
            turns: self.turns.clone(),
            timer: ProgressTimer::new(stall),
            _head: held,
        };
        if size > MAX_HEAD {
            let detail = format!("the request head has more than {MAX_HEAD} bytes");
            let answer = CountedResponse::from(refusal::refuse(&self.connection, RefusalReason::HeadTooLarge, &detail));
            tokio::spawn(stream.answer(answer, open));
            return;
        }
        let length = content_length(request.headers());
        let request = request.map(|body| RequestBody::http2(body, length, self.connection.clone()));
        tokio::spawn(stream.serve((self.handle)(request), open));
    }
}

/// Counts the turns in which a connection sends what its streams have handed to it.
#[derive(Default)]
struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
    end: Notify,
}

impl Turns {
    fn begin(&self) {
        self.begun.fetch_add(1, SeqCst);
    }

    fn end(&self) {
        self.ended.fetch_add(1, SeqCst);
        self.end.notify_waiters();
    }

    /// Returns the number of the last turn that has begun.
    fn begun(&self) -> u64 {
        self.begun.load(SeqCst)
    }

    /// Waits until a turn after `turn` has ended.
    async fn wait_for_end_after(&self, turn: u64) {
        loop {
            let mut end = pin!(self.end.notified());
            end.as_mut().enable();
            if self.ended.load(SeqCst) > turn {
                return;
            }
            end.await;
        }
    }
}

/// One HTTP/2 stream: a request and its response.
struct Stream {
    respond: SendResponse<Piece>,
    connection: Arc<Connection>,
    turns: Arc<Turns>,
    timer: ProgressTimer,
    _head: HeldBytes,
}

/// The error that a stream has ended: the client cancelled the request, or the connection has ended.
struct StreamEnded;

impl Stream {
    async fn serve<F: Future<Output: Into<CountedResponse>>>(mut self, answer: F, open: OpenRequest) {
        let answer = {
            let mut answer = pin!(answer);
            let step = poll_fn(|context| {
                if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                    return Poll::Ready(Some(answer.into()));
                }
                self.respond.poll_reset(context).map(|_| None)
            });
            step.await
        };
        if let Some(answer) = answer {
            self.answer(answer, open).await;
        }
    }

    async fn answer(mut self, answer: CountedResponse, open: OpenRequest) {
        let CountedResponse { response, held } = answer;
        let (mut head, body) = response.into_parts();
        let body = AnswerBody::new(body, held, open);
        let is_empty = body.is_end_stream();
        let length = body.size_hint().exact().filter(|_| !is_empty);
        complete(&mut head.headers, length);
        let Ok(stream) = self.respond.send_response(Response::from_parts(head, ()), is_empty) else { return };
        if !is_empty {
            let turn = self.turns.begun();
            // An error means that the client is gone; nothing is left to do.
            let _ = self.send(stream, body, turn).await;
        }
    }

    /// Sends the body of an answer, whose head was handed to the connection in `turn`.
    async fn send(
        &mut self,
        mut stream: SendStream<Piece>,
        mut body: AnswerBody,
        turn: u64,
    ) -> Result<(), StreamEnded> {
        let mut is_over = false;
        while !is_over {
            if !body.has_rest() {
                match next_chunk(&mut stream, &mut body).await? {
                    Some(Ok(None)) => {}
                    Some(Ok(Some(other))) => {
                        let trailers = other.into_trailers().unwrap_or_default();
                        return stream.send_trailers(trailers).map_err(|_| StreamEnded);
                    }
                    Some(Err(_)) => {
                        // A reset discards what the connection has not taken yet. It never discards the head. The time has a limit because a
                        // turn that was going on may have taken the head, and no other may follow.
                        let _ = tokio::time::timeout(HEAD_TIME, self.turns.wait_for_end_after(turn)).await;
                        stream.send_reset(Reason::INTERNAL_ERROR);
                        return Err(StreamEnded);
                    }
                    None => {
                        is_over = true;
                        stream.send_data(Piece::uncounted(Bytes::new()), true).map_err(|_| StreamEnded)?;
                    }
                }
                continue;
            }
            let room = self.room(&mut stream, body.rest().min(PIECE)).await?;
            let piece = body.take(room);
            self.timer.moved(room);
            is_over = body.is_end_stream();
            stream.send_data(piece, is_over).map_err(|_| StreamEnded)?;
            if !body.has_rest() {
                // The client has accepted the whole chunk. The next chunk of a stream may come much later, and waits anew.
                self.timer.clear();
            }
        }
        Ok(())
    }

    /// Waits until the client accepts data on the stream. Returns how many bytes may be sent now, at most `wanted`.
    async fn room(&mut self, stream: &mut SendStream<Piece>, wanted: usize) -> Result<usize, StreamEnded> {
        stream.reserve_capacity(wanted);
        poll_fn(|context| {
            loop {
                match stream.capacity() {
                    0 => {}
                    room => return Poll::Ready(Ok(room.min(wanted))),
                }
                match stream.poll_capacity(context) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(Err(StreamEnded)),
                    Poll::Pending => break,
                }
            }
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(Err(StreamEnded));
            }
            ready!(self.timer.poll_stalled(context));
            self.connection.listener().metrics().count_cut_off(CutOffReason::AnswerStalled);
            stream.send_reset(Reason::CANCEL);
            Poll::Ready(Err(StreamEnded))
        })
        .await
    }
}

type Chunk = Option<Result<Option<Frame<Bytes>>, axum::Error>>;

async fn next_chunk(stream: &mut SendStream<Piece>, body: &mut AnswerBody) -> Result<Chunk, StreamEnded> {
    poll_fn(|context| match body.poll_chunk(context) {
        Poll::Ready(chunk) => Poll::Ready(Ok(chunk)),
        Poll::Pending => stream.poll_reset(context).map(|_| Err(StreamEnded)),
    })
    .await
}

/// Returns the size of a request's head, in bytes as RFC 9113 counts them.
fn head_size(request: &Request<RecvStream>) -> u64 {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
    (target + fields.sum::<usize>()) as u64
}

/// Returns the request's `Content-Length`. `h2` refuses a request that has two different ones.
pub(in crate::http) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Adds the headers that every response must have, and removes those that concern an HTTP/1.1 connection. `length` is the length of the
/// response's body, if it is known.
fn complete(headers: &mut HeaderMap, length: Option<u64>) {
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
    if let Some(length) = length
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(date) = date() {
        headers.insert(header::DATE, date);
    }
}

thread_local! {
    /// The last `Date` header that was written, and the second for which it is valid.
    static DATE: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// Returns the current time as the value of a `Date` header.
fn date() -> Option<HeaderValue> {
    let second = clock::since_1970().as_secs();
    DATE.with_borrow_mut(|date| match date {
        Some((written, date)) if *written == second => Some(date.clone()),
        _ => {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            let value = HeaderValue::from_str(&text).ok()?;
            *date = Some((second, value.clone()));
            Some(value)
        }
    })
}
