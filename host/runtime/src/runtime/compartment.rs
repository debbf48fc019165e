//! Runs the calls of one compartment: admits a call, gives it an instance, and handles its failure.
//!
//! A trap leaves a store in an unknown state, so the store is dropped and serves no other call (invariant 6 of ARCHITECTURE.md).

mod explain;
mod lease;
mod shared;
mod stand_in;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::TryFutureExt as _;
use wasmtime::component::{InstancePre, Val};

use super::admission::{Admission, AdmissionError, AdmissionTable, CallStats};
use super::instance::{CallEnd, PollDriver, PooledInstance};
use crate::link::{Export, FunctionIndex, FusedCalls, Linked};
use watertight_component::profile::Profile;
use watertight_engine::offload::OffloadHistory;
use watertight_graph::graph;
use watertight_json::EncodeError;
use watertight_model::config::{InstanceMode, Instances, Limits};
use watertight_model::ids::{CompartmentName, Digest, ModuleName};
use watertight_store::{
    CallContext, CallError, CallResult, CalleeRequest, InstanceState, MetLimit, ModuleData, TimeLimit,
};
use watertight_telemetry::table::{DropReason, LimitKind};
use watertight_telemetry::{CompartmentMetrics, LineRateLimit, Telemetry, Trace};

pub use lease::Lease;
use shared::SharedInstances;
pub(super) use shared::{Begin, EarlyEnd, SharedEnd, SharedRequest};
use stand_in::Substitute;

/// The memory above which an instance is dropped after a call instead of being kept, in bytes.
const KEEP_MEMORY: usize = 64 << 20;
/// The shortest time between two searches for idle instances.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Counters since the compartment's start. Every instance made is in use, warm (it waits for its next call) or dropped.
#[derive(Debug, Default)]
pub struct Counters {
    made: AtomicU64,
    dropped: AtomicU64,
    calls: AtomicU64,
    running: AtomicUsize,
    /// Has a clone for each instance that starts.
    starts: Arc<()>,
}

/// The instances of a compartment at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct InstanceStats {
    /// Instances that wait for their next call.
    pub warm: usize,
    /// Memory of the guests in those that no request shares, in bytes.
    pub memory: u64,
    /// Instances made since the start.
    pub made: u64,
    /// Instances dropped since the start: after a trap, after their last call, or idle for too long.
    pub dropped: u64,
    /// Calls that were admitted.
    pub calls: u64,
    /// Calls that run now.
    pub running: usize,
}

/// A compartment of one generation: modules that share a Wasmtime store in each call, with their warm instances.
pub struct Compartment {
    name: CompartmentName,
    /// The digest of everything that the code was linked from.
    identity: Digest,
    pre: InstancePre<InstanceState>,
    profile: Profile,
    exports: Arc<[Export]>,
    fused: Arc<[FusedCalls]>,
    modules: Arc<[ModuleData]>,
    /// What answers the calls in the place of the only module's code. `None` for modules that run.
    substitute: Option<Substitute>,
    instances: Instances,
    limits: Limits,
    /// What decides when a call of a module may run, in the order of the modules.
    admissions: Vec<Arc<Admission>>,
    warm: Mutex<Vec<PooledInstance>>,
    shared: SharedInstances,
    /// The number of searches for idle instances so far. It dates the last use of an instance, so that no call needs to read a clock.
    sweeps: AtomicU64,
    /// Whether a newer generation is current, so that the calls of this one will end.
    retired: AtomicBool,
    counters: Counters,
    metrics: CompartmentMetrics,
    /// The history of long computations of each exported function, in the order of their [`FunctionIndex`].
    offload_histories: Box<[OffloadHistory]>,
    /// The history of long computations while instances start.
    start_history: OffloadHistory,
    traps: LineRateLimit,
    /// Limits the number of log lines about exceeded limits. The logs of instances share it.
    limited: Arc<LineRateLimit>,
}

impl Compartment {
    /// Creates a compartment from its linked code. In mode `reuse`, starts the task that drops idle instances; it ends with the
    /// compartment.
    ///
    /// Must run inside a tokio runtime.
    pub fn new(
        plan: &graph::Compartment,
        linked: Linked,
        modules: Arc<[ModuleData]>,
        admissions: &AdmissionTable,
        telemetry: &Telemetry,
    ) -> Arc<Self> {
        let compartment = Arc::new(Self {
            name: plan.name.clone(),
            substitute: Substitute::find(&linked, &modules),
            identity: linked.identity,
            pre: linked.pre,
            profile: linked.profile,
            offload_histories: linked.exports.iter().map(|_| OffloadHistory::default()).collect(),
            start_history: OffloadHistory::default(),
            exports: linked.exports,
            fused: linked.fused,
            admissions: modules.iter().map(|module| admissions.of(&module.name, &plan.limits)).collect(),
            modules,
            instances: plan.instances,
            limits: plan.limits,
            warm: Mutex::default(),
            shared: SharedInstances::default(),
            sweeps: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            counters: Counters::default(),
            metrics: telemetry.compartment(&plan.name),
            traps: LineRateLimit::default(),
            limited: Arc::default(),
        });
        if plan.instances.mode == InstanceMode::Reuse {
            tokio::spawn(drop_idle(Arc::downgrade(&compartment), plan.instances.idle));
        }
        compartment
    }

    /// Returns the compartment's name.
    pub fn name(&self) -> &CompartmentName {
        &self.name
    }

    /// Returns the digest of everything that the code was linked from. Equal digests mean equal code.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// Returns the limits of the compartment's calls.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the resources of the compartment's modules, in the order of the modules.
    pub fn modules(&self) -> &[ModuleData] {
        &self.modules
    }

    /// Returns the compartment's metrics. Compartments of one name share metrics, over all generations.
    pub fn metrics(&self) -> &CompartmentMetrics {
        &self.metrics
    }

    /// Returns how many instances the compartment has, by their state.
    pub fn stats(&self) -> InstanceStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let memory = self.warm().iter().map(|instance| instance.state().memory() as u64).sum();
        InstanceStats {
            warm: self.warm().len() + self.shared.unused(),
            memory,
            made: read(&self.counters.made),
            dropped: read(&self.counters.dropped),
            calls: read(&self.counters.calls),
            running: self.running(),
        }
    }

    /// Returns how many instances there are, with those that start.
    fn alive(&self) -> u64 {
        let Counters { made, dropped, starts, .. } = &self.counters;
        let made = made.load(Ordering::Relaxed) + (Arc::strong_count(starts) - 1) as u64;
        made.saturating_sub(dropped.load(Ordering::Relaxed))
    }

    /// Returns how many instances are missing to those that `instances.warm` asks for. A retired compartment needs none.
    pub(super) fn missing(&self) -> u64 {
        let wanted = if self.retired.load(Ordering::Relaxed) { 0 } else { u64::from(self.instances.warm) };
        wanted.saturating_sub(self.alive())
    }

    fn running(&self) -> usize {
        self.counters.running.load(Ordering::Relaxed)
    }

    /// Makes the compartment's limits those on how many calls of its modules run and wait.
    pub(super) fn apply_limits(&self) {
        self.admissions.iter().for_each(|admission| admission.resize(&self.limits));
    }

    /// Returns the numbers of running and waiting calls of a module. Returns `None` if the module is not in this compartment.
    pub fn calls(&self, module: &ModuleName) -> Option<CallStats> {
        let place = self.modules.iter().position(|data| data.name == *module)?;
        Some(self.admissions[place].stats())
    }

    /// Marks the compartment as retired: from now on it keeps only as many warm instances as calls run, because the next generation needs
    /// the memory. Blocks for milliseconds while it frees the other instances.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        let needed = self.running();
        let spare = {
            let mut warm = self.warm();
            let start = needed.min(warm.len());
            warm.split_off(start)
        };
        self.count_dropped(DropReason::Retired, spare.len());
        self.shared.retire();
    }

    /// Lowers the limits of `call` to those of this compartment, where these are lower.
    fn lower_limits(&self, call: &mut CallContext) {
        call.cpu = call.cpu.min(self.limits.cpu);
        call.log = call.log.min(self.limits.log);
        call.concurrent_calls = call.concurrent_calls.at_least(self.limits.request);
    }

    /// Makes an instance before the first call needs one. This also shows whether the modules start.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if a module does not start or there is no room for the instance.
    pub async fn warm_up(&self, mut call: CallContext) -> Result<(), CallError> {
        if self.substitute.is_some() {
            return Ok(());
        }
        self.lower_limits(&mut call);
        let instance = self.start(call).await?;
        self.put_back(instance);
        Ok(())
    }

    /// Calls a function. The call has an instance to itself until the function returns.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the call gives no result.
    pub fn call<'a>(
        self: &'a Arc<Self>,
        place: FunctionIndex,
        parameters: &'a [Val],
        call: CallContext,
    ) -> impl Future<Output = CallResult> + Send + 'a {
        // Not an async function, because each such wrapper would store the call's context once more in its future.
        let run = async move {
            if let Some(substitute) = &self.substitute {
                return Box::pin(self.substitute(substitute, place, parameters, call)).await;
            }
            let lease = self.admit(place, call).await?;
            let (result, lease) = lease.call(parameters).await?;
            lease.put_back();
            Ok(result)
        };
        run.inspect_err(|error: &CallError| self.metrics.count_failure(error.kind()))
    }

    /// Serves a call that another compartment has made from a task of its own. Answers the request as soon as there is an answer, and returns
    /// when the call has ended. Both can be apart if values of the call stream.
    pub async fn serve(self: &Arc<Self>, place: FunctionIndex, request: CalleeRequest, call: CallContext) {
        if let Some(substitute) = &self.substitute {
            return Box::pin(self.serve_substitute(substitute, place, request, call)).await;
        }
        let CalleeRequest { function, parameters, answer } = request;
        let mut answer = Some(answer);
        let served = async {
            let mut lease = self.admit(place, call).await?;
            let called = lease.call_streaming(&function, parameters, &mut answer).await;
            let (result, lease) = lease.finish(called)?;
            lease.put_back();
            Ok(result)
        };
        let result = served.await.inspect_err(|error: &CallError| self.metrics.count_failure(error.kind()));
        // A caller that got its result has learned a later failure from its streams.
        if let (Some(answer), Some(result)) = (answer, result.transpose()) {
            // This fails if the caller has gone.
            let _ = answer.send(result);
        }
    }

    /// Admits a call of a function and gives it an instance to itself, for as long as the lease lives.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the queue of the function's module is full, if the deadline passes while the call waits, or if no instance
    /// can be made.
    pub async fn admit(self: &Arc<Self>, place: FunctionIndex, mut call: CallContext) -> Result<Lease, CallError> {
        self.lower_limits(&mut call);
        let mut lease = self.admit_without_instance(place, &call).await?;
        lease.instance = self.warm().pop();
        if lease.instance.is_none() {
            // Boxed because starting is rare: inline it would double the size of the call's future.
            lease.instance = Some(Box::pin(self.start(call.clone())).await?);
        }
        lease.instance().begin(call);
        Ok(lease)
    }

    async fn admit_without_instance(
        self: &Arc<Self>,
        place: FunctionIndex,
        call: &CallContext,
    ) -> Result<Lease, CallError> {
        let module = usize::from(self.exports[place.0 as usize].module.0);
        match self.admissions[module].admit(call.deadline.time()).await {
            Ok(permit) => Ok(Lease::new(self.clone(), place, permit)),
            Err(refused) => Err(self.refused(&refused, place, call)),
        }
    }

    /// Runs blocking work on a result of the function with the index `place`.
    pub(super) fn offload<T>(&self, place: FunctionIndex, work: impl FnOnce() -> T) -> T {
        self.offload_histories[place.0 as usize].run_now(work)
    }

    /// Counts the limits that the call met without being ended by them.
    fn report_limits(&self, state: &InstanceState) {
        if state.met_log_limit() {
            self.metrics.count_limit(LimitKind::Log);
        }
        let CallContext { request, trace, .. } = state.call();
        for MetLimit { module, kind, text } in state.met_limits() {
            self.report_limit(*kind, text, &state.module(*module).name, request, trace);
        }
    }

    /// Counts and logs that a call of the function with the index `place` was refused memory and went on without it.
    fn report_hit(&self, state: &InstanceState, place: FunctionIndex) {
        if let Some(hit) = state.limit_hit() {
            let CallContext { request, trace, .. } = state.call();
            let told = format_args!("a limit was met: {hit}");
            self.report_limit(hit.kind(), &told, &self.module(place).name, request, trace);
        }
    }

    /// Counts and logs a limit that did not end its call.
    fn report_limit(
        &self,
        kind: LimitKind,
        limit: &dyn std::fmt::Display,
        module: &ModuleName,
        request: &str,
        trace: &Trace,
    ) {
        self.metrics.count_limit(kind);
        self.warn(limit, module, request, trace);
    }

    /// Logs what a handler did wrong in a call. `place` is the index of its function.
    pub(super) fn warn_about(&self, place: FunctionIndex, what: &dyn std::fmt::Display, call: &CallContext) {
        if let Some(unwritten) = self.limited.try_acquire() {
            let (compartment, module, request) = (&self.name, &self.module(place).name, &*call.request);
            let trace = call.trace.id();
            tracing::warn!(target: "handler", %compartment, %module, request, %trace, unwritten, "{what}");
        }
    }

    fn warn(&self, what: &dyn std::fmt::Display, module: &ModuleName, request: &str, trace: &Trace) {
        if let Some(unwritten) = self.limited.try_acquire() {
            let (compartment, trace) = (&self.name, trace.id());
            tracing::warn!(target: "limit", %compartment, %module, request, %trace, unwritten, "{what}");
        }
    }

    /// Counts and logs that the body of a request for the function with the index `place` exceeded its limit.
    pub(super) fn report_large_body(&self, place: FunctionIndex, request: &str, trace: &Trace) {
        let told = format_args!("a limit was met: a request's body has more than {} bytes", self.limits.body);
        self.report_limit(LimitKind::Body, &told, &self.module(place).name, request, trace);
    }

    /// Logs that a result of the function cannot be written as JSON. If the result is too large, counts that as an exceeded limit.
    pub(super) fn report_unencodable_result(
        &self,
        place: FunctionIndex,
        error: &EncodeError,
        request: &str,
        trace: &Trace,
    ) {
        if matches!(error, EncodeError::TooLarge { .. }) {
            self.metrics.count_limit(LimitKind::Result);
        }
        self.warn(&format_args!("a result can't be written: {error}"), &self.module(place).name, request, trace);
    }

    /// Returns the module that exports the function with the index `place`.
    fn module(&self, place: FunctionIndex) -> &ModuleData {
        &self.modules[usize::from(self.exports[place.0 as usize].module.0)]
    }

    /// Converts a refusal of admission to a [`CallError`], and logs it. `place` is the index of the called function.
    fn refused(&self, refused: &AdmissionError, place: FunctionIndex, call: &CallContext) -> CallError {
        let module = &self.module(place).name;
        let error = match refused {
            AdmissionError::QueueFull => {
                let admission = &self.admissions[usize::from(self.exports[place.0 as usize].module.0)];
                CallError::QueueFull { module: module.clone(), limit: admission.queue() }
            }
            AdmissionError::Deadline => self.deadline_error(place),
        };
        self.warn(&error, module, &call.request, &call.trace);
        error
    }

    /// Returns the error of a call that has passed the time of a request. `place` is the index of the called function.
    pub(super) fn deadline_error(&self, place: FunctionIndex) -> CallError {
        let limit = TimeLimit::Request(self.limits.request);
        CallError::Deadline { module: Some(self.module(place).name.clone()), limit }
    }

    /// Returns the error of a call whose instance another request has ended. `place` is the index of the called function.
    pub(super) fn neighbour_error(&self, place: FunctionIndex) -> CallError {
        CallError::Neighbour { module: self.module(place).name.clone() }
    }

    /// Keeps an instance for the next call. Drops it instead if the instance mode, its number of calls, its memory or the compartment's
    /// retirement demands that.
    fn put_back(&self, mut instance: PooledInstance) {
        let Instances { mode, max_calls, .. } = self.instances;
        instance.leave_generation();
        let why = match () {
            () if mode == InstanceMode::Fresh || instance.is_busy => DropReason::Fresh,
            () if instance.calls >= max_calls.get() => DropReason::MaxCalls,
            () if instance.state().memory() > KEEP_MEMORY => DropReason::Memory,
            () if self.is_crowded() => DropReason::Retired,
            () => {
                instance.last_used = self.sweeps.load(Ordering::Relaxed);
                self.warm().push(instance);
                return;
            }
        };
        self.count_dropped(why, 1);
    }

    /// Returns whether the compartment is retired and has enough warm instances for the calls that still run.
    fn is_crowded(&self) -> bool {
        self.retired.load(Ordering::Relaxed) && self.warm().len() >= self.running()
    }

    fn count_dropped(&self, why: DropReason, instances: usize) {
        self.counters.dropped.fetch_add(instances as u64, Ordering::Relaxed);
        self.metrics.count_dropped(why, instances);
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, Vec<PooledInstance>> {
        // A poisoned mutex is used all the same: pushing and popping keep the list consistent.
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, call: CallContext) -> Result<PooledInstance, CallError> {
        let memory = usize::try_from(self.limits.memory).unwrap_or(usize::MAX);
        let state = InstanceState::new(self.modules.clone(), memory, self.profile, call.clone(), self.limited.clone());
        let work = PollDriver::of(&self.start_history, &call, &self.metrics);
        let room = watertight_engine::check_room(self.pre.engine(), self.profile, self.alive());
        let _start = self.counters.starts.clone();
        let started = match room {
            Ok(()) => {
                PooledInstance::start(&self.pre, self.exports.len(), &self.limits, self.profile, state, work).await
            }
            Err(error) => Err(CallEnd::of(error, &state)),
        };
        let instance = started.map_err(|ended| self.explain(&ended, &call, None))?;
        self.counters.made.fetch_add(1, Ordering::Relaxed);
        self.metrics.count_created();
        Ok(instance)
    }
}

impl Drop for Compartment {
    fn drop(&mut self) {
        let kept = self.warm().len() + self.shared.len();
        self.count_dropped(DropReason::Retired, kept);
    }
}

/// Drops instances that have been idle for `idle`, until the compartment is gone.
///
/// It searches every `idle / 2`, but at most every [`MIN_SWEEP_INTERVAL`]. The idle time is rounded up to whole pauses between searches. An instance
/// is dropped at the latest one pause after that time.
async fn drop_idle(compartment: Weak<Compartment>, idle: Duration) {
    let pause = (idle / 2).max(MIN_SWEEP_INTERVAL);
    let unused = u64::try_from(idle.as_nanos().div_ceil(pause.as_nanos())).unwrap_or(u64::MAX);
    for look in 1.. {
        tokio::time::sleep(pause).await;
        let Some(compartment) = compartment.upgrade() else { return };
        compartment.sweeps.store(look, Ordering::Relaxed);
        // Taken out under one lock, so that no call finds the list empty during the search. Dropped afterwards, because freeing memory is
        // slow.
        let idle: Vec<PooledInstance> = {
            let mut warm = compartment.warm();
            let spare = warm.len().saturating_sub(compartment.instances.warm as usize);
            // The instances are in the order of their last use.
            let idle = warm.partition_point(|instance| look - instance.last_used > unused).min(spare);
            warm.drain(..idle).collect()
        };
        compartment.count_dropped(DropReason::Idle, idle.len());
    }
}
