//! The body of a request on its way to a handler.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use watertight_store::{BodyFault, RequestBody, StreamDeadline};

/// The place where the call of a handler and the handler itself share a request's body.
///
/// A handler may keep its handle of the body beyond the call. So the call takes the body away at its end.
pub(super) struct RequestSlot {
    state: Mutex<State>,
    limit: u64,
    deadline: Arc<StreamDeadline>,
}

struct State {
    /// The body. It is `None` after the end of the call, and after a fault.
    body: Option<RequestBody>,
    /// The bytes that the limit leaves.
    left: u64,
    fault: Option<BodyFault>,
}

impl RequestSlot {
    /// Creates the slot of a request. Its body may have `limit` bytes.
    pub(super) fn new(body: RequestBody, limit: u64, deadline: Arc<StreamDeadline>) -> Arc<Self> {
        let state = Mutex::new(State { body: Some(body), left: limit, fault: None });
        Arc::new(Self { state, limit, deadline })
    }

    /// Drops the body. Whoever still reads it gets an error.
    pub(super) fn close(&self) {
        let body = self.state().body.take();
        drop(body);
    }

    /// Returns the fault that the handler met while it read the body, if any.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.state().fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned mutex is used all the same: a body that panicked fails again when it is read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Subtracts a frame from the bytes that are left.
    fn count(&mut self, frame: &Frame<Bytes>, limit: u64) -> Result<(), BodyFault> {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.checked_sub(bytes).ok_or(BodyFault::TooLarge(limit))?;
        Ok(())
    }
}

/// A request's body as the handler reads it.
pub(super) struct HandlerInput(pub(super) Arc<RequestSlot>);

impl Body for HandlerInput {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let RequestSlot { limit, deadline, .. } = &*self.0;
        let mut state = self.0.state();
        let Some(body) = &mut state.body else {
            return Poll::Ready(Some(Err(state.fault.unwrap_or(BodyFault::CutOff))));
        };
        let polled = Pin::new(body).poll_frame(context);
        let Poll::Ready(Some(frame)) = polled else { return polled };
        let frame = frame.and_then(|frame| state.count(&frame, *limit).map(|()| frame));
        match &frame {
            Ok(_) => deadline.received(),
            Err(fault) => (state.fault, state.body) = (Some(*fault), None),
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.0.state().body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.state().body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
