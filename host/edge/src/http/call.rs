//! Calls a function in a task of its own, so that the call continues if the client disconnects.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Val;

use super::InFlightPermit;
use watertight_runtime::runtime::{CallError, Generation, Target, detached as run_detached};
use watertight_store::CallContext;

/// The result of a call, and the permit of the HTTP request that made the call.
type Outcome = (Result<Option<Val>, CallError>, Arc<InFlightPermit>);

/// Calls the function `target`. If the returned future is dropped, the call continues in the background. The call keeps the permit
/// `permit` until it ends, and returns it with the result. `list_room` is the room for its lists of bytes.
pub(super) fn detached(
    generation: Arc<Generation>,
    target: Target,
    values: Vec<Val>,
    context: CallContext,
    (permit, list_room): (Arc<InFlightPermit>, Option<OwnedSemaphorePermit>),
) -> impl Future<Output = Outcome> {
    let telemetry = generation.telemetry().clone();
    let work = async move {
        let outcome = generation.call(target, &values, context).await;
        drop((values, list_room));
        (outcome, permit)
    };
    run_detached(work).counting_panics(telemetry)
}
