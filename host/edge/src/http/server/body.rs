//! Request and response bodies of a listener. A request body must make progress. The bytes of a response count as held until the client
//! has taken them, unless the response is a stream, which is made while it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

use super::connection::{Connection, HeldBytes, NoRoom, OpenRequest};
use super::progress::ProgressTimer;
use watertight_store::{BodyFault, RequestBody as PassedBody};
use watertight_telemetry::table::CutOffReason;

/// The maximum number of bytes of a response that are handed to a connection at once.
pub(super) const PIECE: usize = 16 << 10;

/// The largest part of a request's body that is read and discarded after its answer, so that its client can read the answer, in bytes.
const MAX_LINGER: usize = 16 << 20;
/// The longest time of that.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// The text for `expect`: why there is a body.
const HAS_BODY: &str = "the body is taken only when its owner is dropped";

/// The body of a request. The bytes that were read from it count as held for the client, until the value that [`RequestBody::held`]
/// returns is dropped.
pub struct RequestBody {
    source: Source,
    connection: Arc<Connection>,
    timer: ProgressTimer,
    held: Option<HeldBytes>,
    /// Whether the time limit for progress holds no longer. `None` if it always holds.
    is_unlimited: Option<Arc<AtomicBool>>,
}

enum Source {
    Http1(Http1Body),
    Http2 {
        stream: RecvStream,
        length: Option<u64>,
    },
    /// A middleware passes the body on.
    /// `left` are the bytes that the request's `Content-Length` leaves, if it has one.
    PassedOn {
        body: PassedBody,
        left: Option<u64>,
    },
}

/// The body of an HTTP/1.1 request. If it is dropped before its end, the rest is read and discarded for a while: a connection that is closed
/// while its client sends is reset, and the client may never see the answer, such as one that says that the body is too large (RFC 9112,
/// section 9.6).
struct Http1Body {
    /// The body. It is `None` only while the value is dropped.
    body: Option<Incoming>,
    /// Whether the client waits for consent before it sends the body (`Expect: 100-continue`). Reading gives it.
    is_held_back: bool,
}

impl Http1Body {
    fn get(&self) -> &Incoming {
        self.body.as_ref().expect(HAS_BODY)
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.is_held_back = false;
        Pin::new(self.body.as_mut().expect(HAS_BODY)).poll_frame(context)
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && !body.is_end_stream()
            && !self.is_held_back
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(LINGER_TIME, discard(body)));
        }
    }
}

/// A reason for which a request body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent too little of the body for too long.
    #[error("the request body makes too little progress")]
    Stalled,
    /// The host already holds too many bytes in memory for clients to read more of the body.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The HTTP/1.1 connection failed.
    #[error(transparent)]
    Http1(hyper::Error),
    /// The HTTP/2 connection failed, or the client cancelled the request.
    #[error(transparent)]
    Http2(h2::Error),
    /// A middleware passes the body on, and can't give the rest.
    #[error(transparent)]
    PassedOn(BodyFault),
}

impl RequestBody {
    /// Creates the body of an HTTP/1.1 request. `is_held_back` tells whether the client waits for consent before it sends the body.
    pub(super) fn http1(body: Incoming, is_held_back: bool, connection: Arc<Connection>) -> Self {
        Self::new(Source::Http1(Http1Body { body: Some(body), is_held_back }), connection)
    }

    /// Creates the body of an HTTP/2 request. `length` is the request's `Content-Length`.
    pub(super) fn http2(stream: RecvStream, length: Option<u64>, connection: Arc<Connection>) -> Self {
        Self::new(Source::Http2 { stream, length }, connection)
    }

    /// Creates the body of a request that a middleware passes on. `length` is the request's `Content-Length`: a middleware may have changed the
    /// body. There is no time limit for progress, since that of the client's own body holds.
    pub(in crate::http) fn passed_on(body: PassedBody, length: Option<u64>, connection: Arc<Connection>) -> Self {
        let source = Source::PassedOn { body, left: length };
        Self { is_unlimited: Some(Arc::new(AtomicBool::new(true))), ..Self::new(source, connection) }
    }

    fn new(source: Source, connection: Arc<Connection>) -> Self {
        let timer = ProgressTimer::new(connection.listener().limits().progress_timeout);
        Self { source, connection, timer, held: None, is_unlimited: None }
    }

    /// Lets the time limit for progress end once `answered` is true. The limits of streams hold from then on: whoever reads the body applies
    /// them.
    pub(in crate::http) fn without_stall_limit_once(mut self, answered: Arc<AtomicBool>) -> Self {
        self.is_unlimited = Some(answered);
        self
    }

    /// The connection on which the request arrived.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Takes the guard that counts the bytes read so far as held. Keep it as long as the bytes.
    pub fn held(&mut self) -> Option<HeldBytes> {
        self.held.take()
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Http1(body) => body.poll_frame(context).map_err(BodyError::Http1),
            Source::PassedOn { body, left } => {
                let polled = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(match (polled, left) {
                    (None, Some(1..)) => Some(Err(BodyError::PassedOn(BodyFault::CutOff))),
                    (Some(Ok(frame)), Some(left)) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                        let rest = left.checked_sub(bytes).ok_or(BodyError::PassedOn(BodyFault::CutOff));
                        Some(rest.map(|rest| {
                            *left = rest;
                            frame
                        }))
                    }
                    (polled, _) => polled.map(|frame| frame.map_err(BodyError::PassedOn)),
                })
            }
            Source::Http2 { stream, .. } => match ready!(stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // This fails if the stream has ended meanwhile; then its flow-control window no longer matters.
                    let _ = stream.flow_control().release_capacity(data.len());
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Some(Err(error)) if error.reason() == Some(h2::Reason::NO_ERROR) => Poll::Ready(None),
                Some(Err(error)) => Poll::Ready(Some(Err(BodyError::Http2(error)))),
                None => match ready!(stream.poll_trailers(context)) {
                    Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Ok(None) => Poll::Ready(None),
                    Err(error) => Poll::Ready(Some(Err(BodyError::Http2(error)))),
                },
            },
        }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        match &mut self.held {
            Some(held) => held.grow(bytes as u64),
            None => {
                self.held = Some(self.connection.hold(bytes as u64)?);
                Ok(())
            }
        }
    }
}

/// Reads and discards a body, up to [`MAX_LINGER`] bytes of it.
async fn discard(mut body: Incoming) {
    let mut left = MAX_LINGER;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match this.poll_source(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.timer.moved(length);
                Poll::Ready(Some(this.hold(length).map(|()| frame).map_err(BodyError::from)))
            }
            Poll::Ready(other) => {
                this.timer.clear();
                Poll::Ready(other)
            }
            Poll::Pending if this.is_unlimited.as_ref().is_some_and(|unlimited| unlimited.load(Relaxed)) => {
                this.timer.clear();
                Poll::Pending
            }
            Poll::Pending => {
                ready!(this.timer.poll_stalled(context));
                this.timer.clear();
                this.connection.listener().metrics().count_cut_off(CutOffReason::RequestStalled);
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(body) => body.get().is_end_stream(),
            Source::PassedOn { body, left } => body.is_end_stream() && left.is_none_or(|left| left == 0),
            Source::Http2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(body) => body.get().size_hint(),
            Source::PassedOn { body, left } => left.map_or_else(|| body.size_hint(), SizeHint::with_exact),
            Source::Http2 { stream, .. } if stream.is_end_stream() => SizeHint::with_exact(0),
            Source::Http2 { length: Some(length), .. } => SizeHint::with_exact(*length),
            Source::Http2 { .. } => SizeHint::default(),
        }
    }
}

/// The guard that counts the bytes of a response piece as held in memory for the client, until the allocation that contains the bytes is
/// freed.
enum HeldBy {
    /// The bytes are not counted.
    Nobody,
    /// The allocation contains only this piece.
    Piece { _held: HeldBytes },
    /// The piece shares its allocation with other pieces.
    Shared { _held: Arc<HeldBytes> },
}

/// A piece of a response body, on its way to the client.
pub(super) struct Piece {
    bytes: Bytes,
    _owner: HeldBy,
}

impl Piece {
    /// Creates a piece whose bytes do not count as held in memory for the client.
    pub(super) fn uncounted(bytes: Bytes) -> Self {
        Self { bytes, _owner: HeldBy::Nobody }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

/// The body of a response, which is sent in pieces. The request counts as open until this value is dropped.
pub(super) struct AnswerBody {
    body: Body,
    /// The unsent rest of the last chunk that the body returned.
    rest: Bytes,
    /// The held bytes of the whole body, until the first piece takes them over.
    held: Option<HeldBytes>,
    shared: Option<Arc<HeldBytes>>,
    /// The error that cuts the body off. It waits until the connection has sent what came before it.
    cut: Option<axum::Error>,
    open: OpenRequest,
}

impl AnswerBody {
    /// Creates the body of the response to the request `open`. `held` counts the bytes of `body`.
    pub(super) fn new(body: Body, held: Option<HeldBytes>, open: OpenRequest) -> Self {
        Self { body, rest: Bytes::new(), held, shared: None, cut: None, open }
    }

    /// Returns how many bytes of the last chunk are not sent yet.
    pub(super) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Returns whether some bytes of the last chunk are not sent yet.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Takes the next piece of the last chunk, of at most `most` bytes.
    pub(super) fn take(&mut self, most: usize) -> Piece {
        let is_whole = self.rest.len() <= most && self.shared.is_none() && self.body.is_end_stream();
        let bytes = self.rest.split_to(self.rest.len().min(most));
        let owner = match self.held.take() {
            Some(held) if is_whole => HeldBy::Piece { _held: held },
            held => {
                if let Some(held) = held {
                    self.shared = Some(Arc::new(held));
                }
                self.shared.clone().map_or(HeldBy::Nobody, |held| HeldBy::Shared { _held: held })
            }
        };
        Piece { bytes, _owner: owner }
    }

    /// Polls the body for its next frame. Keeps the data of a data frame, and returns any other frame, such as trailers.
    ///
    /// An error is returned one poll later: a connection drops what it has not sent when a body fails, such as the head of the answer.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Option<Frame<Bytes>>, axum::Error>>> {
        if let Some(error) = self.cut.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    None
                }
                Err(other) => Some(other),
            }))),
            Some(Err(error)) => {
                self.cut = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        // hyper drops what it has not written when a body fails. It writes after each poll, and what is left then wakes its task.
        if self.cut.is_some() && self.open.has_unwritten() {
            return Poll::Pending;
        }
        if !self.has_rest() {
            match ready!(self.poll_chunk(context)) {
                Some(Ok(None)) => {}
                Some(Ok(Some(other))) => {
                    return Poll::Ready(Some(Ok(other.map_data(Piece::uncounted))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.take(PIECE)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
