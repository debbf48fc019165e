//! A compartment at work: admits calls, gives each an instance, and tells failures apart.
//!
//! A trap spoils its store, so the store is dropped: nothing of it serves another call (invariant 6).

mod explain;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::TryFutureExt as _;
use wasmtime::component::{InstancePre, Val};

use super::admission::{Admission, Admissions, CallStats, Refused};
use super::instance::{Ended, Live, Work};
use super::steps::Steps;
use crate::link::{Export, FunctionIndex, FusedCalls, Linked};
use crate::store::{CallContext, CallError, CallResult, InstanceState, ModuleData, kind_of};
use watertight_component::profile::Profile;
use watertight_graph::graph;
use watertight_json::EncodeError;
use watertight_model::config::{InstanceMode, Instances, Limits};
use watertight_model::ids::{CompartmentName, Digest, ModuleName};
use watertight_telemetry::table::{Failed, Limited, Thrown};
use watertight_telemetry::{CompartmentMetrics, LineBudget, Telemetry, Trace};

/// An instance that holds more memory than this after a call is not kept.
const KEEP_MEMORY: usize = 64 << 20;
/// How often idle instances are looked for at most.
const MIN_LOOK: Duration = Duration::from_millis(100);

/// Counts since the compartment started. What was made is at work, warm or dropped: nothing is lost, however a call ends.
#[derive(Debug, Default)]
pub struct Counters {
    made: AtomicU64,
    dropped: AtomicU64,
    calls: AtomicU64,
    running: AtomicUsize,
}

/// What the instances of a compartment are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct InstanceStats {
    /// Kept for the next call.
    pub warm: usize,
    /// Made since the start.
    pub made: u64,
    /// Thrown away since the start: after a trap, its last call, or idle.
    pub dropped: u64,
    /// Calls that got an instance.
    pub calls: u64,
    /// At work now.
    pub running: usize,
}

/// The modules that share a store per call.
pub struct Compartment {
    name: CompartmentName,
    /// What its code was linked from.
    identity: Digest,
    pre: InstancePre<InstanceState>,
    profile: Profile,
    exports: Arc<[Export]>,
    fused: Arc<[FusedCalls]>,
    modules: Arc<[ModuleData]>,
    instances: Instances,
    limits: Limits,
    /// Those of its modules, in their order.
    admissions: Vec<Arc<Admission>>,
    warm: Mutex<Vec<Live>>,
    /// How often idle instances were looked for: what tells how long ago one was used, since no call should have to read a clock for that.
    looks: AtomicU64,
    /// Whether another generation has taken over, so that there will be fewer and fewer calls.
    retired: AtomicBool,
    counters: Counters,
    metrics: CompartmentMetrics,
    /// What is known of its functions, by their places.
    steps: Box<[Steps]>,
    /// And of starts.
    start_steps: Steps,
    traps: LineBudget,
    /// Of lines about limits. Its instances tell of their log's themselves.
    limited: Arc<LineBudget>,
}

impl Compartment {
    /// Takes over what linking made. Starts the task that drops idle instances; it ends with the compartment.
    pub fn new(
        plan: &graph::Compartment,
        linked: Linked,
        modules: Arc<[ModuleData]>,
        admissions: &Admissions,
        telemetry: &Telemetry,
    ) -> Arc<Self> {
        let compartment = Arc::new(Self {
            name: plan.name.clone(),
            identity: linked.identity,
            pre: linked.pre,
            profile: linked.profile,
            steps: linked.exports.iter().map(|_| Steps::default()).collect(),
            start_steps: Steps::default(),
            exports: linked.exports,
            fused: linked.fused,
            admissions: modules.iter().map(|module| admissions.of(&module.name, &plan.limits)).collect(),
            modules,
            instances: plan.instances,
            limits: plan.limits,
            warm: Mutex::default(),
            looks: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            counters: Counters::default(),
            metrics: telemetry.compartment(&plan.name),
            traps: LineBudget::default(),
            limited: Arc::default(),
        });
        if plan.instances.mode == InstanceMode::Reuse {
            tokio::spawn(drop_idle(Arc::downgrade(&compartment), plan.instances.idle));
        }
        compartment
    }

    /// Its name.
    pub fn name(&self) -> &CompartmentName {
        &self.name
    }

    /// What its code was linked from: where it is the same, the code is.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// What its calls may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What its modules have.
    pub fn modules(&self) -> &[ModuleData] {
        &self.modules
    }

    /// What counts for it and for those of its name in other generations.
    pub fn metrics(&self) -> &CompartmentMetrics {
        &self.metrics
    }

    /// What its instances are doing.
    pub fn stats(&self) -> InstanceStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        InstanceStats {
            warm: self.warm().len(),
            made: read(&self.counters.made),
            dropped: read(&self.counters.dropped),
            calls: read(&self.counters.calls),
            running: self.running(),
        }
    }

    fn running(&self) -> usize {
        self.counters.running.load(Ordering::Relaxed)
    }

    /// Has admission hold to its limits.
    pub(super) fn hold_to_limits(&self) {
        self.admissions.iter().for_each(|admission| admission.resize(&self.limits));
    }

    /// What the calls of one of its modules are doing.
    pub fn calls(&self, module: &ModuleName) -> Option<CallStats> {
        let place = self.modules.iter().position(|data| data.name == *module)?;
        Some(self.admissions[place].stats())
    }

    /// Keeps from now on only as many instances as calls run, since the next generation needs their room. Freeing the others takes a
    /// while.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        let needed = self.running();
        let spare = {
            let mut warm = self.warm();
            let start = needed.min(warm.len());
            warm.split_off(start)
        };
        self.count_dropped(Thrown::Retired, spare.len());
    }

    /// What a call may use here, of what its caller leaves it.
    fn bound(&self, call: &mut CallContext) {
        call.cpu = call.cpu.min(self.limits.cpu);
        call.log = call.log.min(self.limits.log);
        call.under_way = call.under_way.or(self.limits.request);
    }

    /// Makes an instance before the first call needs one. Also shows whether the modules start at all.
    pub async fn warm_up(&self, mut call: CallContext) -> Result<(), CallError> {
        self.bound(&mut call);
        self.start(call).await?.put_back();
        Ok(())
    }

    /// Calls a function on an instance of its own until it returns.
    pub fn call(
        &self,
        place: FunctionIndex,
        parameters: &[Val],
        call: CallContext,
    ) -> impl Future<Output = CallResult> + Send {
        // Each async function around another one would have room for the call's context of its own.
        self.run(place, parameters, call).inspect_err(|error| self.metrics.failed(error.kind()))
    }

    async fn run(&self, place: FunctionIndex, parameters: &[Val], mut call: CallContext) -> CallResult {
        self.bound(&mut call);
        let export = &self.exports[place.0 as usize];
        let module = usize::from(export.module.0);
        let _place = match self.admissions[module].admit(call.deadline).await {
            Ok(place) => place,
            Err(refused) => return Err(self.refused(&refused, place, &call)),
        };
        let _running = Running::enter(&self.counters);
        let warm = self.warm().pop();
        let mut lease = match warm {
            Some(live) => Lease::new(self, live),
            // Boxed: starting is rare, and its state alone would double what each call allocates for its own.
            None => Box::pin(self.start(call.clone())).await?,
        };
        let work = Work::of(&self.steps[place.0 as usize], &call, &self.metrics);
        lease.live().begin(call);
        let called = lease.live().call(export, place, parameters, work).await;
        self.note_limits(lease.live().state());
        match called {
            Ok(result) => {
                // Who was refused more memory and made do with what there was met its limit all the same.
                if let Some(hit) = lease.live().state().limit_hit() {
                    let CallContext { request, trace, .. } = lease.live().state().call();
                    let told = format_args!("a limit was met: {hit}");
                    self.note_limit(hit.kind(), &told, &self.module(place).name, request, trace);
                }
                lease.put_back();
                Ok(result)
            }
            Err(error) => {
                let state = lease.live().state();
                let error = self.explain(&Ended::of(error, state), state.call(), Some(place));
                lease.throw_away(match error.kind() {
                    Failed::Limit => Thrown::Limit,
                    Failed::Deadline => Thrown::Deadline,
                    Failed::Callee => Thrown::Callee,
                    Failed::Trap | Failed::Exit | Failed::QueueFull | Failed::NoRoom => Thrown::Trap,
                });
                Err(error)
            }
        }
    }

    /// Does in one piece what is to be done with a result of the function.
    pub(super) fn step<T>(&self, place: FunctionIndex, work: impl FnOnce() -> T) -> T {
        self.steps[place.0 as usize].make(work)
    }

    /// Counts the limits that a call met and went on.
    fn note_limits(&self, state: &InstanceState) {
        if state.met_log_limit() {
            self.metrics.limited(Limited::Log);
        }
        let CallContext { request, trace, .. } = state.call();
        for (module, limit) in state.sql_limits() {
            self.note_limit(kind_of(&limit), &limit, module, request, trace);
        }
    }

    /// Counts a limit that ended no call, and logs it.
    fn note_limit(
        &self,
        kind: Limited,
        limit: &dyn std::fmt::Display,
        module: &ModuleName,
        request: &str,
        trace: &Trace,
    ) {
        self.metrics.limited(kind);
        self.warn(limit, module, request, trace);
    }

    fn warn(&self, what: &dyn std::fmt::Display, module: &ModuleName, request: &str, trace: &Trace) {
        if let Some(unwritten) = self.limited.take() {
            let (compartment, trace) = (&self.name, trace.id());
            tracing::warn!(target: "limit", %compartment, %module, request, %trace, unwritten, "{what}");
        }
    }

    /// Counts and logs that the body of a request for the function was larger than it may be.
    pub(super) fn body_too_large(&self, place: FunctionIndex, request: &str, trace: &Trace) {
        let told = format_args!("a limit was met: a request's body has more than {} bytes", self.limits.body);
        self.note_limit(Limited::Body, &told, &self.module(place).name, request, trace);
    }

    /// Logs that a result of the function can't be written as JSON, and counts it where it is too large.
    pub(super) fn unwritable(&self, place: FunctionIndex, error: &EncodeError, request: &str, trace: &Trace) {
        if matches!(error, EncodeError::TooLarge { .. }) {
            self.metrics.limited(Limited::Result);
        }
        self.warn(&format_args!("a result can't be written: {error}"), &self.module(place).name, request, trace);
    }

    /// The module whose function it is.
    fn module(&self, place: FunctionIndex) -> &ModuleData {
        &self.modules[usize::from(self.exports[place.0 as usize].module.0)]
    }

    /// Tells why a call was not let in, and logs it.
    fn refused(&self, refused: &Refused, place: FunctionIndex, call: &CallContext) -> CallError {
        let module = &self.module(place).name;
        let error = match refused {
            Refused::Full => {
                let admission = &self.admissions[usize::from(self.exports[place.0 as usize].module.0)];
                CallError::QueueFull { module: module.clone(), limit: admission.queue() }
            }
            Refused::Late => self.late(place),
        };
        self.warn(&error, module, &call.request, &call.trace);
        error
    }

    /// What ends a call of the function whose time is up.
    pub(super) fn late(&self, place: FunctionIndex) -> CallError {
        CallError::Deadline { module: Some(self.module(place).name.clone()), limit: self.limits.request }
    }

    /// Whether it is retired, and keeps enough instances for those that still call.
    fn is_crowded(&self) -> bool {
        self.retired.load(Ordering::Relaxed) && self.warm().len() >= self.running()
    }

    fn count_dropped(&self, why: Thrown, instances: usize) {
        self.counters.dropped.fetch_add(instances as u64, Ordering::Relaxed);
        self.metrics.dropped(why, instances);
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, Vec<Live>> {
        // Pushing and popping leave the list whole wherever a panic might strike.
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, call: CallContext) -> Result<Lease<'_>, CallError> {
        let memory = usize::try_from(self.limits.memory).unwrap_or(usize::MAX);
        let state = InstanceState::new(self.modules.clone(), memory, self.profile, call.clone(), self.limited.clone());
        let work = Work::of(&self.start_steps, &call, &self.metrics);
        let started = Live::start(&self.pre, self.exports.len(), &self.limits, state, work).await;
        let live = started.map_err(|ended| self.explain(&ended, &call, None))?;
        self.counters.made.fetch_add(1, Ordering::Relaxed);
        self.metrics.made();
        Ok(Lease::new(self, live))
    }
}

impl Drop for Compartment {
    fn drop(&mut self) {
        let warm = self.warm().len();
        self.count_dropped(Thrown::Retired, warm);
    }
}

/// A call that runs, for as long as this lives.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn enter(counters: &'a Counters) -> Self {
        counters.calls.fetch_add(1, Ordering::Relaxed);
        counters.running.fetch_add(1, Ordering::Relaxed);
        Self(&counters.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An instance at work. What is not put back is thrown away: after a trap, and where the call is dropped before its end.
struct Lease<'a> {
    compartment: &'a Compartment,
    /// There until it is put back.
    live: Option<Live>,
    /// Why it is thrown away where it isn't put back.
    why: Thrown,
}

impl<'a> Lease<'a> {
    fn new(compartment: &'a Compartment, live: Live) -> Self {
        // Nothing else is known of a call that is dropped before its end.
        Self { compartment, live: Some(live), why: Thrown::Dropped }
    }

    fn live(&mut self) -> &mut Live {
        self.live.as_mut().expect("it is put back by value only")
    }

    /// Keeps the instance for the next call, unless its time is over.
    fn put_back(mut self) {
        let compartment = self.compartment;
        let Instances { mode, max_calls, .. } = compartment.instances;
        let live = self.live();
        live.leave_generation();
        let why = match () {
            () if mode == InstanceMode::Fresh => Thrown::Fresh,
            () if live.calls >= max_calls.get() => Thrown::MaxCalls,
            () if live.state().memory() > KEEP_MEMORY => Thrown::Memory,
            () if compartment.is_crowded() => Thrown::Retired,
            () => {
                live.used = compartment.looks.load(Ordering::Relaxed);
                compartment.warm().extend(self.live.take());
                return;
            }
        };
        self.throw_away(why);
    }

    fn throw_away(mut self, why: Thrown) {
        self.why = why;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.live.is_some() {
            self.compartment.count_dropped(self.why, 1);
        }
    }
}

/// Drops instances that were not used for `idle`, for as long as the compartment is there: at the latest half as long after that, and,
/// where it is less than two of [`MIN_LOOK`], at the latest those two after it.
async fn drop_idle(compartment: Weak<Compartment>, idle: Duration) {
    let pause = (idle / 2).max(MIN_LOOK);
    let unused = u64::try_from(idle.as_nanos().div_ceil(pause.as_nanos())).unwrap_or(u64::MAX);
    for look in 1.. {
        tokio::time::sleep(pause).await;
        let Some(compartment) = compartment.upgrade() else { return };
        compartment.looks.store(look, Ordering::Relaxed);
        // Taken out under one lock, so that a call never finds the list empty while warm instances are looked through; freed after it,
        // since that takes a while.
        let idle: Vec<Live> = compartment.warm().extract_if(.., |live| look - live.used > unused).collect();
        compartment.count_dropped(Thrown::Idle, idle.len());
    }
}
