//! Calling a function so that a client that goes away doesn't cancel it.
//!
//! Half of a business operation is worse than one whose answer nobody reads. What ends a call is its deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::component::Val;

use super::Place;
use crate::runtime::{CallError, Generation, Target};
use crate::store::CallContext;

/// What came of a call, and its place among those in flight.
type Outcome = (Result<Option<Val>, CallError>, Place);

/// Calls `target`; if the returned future is dropped before the end, the call goes on by itself. It keeps its `place` among those
/// in flight until it ends, and gives it back.
pub(super) fn detached(
    generation: Arc<Generation>,
    target: Target,
    values: Vec<Val>,
    context: CallContext,
    place: Place,
) -> impl Future<Output = Outcome> {
    let call = async move {
        let outcome = generation.call(target, &values, context).await;
        (outcome, place)
    };
    Detached { call: Some(Box::pin(call)) }
}

/// A call that its holder may leave. Cheaper than a task of its own for each call: only a call that is left becomes one.
struct Detached<F: Future<Output = Outcome> + Send + 'static> {
    call: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = Outcome> + Send + 'static> Future for Detached<F> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let call = self.call.as_mut().expect("a future is not polled after its end");
        let outcome = call.as_mut().poll(context);
        if outcome.is_ready() {
            self.call = None;
        }
        outcome
    }
}

impl<F: Future<Output = Outcome> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        if let (Some(call), Ok(runtime)) = (self.call.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(call);
        }
    }
}
