//! Tests of how answers end: what the client's side gets, whatever ends the call.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::Release;
use std::time::Instant;

use ::http::Response;
use futures::{FutureExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use wasmtime_wasi_http::Error;
use watertight_model::config::Limits;

use super::*;

/// An answer whose handler has sent its head.
struct Answered {
    slot: Arc<ResponseSlot>,
    body: ResponseBody,
    is_cut_off: Arc<AtomicBool>,
}

impl Answered {
    /// Creates an answer of a media type. Its handler gives the body up if `fails`, and otherwise never ends it.
    fn new(kind: &str, fails: bool) -> Self {
        let is_cut_off = Arc::<AtomicBool>::default();
        let deadline = StreamDeadline::new(Instant::now(), &Limits::default(), true);
        let slot = ResponseSlot::new(false, deadline, is_cut_off.clone());
        let (mut head, ()) = Response::builder().header(CONTENT_TYPE, kind).body(()).unwrap().into_parts();
        let body: WasiBody = match fails {
            true => StreamBody::new(stream::iter([Err(Error::ConnectionTerminated)])).boxed_unsync(),
            false => StreamBody::new(stream::pending()).boxed_unsync(),
        };
        slot.answer(&mut head, body).unwrap();
        let body = ResponseBody::new(slot.clone(), Arc::new(()));
        Self { slot, body, is_cut_off }
    }

    fn cut_off(&self) {
        self.is_cut_off.store(true, Release);
    }

    /// Returns how the body ends for the client, which has read nothing before.
    fn end(&mut self) -> Result<(), CutAnswer> {
        match self.body.frame().now_or_never() {
            Some(None) => Ok(()),
            Some(Some(Err(error))) => Err(error),
            Some(Some(Ok(frame))) => panic!("the handler wrote nothing: {frame:?}"),
            None => panic!("the body has not ended"),
        }
    }
}

/// What the end of a call wakes up may be polled before the client reads that end.
#[test]
fn the_end_of_an_answer_waits_for_the_client_when_the_call_goes_on() {
    let mut answered = Answered::new(EVENT_STREAM, false);
    answered.cut_off();
    assert_eq!(answered.slot.end(), AnswerState::Complete);
    assert!(answered.slot.poll_finished(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(answered.slot.end(), AnswerState::Complete);
    assert_eq!(answered.end(), Ok(()));
}

#[test]
fn whatever_ends_a_stream_of_events_after_the_cut_off_it_ends_cleanly() {
    for (kind, is_cut_off, expected) in [
        ("text/event-stream", true, Ok(())),
        ("Text/Event-Stream; charset=utf-8", true, Ok(())),
        ("text/event-stream", false, Err(CutAnswer)),
        ("text/plain", true, Err(CutAnswer)),
    ] {
        // The client reads that the handler gave its body up, the call finds that, or the call ends.
        for (fails, finishes, ends) in
            [(true, false, false), (true, true, false), (true, false, true), (false, false, true)]
        {
            let mut answered = Answered::new(kind, fails);
            if is_cut_off {
                answered.cut_off();
            }
            if finishes {
                assert!(answered.slot.poll_finished(&mut Context::from_waker(Waker::noop())).is_ready());
            }
            if ends {
                answered.slot.end();
            }
            assert_eq!(answered.end(), expected, "{kind}, {is_cut_off}: {fails}, {finishes}, {ends}");
        }
    }
}

/// A cut-off changes nothing about an answer that has failed before.
#[test]
fn a_stream_of_events_that_failed_before_the_cut_off_does_not_end_cleanly() {
    let mut answered = Answered::new(EVENT_STREAM, false);
    assert_eq!(answered.slot.end(), AnswerState::Unfinished);
    answered.cut_off();
    assert_eq!(answered.slot.end(), AnswerState::Unfinished);
    assert_eq!(answered.end(), Err(CutAnswer));
}
