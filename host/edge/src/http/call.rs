//! Calling a function so that a client that goes away doesn't cancel it.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::Val;

use super::Place;
use watertight_runtime::runtime::{CallError, Generation, Target, detached as run_detached};
use watertight_runtime::store::CallContext;

/// The result of a call, and its place among those in flight.
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
    run_detached(async move {
        let outcome = generation.call(target, &values, context).await;
        (outcome, place)
    })
}
