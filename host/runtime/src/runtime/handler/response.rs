//! The answer of a handler on its way to the client.
//!
//! Handler and client meet in a [`ResponseSlot`]. The client's side polls the handler's body as long as the call runs. At the end of the
//! call, what the handler has written is taken out of its store, so that the store need not wait for a slow client. It is decided then
//! whether the answer is complete: a body that its handler did not finish must never look like one.

use std::any::Any;
use std::collections::VecDeque;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ::http::{StatusCode, response};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::coop::unconstrained;
use wasmtime_wasi_http::WasiBody;

use watertight_store::{CutAnswer, StreamDeadline};

/// The media type of server-sent events. Its clients connect again after any end, so a stream of them may end cleanly at any event.
const EVENT_STREAM: &str = "text/event-stream";

/// The largest number of pieces that are taken of a body whose handler has returned, before the client's side asks for them.
const MAX_AHEAD: usize = 4;

/// What became of the answer when its call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum AnswerState {
    /// There was no answer.
    Missing,
    /// The answer is complete, or its body goes to nobody.
    Complete,
    /// The handler has not finished the body.
    Unfinished,
}

/// The place where a handler's answer waits for its client.
pub(super) struct ResponseSlot {
    state: Mutex<State>,
    /// Whether the request's method is HEAD.
    is_head: bool,
    deadline: Arc<StreamDeadline>,
}

struct State {
    source: Source,
    /// Whether the handler has answered, be it with an error or after its client has gone.
    has_answered: bool,
    /// The bytes that the answer's `Content-Length` leaves. `None` if the answer has no such header.
    left: Option<u64>,
    /// Whether the handler wrote more bytes than its `Content-Length`.
    is_exceeded: bool,
    is_event_stream: bool,
    /// Whether the handler's generation is cut off.
    is_cut_off: Arc<AtomicBool>,
    /// Whether the answer has no body by its status or the request's method. What the handler writes is discarded then.
    is_discarded: bool,
    /// The task of the client's side, which waits for the next piece.
    waker: Option<Waker>,
    /// The task of the call, if its handler has returned and the call only waits for the end of the body.
    call: Option<Waker>,
}

/// Where the next piece of the body comes from.
enum Source {
    /// The handler has not answered.
    Unanswered,
    /// The handler may still write.
    Open {
        body: WasiBody,
        /// Pieces of the body that were taken before the client's side asked for them.
        ahead: VecDeque<Frame<Bytes>>,
    },
    /// The handler can't write any more. The frames that it has written are left, and then the end: whether it is that of a whole body.
    Ended(VecDeque<Frame<Bytes>>, Result<(), CutAnswer>),
}

impl ResponseSlot {
    /// Creates the place for the answer to a request. `is_cut_off` is set once the handler's generation is cut off.
    pub(super) fn new(is_head: bool, deadline: Arc<StreamDeadline>, is_cut_off: Arc<AtomicBool>) -> Arc<Self> {
        let state = State {
            source: Source::Unanswered,
            has_answered: false,
            left: None,
            is_exceeded: false,
            is_event_stream: false,
            is_cut_off,
            is_discarded: false,
            waker: None,
            call: None,
        };
        Arc::new(Self { state: Mutex::new(state), is_head, deadline })
    }

    /// Takes the answer of the handler. Removes headers that its status forbids.
    ///
    /// # Errors
    ///
    /// Returns the reason why this can't be the answer to a request.
    pub(super) fn answer(&self, head: &mut response::Parts, body: WasiBody) -> Result<(), &'static str> {
        self.state().has_answered = true;
        if head.status.is_informational() {
            return Err("its status is informational (1xx)");
        }
        let length = content_length(head)?;
        let has_no_body = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if head.status == StatusCode::NO_CONTENT {
            head.headers.remove(CONTENT_LENGTH);
        }
        let mut state = self.state();
        // The client may have gone away already. Then the body is dropped, which the handler notices when it writes.
        if let Source::Unanswered = state.source {
            state.is_discarded = self.is_head || has_no_body;
            state.left = length.filter(|_| !state.is_discarded);
            state.is_event_stream = is_event_stream(head);
            state.source = Source::Open { body, ahead: VecDeque::new() };
            self.deadline.answered();
        }
        Ok(())
    }

    /// Notes that the handler has answered with an error.
    pub(super) fn refuse(&self) {
        self.state().has_answered = true;
    }

    /// Whether the handler has answered, be it with an error or after its client has gone.
    pub(super) fn has_answered(&self) -> bool {
        self.state().has_answered
    }

    /// Discards what the handler has written, if nobody takes it. The call polls this beside the handler.
    pub(super) fn poll_discard(&self, context: &mut Context<'_>) {
        let mut state = self.state();
        if state.is_discarded
            && let Source::Open { body, .. } = &mut state.source
        {
            while let Poll::Ready(Some(Ok(_))) = Pin::new(&mut *body).poll_frame(context) {}
        }
    }

    /// Resolves when the call of a handler that has returned is not needed any more. Usually the body ends then at once. A body that the
    /// host makes, such as the request's own or one of another server's answer, goes on after the handler's function.
    pub(super) fn poll_finished(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        let state = &mut *state;
        if state.is_discarded {
            return Poll::Ready(());
        }
        if state.call.is_none() {
            state.source = match mem::replace(&mut state.source, Source::Unanswered) {
                Source::Open { mut body, mut ahead } => {
                    let ended = state.take(&mut body, &mut ahead, MAX_AHEAD);
                    // The body knew the client's side, and has forgotten it.
                    state.waker.take().into_iter().for_each(Waker::wake);
                    match ended {
                        Some(whole) => Source::Ended(ahead, whole),
                        None => Source::Open { body, ahead },
                    }
                }
                // The client's side may not have read the end yet.
                other => other,
            };
        }
        if !matches!(state.source, Source::Open { .. }) {
            return Poll::Ready(());
        }
        state.call = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ends the answer with its call, before the handler's store is used for another call or dropped. Only the first end counts.
    pub(super) fn end(&self) -> AnswerState {
        let mut state = self.state();
        let state = &mut *state;
        let (frames, whole) = match mem::replace(&mut state.source, Source::Unanswered) {
            Source::Unanswered => return AnswerState::Missing,
            // What the handler has written is as little as its stream buffers.
            Source::Open { mut body, ahead: mut frames } => match state.take(&mut body, &mut frames, usize::MAX) {
                Some(whole) => (frames, whole),
                None => (frames, state.end_of(false)),
            },
            Source::Ended(frames, whole) => (frames, whole),
        };
        state.source = Source::Ended(frames, whole);
        for waker in state.waker.take().into_iter().chain(state.call.take()) {
            waker.wake();
        }
        if whole.is_ok() || state.is_discarded { AnswerState::Complete } else { AnswerState::Unfinished }
    }

    /// Returns whether the answer's body is longer than its `Content-Length`.
    pub(super) fn is_exceeded(&self) -> bool {
        self.state().is_exceeded
    }

    /// Drops the answer, because the client's side has gone.
    fn leave(&self) {
        let mut state = self.state();
        if state.is_discarded || matches!(state.source, Source::Ended(..)) {
            return;
        }
        // HTTP/1.1 drops a body once all bytes of its `Content-Length` are there.
        let whole = if state.left == Some(0) { Ok(()) } else { Err(CutAnswer) };
        match whole {
            Ok(()) => self.deadline.sent(),
            Err(_) => self.deadline.abandon(),
        }
        let source = mem::replace(&mut state.source, Source::Ended(VecDeque::new(), whole));
        let call = state.call.take();
        drop(state);
        drop(source);
        if let Some(call) = call {
            call.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned mutex is used all the same: a body that panicked fails again when it is polled.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the part of a frame that belongs to the answer: bytes beyond the `Content-Length` don't.
    fn admit(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Some(other),
        };
        if let Some(left) = &mut self.left {
            let fitting = usize::try_from(*left).unwrap_or(usize::MAX);
            self.is_exceeded |= data.len() > fitting;
            data.truncate(fitting);
            *left -= data.len() as u64;
        }
        (!data.is_empty()).then(|| Frame::data(data))
    }

    /// Whether a body that ends now has all bytes of its `Content-Length`.
    fn has_length(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }

    /// Returns how the answer ends: as a whole one if `is_whole`. So does a stream of events whose generation was cut off before, whatever
    /// ended it: a failure can be a consequence of the cut-off, such as that of a middleware's handler whose source was cut off first.
    fn end_of(&self, is_whole: bool) -> Result<(), CutAnswer> {
        if is_whole || (self.is_event_stream && self.is_cut_off.load(Acquire)) { Ok(()) } else { Err(CutAnswer) }
    }

    /// Takes at most `most` pieces of the body that are there. Returns whether the whole body is taken or lost. `None` if more may come.
    fn take(
        &mut self,
        body: &mut WasiBody,
        frames: &mut VecDeque<Frame<Bytes>>,
        most: usize,
    ) -> Option<Result<(), CutAnswer>> {
        // Unconstrained, because a spent budget of Tokio's would look like an unfinished body.
        let mut next = || {
            let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            pin!(unconstrained(frame)).poll(&mut Context::from_waker(Waker::noop()))
        };
        let is_whole = loop {
            match next() {
                Poll::Ready(Some(Ok(frame))) => {
                    frames.extend(self.admit(frame));
                    if self.is_exceeded {
                        break true;
                    }
                    if frames.len() >= most {
                        return None;
                    }
                }
                Poll::Ready(None) => break self.has_length(),
                // The handler gave the body up, unless it had sent all bytes of its `Content-Length` before.
                Poll::Ready(Some(Err(_))) => break self.left == Some(0),
                Poll::Pending if self.left == Some(0) => break true,
                Poll::Pending => return None,
            }
        };
        Some(self.end_of(is_whole))
    }
}

/// Returns the value of the header `Content-Length`.
fn content_length(head: &response::Parts) -> Result<Option<u64>, &'static str> {
    let mut given = head.headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), another) = (given.next(), given.next()) else { return Ok(None) };
    let digits = length.to_str().ok().filter(|text| another.is_none() && text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or("its `content-length` is not a number")
}

fn length_of(frames: &VecDeque<Frame<Bytes>>) -> u64 {
    frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()
}

fn is_event_stream(head: &response::Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind);
    kind.trim().eq_ignore_ascii_case(EVENT_STREAM)
}

/// The body of a handler's answer, for the client. If it is dropped before its end, the client counts as gone.
pub struct ResponseBody {
    slot: Arc<ResponseSlot>,
    /// What must last as long as the exchange.
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl ResponseBody {
    pub(super) fn new(slot: Arc<ResponseSlot>, guard: Arc<dyn Any + Send + Sync>) -> Self {
        Self { slot, guard: Some(guard) }
    }

    /// Returns whether the handler has written the whole body, so that it is in memory. Nothing of the call is held for it any more.
    pub fn is_complete(&self) -> bool {
        let state = self.slot.state();
        state.is_discarded || matches!(state.source, Source::Ended(_, Ok(())))
    }

    /// Drops what must last as long as the exchange, because the call has ended and the body is complete.
    pub(super) fn release(&mut self) {
        self.guard = None;
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CutAnswer;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutAnswer>>> {
        let deadline = &self.slot.deadline;
        let mut state = self.slot.state();
        let state = &mut *state;
        loop {
            let body = match &mut state.source {
                _ if state.is_discarded => return Poll::Ready(None),
                Source::Ended(frames, whole) => {
                    let next = frames.pop_front().map(Ok).or_else(|| whole.err().map(Err));
                    return Poll::Ready(next);
                }
                Source::Unanswered => return Poll::Ready(Some(Err(CutAnswer))),
                Source::Open { ahead, .. } if !ahead.is_empty() => {
                    deadline.sending();
                    return Poll::Ready(ahead.pop_front().map(Ok));
                }
                Source::Open { body, .. } => body,
            };
            let whole = match Pin::new(body).poll_frame(context) {
                Poll::Pending => {
                    deadline.sent();
                    match &mut state.waker {
                        Some(waker) => waker.clone_from(context.waker()),
                        none => *none = Some(context.waker().clone()),
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let frame = state.admit(frame);
                    if state.is_exceeded {
                        state.source = Source::Ended(VecDeque::new(), Ok(()));
                    }
                    if frame.is_none() {
                        continue;
                    }
                    deadline.sending();
                    return Poll::Ready(frame.map(Ok));
                }
                Poll::Ready(None) => state.has_length(),
                Poll::Ready(Some(Err(_))) => state.left == Some(0),
            };
            deadline.sent();
            let whole = state.end_of(whole);
            state.source = Source::Ended(VecDeque::new(), whole);
            if let Some(call) = state.call.take() {
                call.wake();
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.slot.state();
        state.is_discarded || matches!(&state.source, Source::Ended(frames, Ok(())) if frames.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.slot.state();
        match &state.source {
            _ if state.is_discarded => SizeHint::with_exact(0),
            Source::Ended(frames, Ok(())) => {
                let length = length_of(frames);
                let mut hint = SizeHint::new();
                hint.set_lower(length);
                // HTTP/1.1 can't send trailers after a body of a known length.
                if frames.iter().all(Frame::is_data) {
                    hint.set_upper(length);
                }
                hint
            }
            Source::Open { ahead, .. } => {
                state.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + length_of(ahead)))
            }
            _ => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.slot.leave();
    }
}

#[cfg(test)]
mod tests;
