//! One set of module instances of a compartment, in a Wasmtime store of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, Func, Instance, InstancePre, Val};
use wasmtime::{AsContextMut as _, Store, UpdateDeadline};

use crate::link::{Export, FunctionIndex};
use watertight_component::profile::Profile;
use watertight_component::shape::Function;
use watertight_engine::offload::{OffloadClaim, OffloadHistory};
use watertight_model::config::Limits;
use watertight_relay::ends::{Ends, Role};
use watertight_store::{
    CallContext, CalleeAnswer, CpuAccount, CpuMeter, Deadline, FailureReport, InstanceState, LimitHit, TaskId,
    TaskSwitch, Tick, Values,
};
use watertight_telemetry::CompartmentMetrics;

/// The error that ended a call or the start of an instance, with what the store knows about it.
pub(super) struct CallEnd {
    /// Wasmtime's error.
    pub(super) error: wasmtime::Error,
    /// The limit that was met, if any.
    pub(super) limit: Option<LimitHit>,
    /// The guest's own report of its failure, if it made one.
    pub(super) failure: Option<FailureReport>,
}

impl CallEnd {
    /// Adds to an error the limit and the guest's report that `state`, the state of its store, has recorded.
    pub(super) fn of(error: wasmtime::Error, state: &InstanceState) -> Self {
        Self { error, limit: state.limit_hit(), failure: state.reason() }
    }
}

/// Marks the error of Wasmtime's call of a function. If no guest was running, a parameter or the result could not be copied.
#[derive(Debug)]
pub(super) struct InCall;

impl std::fmt::Display for InCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a function was called")
    }
}

/// The module instances of a compartment, in one store, on which one call runs at a time.
pub(super) struct PooledInstance {
    store: Store<InstanceState>,
    cpu: Arc<CpuMeter>,
    instance: Instance,
    functions: Vec<Option<Func>>,
    /// Whether the engine has the component model's concurrency, so that a call may leave something to do behind.
    is_concurrent: bool,
    /// Whether the last call left something to do in the instances. They can serve no other call then.
    pub(super) is_busy: bool,
    /// The number of calls served.
    pub(super) calls: u32,
    /// The compartment's number of searches for idle instances at the end of the last call.
    pub(super) last_used: u64,
}

impl PooledInstance {
    /// Instantiates every module of a compartment in a new store with `state`. Their start functions run under the limits of the call in
    /// `state`.
    pub(super) async fn start(
        pre: &InstancePre<InstanceState>,
        exports: usize,
        limits: &Limits,
        profile: Profile,
        state: InstanceState,
        work: PollDriver<'_>,
    ) -> Result<Self, CallEnd> {
        let (deadline, payer, cpu) = (state.call().deadline.clone(), state.call().payer.clone(), state.cpu().clone());
        let mut store = Store::new(pre.engine(), state);
        store.limiter(InstanceState::limiter);
        store.set_max_component_handles(limits.handles as usize);
        store.set_hostcall_fuel(usize::try_from(limits.transfer).unwrap_or(usize::MAX));
        store.epoch_deadline_callback(|mut context| {
            match context.data_mut().tick() {
                Tick::Stop => return Ok(UpdateDeadline::Interrupt),
                Tick::Stale => return Ok(UpdateDeadline::Continue(1)),
                Tick::Passed => {}
            }
            // `yield_now` instead of waking itself: a task that wakes itself is polled again before the runtime polls sockets.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        let started = {
            let store = &mut store;
            let starting = pin!(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                // What a start function began must not last until the first call, which may be far away.
                store.data_mut().end_call().await?;
                Ok(instance)
            });
            work.run_until(&deadline, payer.as_deref(), &cpu, starting).await
        };
        match started {
            Ok(instance) => {
                let functions = vec![None; exports];
                let is_concurrent = profile == Profile::Async;
                Ok(Self { store, cpu, instance, functions, is_concurrent, is_busy: false, calls: 0, last_used: 0 })
            }
            Err(error) => Err(CallEnd::of(error, store.data())),
        }
    }

    /// Returns the host's state of the store.
    pub(super) fn state(&self) -> &InstanceState {
        self.store.data()
    }

    /// Drops the reference to the generation of the last call, so that a warm instance keeps no generation alive.
    pub(super) fn leave_generation(&mut self) {
        self.store.data_mut().leave_generation();
    }

    /// Begins to serve a call.
    pub(super) fn begin(&mut self, call: CallContext) {
        self.store.data_mut().begin_call(call);
        self.store.set_epoch_deadline(1);
    }

    /// Calls a function for the call that was begun. After an error, or if the future is dropped before its end, the instances must be
    /// dropped.
    pub(super) async fn call(
        &mut self,
        export: &Export,
        place: FunctionIndex,
        parameters: &[Val],
        work: PollDriver<'_>,
    ) -> wasmtime::Result<Option<Val>> {
        let (deadline, payer) = self.bounds();
        let function = self.function(export, place)?;
        let mut result = [Val::Bool(false)];
        {
            let results = if export.returns { &mut result[..] } else { &mut [] };
            let (store, is_concurrent) = (&mut self.store, self.is_concurrent);
            let called = pin!(async move {
                function.call_async(&mut *store, parameters, results).await.map_err(|error| error.context(InCall))?;
                store.data_mut().end_call().await?;
                if is_concurrent { is_busy(store).await } else { Ok(false) }
            });
            self.is_busy = work.run_until(&deadline, payer.as_deref(), &self.cpu, called).await?;
        }
        self.calls += 1;
        let [value] = result;
        Ok(export.returns.then_some(value))
    }

    /// Calls a function as the handler of an HTTP request, for the call that was begun: `start` passes the request to the function. After an
    /// error, or if the future is dropped before its end, the instances must be dropped.
    pub(super) async fn handle<F>(
        &mut self,
        export: &Export,
        place: FunctionIndex,
        work: PollDriver<'_>,
        start: F,
    ) -> wasmtime::Result<()>
    where
        F: for<'s> FnOnce(&'s mut Store<InstanceState>, Func) -> BoxFuture<'s, wasmtime::Result<()>>,
    {
        let (deadline, payer) = self.bounds();
        let function = self.function(export, place)?;
        {
            let store = &mut self.store;
            let called = pin!(async move {
                start(&mut *store, function).await?;
                store.data_mut().end_call().await
            });
            work.run_until(&deadline, payer.as_deref(), &self.cpu, called).await?;
        }
        self.is_busy = self.state().ends().open() > 0;
        self.calls += 1;
        Ok(())
    }

    /// Calls a function for the call that was begun, which another compartment has made from a task of its own. `shape` is the function's
    /// type. Returns the result if `answer` is still there: if values of the call stream, the result is sent as soon as it is there, and the
    /// call goes on until its guests have nothing left to do. After an error, or if the future is dropped before its end, the instances must
    /// be dropped.
    pub(super) async fn call_streaming(
        &mut self,
        export: &Export,
        place: FunctionIndex,
        (shape, parameters): (&Function, Values),
        answer: &mut Option<oneshot::Sender<CalleeAnswer>>,
        work: PollDriver<'_>,
    ) -> wasmtime::Result<Option<Values>> {
        let (deadline, payer) = self.bounds();
        let function = self.function(export, place)?;
        let ends = self.state().ends().clone();
        let streams = parameters.has_ends();
        let (result, streams) = {
            let store = &mut self.store;
            let called = pin!(async {
                let parameters = parameters.enter(store.as_context_mut(), shape, &ends)?;
                let mut results = vec![Val::Bool(false); usize::from(export.returns)];
                let called = function.call_async(&mut *store, &parameters, &mut results).await;
                called.map_err(|error| error.context(InCall))?;
                let result = Values::leave(store.as_context_mut(), shape, Role::Result, results, &ends)?;
                let streams = streams || result.has_ends();
                if !streams {
                    store.data_mut().end_call().await?;
                }
                Ok((result, streams))
            });
            work.run_until(&deadline, payer.as_deref(), &self.cpu, called).await?
        };
        self.calls += 1;
        let result = match answer.take_if(|_| streams) {
            Some(answer) => {
                // This fails if the caller has gone, which ends this task as well.
                let _ = answer.send(Ok(result));
                None
            }
            None => Some(result),
        };
        self.store.data_mut().follow_caller();
        let (deadline, _) = self.bounds();
        let store = &mut self.store;
        let rest = pin!(async {
            if streams {
                store
                    .run_concurrent(async |accessor| poll_fn(|context| poll_idle(accessor, &ends, context)).await)
                    .await?;
                store.data_mut().end_call().await?;
            }
            is_busy(store).await
        });
        self.is_busy = work.run_until(&deadline, payer.as_deref(), &self.cpu, rest).await?;
        Ok(result)
    }

    /// Returns what bounds the call that was begun: its deadline, and the account that its processor time is charged to.
    fn bounds(&self) -> (Deadline, Option<Arc<CpuAccount>>) {
        let call = self.state().call();
        (call.deadline.clone(), call.payer.clone())
    }

    /// Lets requests share the instances. The returned switch knows which of them runs.
    pub(super) fn share(&mut self) -> Arc<TaskSwitch> {
        InstanceState::share(&mut self.store)
    }

    /// Runs `serve`, which calls functions for several requests at the same time, until it returns or `is_ended` is ready. After an error,
    /// or if the future is dropped before its end, the instances must be dropped.
    pub(super) async fn run_shared<F>(
        &mut self,
        switch: &TaskSwitch,
        work: PollDriver<'_>,
        is_ended: impl FnMut(&mut Context<'_>) -> Poll<()>,
        serve: F,
    ) -> wasmtime::Result<()>
    where
        F: AsyncFnOnce(&Accessor<InstanceState>, Instance) -> wasmtime::Result<()>,
    {
        let instance = self.instance;
        self.store.set_epoch_deadline(1);
        let mut running = pin!(self.store.run_concurrent(async |accessor| serve(accessor, instance).await));
        let step = pin!(poll_fn(|context| switch.poll(|| running.as_mut().poll(context)).map(Result::flatten)));
        work.run(is_ended, None, &self.cpu, step).await
    }

    /// Runs `look` on the host's state of the store, with a request that shares the store in the place of the one that runs.
    pub(super) fn view<T>(&mut self, task: TaskId, look: impl FnOnce(&mut InstanceState) -> T) -> T {
        self.store.data_mut().view(task, look)
    }

    fn function(&mut self, export: &Export, place: FunctionIndex) -> wasmtime::Result<Func> {
        let slot = &mut self.functions[place.0 as usize];
        match slot {
            Some(function) => Ok(*function),
            None => {
                let function = self.instance.get_func(&mut self.store, export.index);
                let function =
                    function.ok_or_else(|| wasmtime::Error::msg("an export that linking found is missing"))?;
                Ok(*slot.insert(function))
            }
        }
    }
}

/// Resolves when the guests of a store have nothing left to do, and no stream or future that they have returned is open.
fn poll_idle(accessor: &Accessor<InstanceState>, ends: &Ends, context: &mut Context<'_>) -> Poll<()> {
    let tasks = accessor.poll_no_interesting_tasks(context);
    let streams = ends.poll_returned(context);
    if tasks.is_ready() { streams } else { Poll::Pending }
}

/// Returns whether a guest of the store has something left to do, such as an `async func` that went on after it had returned, or has left a
/// stream or future open that another compartment writes or reads.
async fn is_busy(store: &mut Store<InstanceState>) -> wasmtime::Result<bool> {
    if store.data().ends().open() > 0 {
        return Ok(true);
    }
    let looked = async |accessor: &Accessor<InstanceState>| {
        poll_fn(|context| Poll::Ready(accessor.poll_no_interesting_tasks(context).is_pending())).await
    };
    store.run_concurrent(looked).await
}

/// Polls one call: measures the time of each poll, and offloads long ones.
#[derive(Clone, Copy)]
pub(super) struct PollDriver<'a> {
    history: &'a OffloadHistory,
    /// Whether the call runs inside a poll of another compartment's call.
    is_nested: bool,
    metrics: &'a CompartmentMetrics,
}

impl<'a> PollDriver<'a> {
    /// Prepares the polls of a call of a function, or of the start of an instance. `history` says how long such polls were before.
    pub(super) fn of(history: &'a OffloadHistory, call: &CallContext, metrics: &'a CompartmentMetrics) -> Self {
        Self { history, is_nested: call.is_nested, metrics }
    }

    /// Polls `work` until `deadline` and counts its processor time, also for `payer`. The epoch stops a guest that computes; this deadline
    /// stops one that waits in the host.
    async fn run_until<T>(
        self,
        deadline: &Deadline,
        payer: Option<&CpuAccount>,
        cpu: &CpuMeter,
        work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        // Created only when a call first waits: most calls never do, and a timer costs time and memory.
        let mut late = None;
        self.run(|context| deadline.poll_passed(&mut late, context), payer, cpu, work).await
    }

    /// Polls `work` until it is ready, or until `is_ended` is, and counts its processor time, also for `payer`.
    async fn run<T>(
        self,
        mut is_ended: impl FnMut(&mut Context<'_>) -> Poll<()>,
        payer: Option<&CpuAccount>,
        cpu: &CpuMeter,
        mut work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        if self.history.needs_exact_time() {
            cpu.measure_exactly();
        }
        let mut turn = OffloadClaim::new(!self.is_nested);
        poll_fn(|context| {
            let step = |context: &mut Context<'_>| {
                cpu.start_poll();
                let polled = work.as_mut().poll(context);
                let spent = cpu.end_poll();
                if let Some(payer) = payer {
                    payer.charge(spent.time);
                }
                if self.history.record(spent) {
                    self.metrics.count_long_step();
                }
                polled
            };
            if let Poll::Ready(Poll::Ready(done)) = self.history.poll(&mut turn, context, step) {
                return Poll::Ready(done);
            }
            is_ended(context).map(|()| Err(wasmtime::Trap::Interrupt.into()))
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use watertight_telemetry::Telemetry;

    /// Work that is always ready spends Tokio's cooperative budget, which timers need too. The deadline must still stop it.
    #[tokio::test]
    async fn what_never_runs_out_of_work_ends_in_time() {
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        let (cpu, steps) = (CpuMeter::new(), OffloadHistory::default());
        let metrics = &Telemetry::new().compartment(&"a".parse().unwrap());
        let work = PollDriver { history: &steps, is_nested: false, metrics };
        let bounded =
            work.run_until::<()>(&(Instant::now() + Duration::from_millis(50)).into(), None, &cpu, pin!(busy)).await;
        assert!(bounded.is_err_and(|error| error.is::<wasmtime::Trap>()));
    }
}
