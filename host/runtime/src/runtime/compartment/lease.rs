//! The lease of an instance: what one admitted call holds from its admission to its end.
//!
//! A lease owns everything that it holds. So the end of a call need not be the end of the function that began it: a response body that
//! owns a lease keeps the call's instance and its permit until the last byte.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Func, Val};

use super::Compartment;
use crate::link::{Export, FunctionIndex};
use crate::runtime::admission::CallPermit;
use crate::runtime::instance::{CallEnd, PollDriver, PooledInstance};
use watertight_component::shape::Function;
use watertight_store::{CallError, CalleeAnswer, InstanceState, Values};
use watertight_telemetry::table::{CallFailure, DropReason};

/// The text for `expect`: why a lease that its holder can use has an instance.
const HAS_INSTANCE: &str = "a lease is given out with its instance and put back by value only";

/// An instance in use by a call, and the call's permit to run.
///
/// Dropping a lease ends the call and drops the instance; [`Self::put_back`] keeps it for another call.
pub struct Lease {
    compartment: Arc<Compartment>,
    /// The function that the call was admitted for.
    function: FunctionIndex,
    /// The instance. It is `None` before it has started and after it was put back, and always if the call shares an instance with others.
    pub(super) instance: Option<PooledInstance>,
    /// The reason that is counted if the instance is dropped.
    drop_reason: DropReason,
    /// The last field, so that it is dropped last: the instance's memory is free before the next call may need it.
    _permit: CallPermit,
}

impl Lease {
    /// Creates the lease of an admitted call, which counts as running from now on.
    pub(super) fn new(compartment: Arc<Compartment>, function: FunctionIndex, permit: CallPermit) -> Self {
        compartment.counters.calls.fetch_add(1, Relaxed);
        compartment.counters.running.fetch_add(1, Relaxed);
        // The default reason holds if the call is dropped before its end.
        Self { compartment, function, instance: None, drop_reason: DropReason::Dropped, _permit: permit }
    }

    pub(super) fn instance(&mut self) -> &mut PooledInstance {
        self.instance.as_mut().expect(HAS_INSTANCE)
    }

    /// Calls the function, and gives the lease back with its result. After an error, or if the future is dropped before its end, the
    /// instance is dropped, because its state is unknown.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the call gives no result.
    pub async fn call(mut self, parameters: &[Val]) -> Result<(Option<Val>, Self), CallError> {
        let (instance, export, place, driver) = self.parts();
        let called = instance.call(export, place, parameters, driver).await;
        self.finish(called)
    }

    /// Calls the function, whose type is `shape`, for a caller in another task. Returns the result if `answer` is still there; see
    /// [`PooledInstance::call_streaming`]. [`Self::finish`] must follow.
    pub(super) async fn call_streaming(
        &mut self,
        shape: &Function,
        parameters: Values,
        answer: &mut Option<oneshot::Sender<CalleeAnswer>>,
    ) -> wasmtime::Result<Option<Values>> {
        let (instance, export, place, driver) = self.parts();
        instance.call_streaming(export, place, (shape, parameters), answer, driver).await
    }

    /// Calls the function as the handler of an HTTP request: `start` passes the request to the function. [`Self::finish`] must follow. After
    /// an error, or if the future is dropped before its end, the instance's state is unknown.
    pub(in crate::runtime) async fn handle<F>(&mut self, start: F) -> wasmtime::Result<()>
    where
        F: for<'s> FnOnce(&'s mut Store<InstanceState>, Func) -> BoxFuture<'s, wasmtime::Result<()>>,
    {
        let (instance, export, place, driver) = self.parts();
        instance.handle(export, place, driver, start).await
    }

    /// Returns what running the function takes. The fields are borrowed one by one, because the driver borrows the compartment while the
    /// instance runs.
    fn parts(&mut self) -> (&mut PooledInstance, &Export, FunctionIndex, PollDriver<'_>) {
        let (compartment, place) = (&*self.compartment, self.function);
        let instance = self.instance.as_mut().expect(HAS_INSTANCE);
        let export = &compartment.exports[place.0 as usize];
        let history = &compartment.offload_histories[place.0 as usize];
        let driver = PollDriver::of(history, instance.state().call(), &compartment.metrics);
        (instance, export, place, driver)
    }

    /// Gives the lease back with the result of its call. After an error, the instance is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the call gave no result.
    pub(in crate::runtime) fn finish<T>(mut self, called: wasmtime::Result<T>) -> Result<(T, Self), CallError> {
        let (compartment, place) = (&*self.compartment, self.function);
        let state = self.instance.as_ref().expect(HAS_INSTANCE).state();
        compartment.report_limits(state);
        let error = match called {
            Ok(result) => {
                compartment.report_hit(state, place);
                return Ok((result, self));
            }
            Err(error) => compartment.explain(&CallEnd::of(error, state), state.call(), Some(place)),
        };
        self.drop_reason = drop_reason(&error);
        Err(error)
    }

    /// Ends the call and drops the instance for the reason `why`.
    pub(in crate::runtime) fn discard(mut self, why: DropReason) {
        self.drop_reason = why;
    }

    /// Ends the call and keeps the instance for another.
    pub fn put_back(mut self) {
        if let Some(instance) = self.instance.take() {
            self.compartment.put_back(instance);
        }
    }
}

/// Returns why the instance of a call that failed is dropped.
pub(super) fn drop_reason(error: &CallError) -> DropReason {
    match error.kind() {
        CallFailure::Limit => DropReason::Limit,
        CallFailure::Deadline => DropReason::Deadline,
        CallFailure::Callee => DropReason::Callee,
        CallFailure::Trap
        | CallFailure::Exit
        | CallFailure::QueueFull
        | CallFailure::NoRoom
        | CallFailure::Neighbour => DropReason::Trap,
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.compartment.count_dropped(self.drop_reason, 1);
            instance.state().ends().cut();
            drop(instance);
        }
        self.compartment.counters.running.fetch_sub(1, Relaxed);
    }
}
