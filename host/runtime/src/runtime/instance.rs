//! One set of instances of a compartment, in a store of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Sleep, sleep_until};
use wasmtime::component::{Func, Instance, InstancePre, Val};
use wasmtime::{Store, UpdateDeadline};

use super::steps::{Steps, Turn};
use crate::link::{Export, FunctionIndex};
use crate::store::{CallContext, Cpu, Failure, InstanceState, LimitHit};
use watertight_model::config::Limits;
use watertight_telemetry::CompartmentMetrics;

/// What ended a call, or a start, before it gave a result.
pub(super) struct Ended {
    /// In Wasmtime's words.
    pub(super) error: wasmtime::Error,
    /// The limit that was met, where one was.
    pub(super) limit: Option<LimitHit>,
    /// What the guest said of it.
    pub(super) failure: Option<Failure>,
}

impl Ended {
    /// With what the store knows of it.
    pub(super) fn of(error: wasmtime::Error, state: &InstanceState) -> Self {
        Self { error, limit: state.limit_hit(), failure: state.failure().cloned() }
    }
}

/// Instances that a call runs on.
pub(super) struct Live {
    store: Store<InstanceState>,
    cpu: Arc<Cpu>,
    instance: Instance,
    functions: Vec<Option<Func>>,
    /// How many calls it has served.
    pub(super) calls: u32,
    /// How often idle instances had been looked for when it last served one.
    pub(super) used: u64,
}

impl Live {
    /// Instantiates every module of a compartment in the store that `state` is for. Their start functions run under the call's
    /// deadline.
    pub(super) async fn start(
        pre: &InstancePre<InstanceState>,
        exports: usize,
        limits: &Limits,
        state: InstanceState,
        work: Work<'_>,
    ) -> Result<Self, Ended> {
        let (deadline, cpu) = (state.call().deadline, state.cpu().clone());
        let mut store = Store::new(pre.engine(), state);
        store.limiter(InstanceState::limiter);
        store.set_max_component_handles(limits.handles as usize);
        store.set_hostcall_fuel(usize::try_from(limits.transfer).unwrap_or(usize::MAX));
        store.epoch_deadline_callback(|mut context| {
            if context.data_mut().tick() {
                return Ok(UpdateDeadline::Interrupt);
            }
            // Not a plain self-wake: that would be polled again before the sockets are.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        let instance = work.bounded(deadline, &cpu, pin!(pre.instantiate_async(&mut store))).await;
        match instance {
            Ok(instance) => {
                let functions = vec![None; exports];
                Ok(Self { store, cpu, instance, functions, calls: 0, used: 0 })
            }
            Err(error) => Err(Ended::of(error, store.data())),
        }
    }

    /// The host's side.
    pub(super) fn state(&self) -> &InstanceState {
        self.store.data()
    }

    /// Lets go of the generation that the last call ran on.
    pub(super) fn leave_generation(&mut self) {
        self.store.data_mut().leave_generation();
    }

    /// Takes up a call.
    pub(super) fn begin(&mut self, call: CallContext) {
        self.store.data_mut().begin_call(call);
        self.store.set_epoch_deadline(1);
    }

    /// Calls a function, for the call that was taken up. On an error, or when dropped before the end, the instances are spoilt.
    pub(super) async fn call(
        &mut self,
        export: &Export,
        place: FunctionIndex,
        parameters: &[Val],
        work: Work<'_>,
    ) -> wasmtime::Result<Option<Val>> {
        let deadline = self.state().call().deadline;
        let function = self.function(export, place)?;
        let mut result = [Val::Bool(false)];
        {
            let results = if export.returns { &mut result[..] } else { &mut [] };
            let store = &mut self.store;
            let called = pin!(async move {
                function.call_async(&mut *store, parameters, results).await?;
                store.data_mut().end_call().await.map_err(wasmtime::Error::from)
            });
            work.bounded(deadline, &self.cpu, called).await?;
        }
        self.calls += 1;
        let [value] = result;
        Ok(export.returns.then_some(value))
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

/// What is known, and counted, of the work of one function.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    steps: &'a Steps,
    /// Whether its steps are made within those of another call.
    is_nested: bool,
    metrics: &'a CompartmentMetrics,
}

impl<'a> Work<'a> {
    /// Of a function, or of a start, for that call.
    pub(super) fn of(steps: &'a Steps, call: &CallContext, metrics: &'a CompartmentMetrics) -> Self {
        Self { steps, is_nested: call.is_nested, metrics }
    }

    /// Does `work` until `deadline`, and counts its processor time. Epochs stop a guest that computes; this stops one that waits in the host.
    async fn bounded<T>(
        self,
        deadline: Instant,
        cpu: &Cpu,
        mut work: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        if self.steps.are_watched() {
            cpu.watch();
        }
        let mut turn = Turn::new(!self.is_nested);
        // Most calls never wait. Made for those that do, a timer costs the others neither time nor room.
        let mut late: Option<Pin<Box<Unconstrained<Sleep>>>> = None;
        poll_fn(|context| {
            let step = |context: &mut Context<'_>| {
                cpu.poll();
                let polled = work.as_mut().poll(context);
                if self.steps.note(cpu.pause()) {
                    self.metrics.took_a_long_step();
                }
                polled
            };
            if let Poll::Ready(Poll::Ready(done)) = self.steps.poll(&mut turn, context, step) {
                return Poll::Ready(done);
            }
            // Tokio lets a task do so much in one poll, timers included. Work that uses it up each time must not keep the timer from being
            // seen.
            let late = late.get_or_insert_with(|| Box::pin(unconstrained(sleep_until(deadline.into()))));
            late.as_mut().poll(context).map(|()| Err(wasmtime::Trap::Interrupt.into()))
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use watertight_telemetry::Telemetry;

    /// What always has something to do uses up what tokio lets a task do in one poll, and a timer counts as doing, too.
    #[tokio::test]
    async fn what_never_runs_out_of_work_ends_in_time() {
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        let (cpu, steps) = (Cpu::new(), Steps::default());
        let metrics = &Telemetry::new().compartment(&"a".parse().unwrap());
        let work = Work { steps: &steps, is_nested: false, metrics };
        let bounded = work.bounded::<()>(Instant::now() + Duration::from_millis(50), &cpu, pin!(busy)).await;
        assert!(bounded.is_err_and(|error| error.is::<wasmtime::Trap>()));
    }
}
