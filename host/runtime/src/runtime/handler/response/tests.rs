//! Tests of how answers end for their clients, whatever ends the call.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::Release;
use std::time::Instant;

use ::http::Response;
use futures::{FutureExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use wasmtime_wasi_http::Error;
use watertight_model::config::Limits;

use super::*;

/// Returns whether an answer of this media type ends cleanly for a client that reads after all `steps`: the cut-off, the end of the call,
/// and a poll whether the call is finished. The handler gives the body up if it `fails`, and else leaves it open.
fn ends_cleanly(kind: &str, fails: bool, steps: &str) -> bool {
    let is_cut_off = Arc::<AtomicBool>::default();
    let deadline = StreamDeadline::new(Instant::now(), &Limits::default(), true);
    let slot = ResponseSlot::new(false, deadline, is_cut_off.clone());
    let (mut head, ()) = Response::builder().header(CONTENT_TYPE, kind).body(()).unwrap().into_parts();
    let given_up = stream::iter(fails.then_some(Err(Error::ConnectionTerminated)));
    let frames = futures::StreamExt::chain(given_up, stream::pending());
    slot.answer(&mut head, StreamBody::new(frames).boxed_unsync()).unwrap();
    for step in steps.split(' ') {
        match step {
            "cut-off" => is_cut_off.store(true, Release),
            "end" => _ = slot.end(),
            "poll" => assert!(slot.poll_finished(&mut Context::from_waker(Waker::noop())).is_ready()),
            _ => {}
        }
    }
    ResponseBody::new(slot, Arc::new(())).frame().now_or_never().expect("the body has ended").is_none()
}

#[test]
fn a_stream_of_events_ends_cleanly_whatever_ends_it_after_the_cut_off() {
    // What the end wakes up may be polled before the client reads the end.
    assert!(ends_cleanly("text/event-stream", false, "cut-off end poll end"));
    assert!(!ends_cleanly("text/event-stream", false, "end cut-off poll end"));
    for (fails, steps) in [(true, "cut-off "), (true, "cut-off poll"), (true, "cut-off end"), (false, "cut-off end")] {
        assert!(ends_cleanly("Text/Event-Stream; charset=utf-8", fails, steps), "{fails}, {steps}");
        assert!(!ends_cleanly("text/plain", fails, steps), "{fails}, {steps}");
        assert!(!ends_cleanly("text/event-stream", fails, steps.trim_start_matches("cut-off ")), "{fails}, {steps}");
    }
}
