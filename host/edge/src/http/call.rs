//! Calls a function in a task of its own, so that the call continues if the client disconnects.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::Val;

use super::InFlightPermit;
use watertight_runtime::runtime::{CallError, Generation, Target, detached as run_detached};
use watertight_store::CallContext;

/// The result of a call, and the permit of the HTTP request that made the call.
type Outcome = (Result<Option<Val>, CallError>, Arc<InFlightPermit>);

/// Calls the function `target`. If the returned future is dropped, the call continues in the background. The call keeps the permit
/// `place` until it ends, and returns it with the result.
pub(super) fn detached(
    generation: Arc<Generation>,
    target: Target,
    values: Vec<Val>,
    context: CallContext,
    permit: Arc<InFlightPermit>,
) -> impl Future<Output = Outcome> {
    let telemetry = generation.telemetry().clone();
    let work = async move {
        let outcome = generation.call(target, &values, context).await;
        (outcome, permit)
    };
    run_detached(work).counting_panics(telemetry)
}
