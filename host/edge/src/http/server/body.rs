//! Bodies as they pass a listener: what clients send, which must come, and what they are answered, which is counted until it was taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use super::connection::{Connection, HeldBytes, NoRoom, OpenRequest};
use super::progress::ProgressTimer;
use watertight_telemetry::table::CutOff;

/// How much of an answer is handed to a connection at once, in bytes.
pub(super) const PIECE: usize = 16 << 10;

/// The body of a request. What was read of it is held for its client until [`RequestBody::held`] is dropped.
pub struct RequestBody {
    source: Source,
    connection: Arc<Connection>,
    timer: ProgressTimer,
    held: Option<HeldBytes>,
}

enum Source {
    Http1(Incoming),
    Http2 { stream: RecvStream, length: Option<u64> },
}

/// Why a request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Too little of it came for too long.
    #[error("the body does not come")]
    Stalled,
    /// There is no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The connection failed.
    #[error(transparent)]
    Http1(hyper::Error),
    /// The connection failed, or the client took the request back.
    #[error(transparent)]
    Http2(h2::Error),
}

impl RequestBody {
    pub(super) fn http1(body: Incoming, connection: Arc<Connection>) -> Self {
        Self::new(Source::Http1(body), connection)
    }

    /// `length` is what the request says of its body's length.
    pub(super) fn http2(stream: RecvStream, length: Option<u64>, connection: Arc<Connection>) -> Self {
        Self::new(Source::Http2 { stream, length }, connection)
    }

    fn new(source: Source, connection: Arc<Connection>) -> Self {
        let timer = ProgressTimer::new(connection.all().limits().stall);
        Self { source, connection, timer, held: None }
    }

    /// The connection that it comes by.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What is held of it so far, to be kept as long as the bytes are.
    pub fn held(&mut self) -> Option<HeldBytes> {
        self.held.take()
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Http1(body) => Pin::new(body).poll_frame(context).map_err(BodyError::Http1),
            Source::Http2 { stream, .. } => match ready!(stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // The stream may have ended meanwhile; then nobody needs the window.
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
            Poll::Pending => {
                ready!(this.timer.poll_stalled(context));
                this.timer.clear();
                this.connection.all().metrics().cut_off(CutOff::RequestStalled);
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(body) => body.size_hint(),
            Source::Http2 { stream, .. } if stream.is_end_stream() => SizeHint::with_exact(0),
            Source::Http2 { length: Some(length), .. } => SizeHint::with_exact(*length),
            Source::Http2 { .. } => SizeHint::default(),
        }
    }
}

/// Who has the bytes of an answer's piece: they are held until all of their allocation is free.
enum Owner {
    /// Nobody counts them.
    Nobody,
    /// The piece is all that there is.
    Piece { _held: HeldBytes },
    /// It shares its allocation with other pieces.
    Shared { _held: Arc<HeldBytes> },
}

/// A piece of an answer, on its way to the client.
pub(super) struct Piece {
    bytes: Bytes,
    _owner: Owner,
}

impl Piece {
    /// A piece that isn't counted.
    pub(super) fn uncounted(bytes: Bytes) -> Self {
        Self { bytes, _owner: Owner::Nobody }
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

/// The body of an answer: handed out in pieces. Its request is open until it is dropped.
pub(super) struct AnswerBody {
    body: Body,
    /// What is left of the chunk that the body gave last.
    rest: Bytes,
    /// What is held for the whole body, until the first piece has it.
    held: Option<HeldBytes>,
    shared: Option<Arc<HeldBytes>>,
    _open: OpenRequest,
}

impl AnswerBody {
    /// The answer to the request `open`; its body is what `held` counts.
    pub(super) fn new(body: Body, held: Option<HeldBytes>, open: OpenRequest) -> Self {
        Self { body, rest: Bytes::new(), held, shared: None, _open: open }
    }

    /// How many bytes wait to be handed out.
    pub(super) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Whether any do.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next piece, of at most `most` bytes.
    pub(super) fn take(&mut self, most: usize) -> Piece {
        let is_whole = self.rest.len() <= most && self.shared.is_none() && self.body.is_end_stream();
        let bytes = self.rest.split_to(self.rest.len().min(most));
        let owner = match self.held.take() {
            Some(held) if is_whole => Owner::Piece { _held: held },
            held => {
                if let Some(held) = held {
                    self.shared = Some(Arc::new(held));
                }
                self.shared.clone().map_or(Owner::Nobody, |held| Owner::Shared { _held: held })
            }
        };
        Piece { bytes, _owner: owner }
    }

    /// Waits for the body's next chunk; what isn't data is returned.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Option<Frame<Bytes>>, axum::Error>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    None
                }
                Err(other) => Some(other),
            }))),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
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
