//! The running application: its current generation, the generations that drain, and calls into them.
//!
//! One writer publishes a generation by exchanging one pointer. Readers take the current generation without waiting and keep it until
//! they are done (invariants 3 and 5 of ARCHITECTURE.md).

mod admission;
pub mod compartment;
mod cut_off;
mod detached;
mod drain;
mod handler;
mod instance;
mod recovery;
mod warm;
mod in_flight;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use arc_swap::ArcSwap;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Val;

use crate::link::{FunctionIndex, FunctionName, Linked};
use watertight_graph::graph::{self, AppGraph};
use watertight_graph::routes::{Mount, Route, RouteTable};
use watertight_json::EncodeError;
use watertight_model::ids::{GenerationNumber, InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};
use watertight_store::{BridgeIndex, CallContext, CallFuture, CallResult, CalleeRequest, Callees, ModuleData};
use watertight_telemetry::{RouteMetrics, Telemetry, Trace};

pub use admission::{AdmissionTable, CallStats};
pub use compartment::{Compartment, InstanceStats, Lease};
pub use cut_off::UntilCutOff;
pub use detached::{Detached, detached};
pub use handler::{HandlerError, HandlerPlace, HandlerRequest, ResponseBody};
pub use in_flight::InFlight;
pub use watertight_store::CallError;

/// The largest number of retired generations that finish their requests at the same time. The next change waits until one of them is freed.
pub const MAX_DRAINING: usize = 4;
/// Greatest number of generations that may drain beyond [`MAX_DRAINING`] because a rollback did not wait. For each of them, an older
/// draining generation was cut off.
const MAX_CUT_OFF: usize = 4;
/// Longest time that a rollback waits for the generation that it returns to to start its instances.
const WARM_UP_AGAIN: Duration = Duration::from_millis(30);

/// The position of a function in a generation: its compartment and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The index of the compartment in the generation.
    pub compartment: usize,
    /// The function in the compartment.
    pub function: FunctionIndex,
}

/// One immutable, fully linked application.
pub struct Generation {
    /// The generation's number.
    pub number: GenerationNumber,
    /// The graph that the generation is linked from.
    pub graph: AppGraph,
    /// The routes of the data listener.
    pub routes: RouteTable,
    compartments: Vec<Arc<Compartment>>,
    targets: HashMap<(ModuleName, InterfaceName, String), Target>,
    /// The calls of each compartment to other compartments, in the order of the compartments.
    bridges: Vec<Vec<in_flight::BridgeTarget>>,
    /// The function and the counters of each route, in the order of the routes.
    route_targets: Vec<(Target, RouteMetrics)>,
    /// The handler of each mount, in the order of the mounts.
    mounts: Vec<handler::MountTarget>,
    /// The handler of each middleware, in the order of the middlewares.
    middlewares: Vec<Target>,
    telemetry: Arc<Telemetry>,
    in_flight: Arc<AtomicUsize>,
    /// The time that requests may take after another generation has become the current one.
    drain: Duration,
    /// The token that is cancelled when the requests that still run must end. It wakes the futures that wait.
    cut_off: CancellationToken,
    /// Whether the requests that still run must end. Reading this flag before each poll is cheaper than asking the token `cut_off`. It is set
    /// before the token is cancelled, so whoever meets a consequence of the cut-off also sees the flag.
    has_ended: Arc<AtomicBool>,
}

impl Generation {
    /// Assembles a generation from linked compartments.
    ///
    /// `linked` has one entry for each compartment of the graph, in the graph's order: its code and the resources of its modules.
    pub fn new(
        number: GenerationNumber,
        graph: AppGraph,
        routes: RouteTable,
        linked: Vec<(Linked, Arc<[ModuleData]>)>,
        drain: Duration,
        admissions: &AdmissionTable,
        telemetry: &Arc<Telemetry>,
    ) -> Self {
        let mut targets = HashMap::new();
        let mut compartments = Vec::new();
        let mut bridges = Vec::new();
        for (place, (linked, modules)) in linked.into_iter().enumerate() {
            for (name, function) in linked.functions() {
                targets.insert(name.clone(), Target { compartment: place, function });
            }
            bridges.push(linked.bridges.clone());
            compartments.push(Compartment::new(&graph.compartments[place], linked, modules, admissions, telemetry));
        }
        let target =
            |name: &FunctionName| *targets.get(name).expect("the graph checked that the callee exports what is called");
        let edge = |from: usize, name: &FunctionName| {
            let target: Target = target(name);
            let (from, to) = (&graph.compartments[from], &graph.compartments[target.compartment]);
            let time = Some(to.limits.request).filter(|time| *time < from.limits.request);
            in_flight::BridgeTarget { target, calls: telemetry.bridge(&from.name, &to.name), time }
        };
        let edges = |(from, names): (usize, &Vec<FunctionName>)| names.iter().map(|name| edge(from, name)).collect();
        let bridges = bridges.iter().enumerate().map(edges).collect();
        let target = |route: &Route| {
            let name = (route.module.clone(), route.interface.clone(), route.function.clone());
            let target = *targets.get(&name).expect("a route was bound to a function that linking found");
            (target, telemetry.route(route.method.as_str(), &route.label, &route.answer.statuses()))
        };
        let route_targets = routes.routes().iter().map(target).collect();
        let handler = |module: &ModuleName, interface: &InterfaceName| -> Target {
            let name = (module.clone(), interface.clone(), handler::HANDLE.to_owned());
            *targets.get(&name).expect("a mount or a middleware was bound to a handler that linking found")
        };
        let mount = |mount: &Mount| {
            let target = handler(&mount.module, &mount.interface);
            let label = handler::mount_label(&mount.label);
            let metrics = telemetry.route(handler::ANY_METHOD, &label, &[StatusCode::OK.as_u16()]);
            handler::MountTarget { target, version: mount.version, metrics, label }
        };
        let mounts = routes.mounts().iter().map(mount).collect();
        let middlewares = routes.middlewares().iter().map(|one| handler(&one.module, &one.interface)).collect();
        let cut_off = CancellationToken::new();
        Self {
            number,
            graph,
            routes,
            compartments,
            targets,
            bridges,
            route_targets,
            mounts,
            middlewares,
            telemetry: telemetry.clone(),
            in_flight: Arc::default(),
            drain,
            cut_off,
            has_ended: Arc::default(),
        }
    }

    /// Returns the function of the route at index `place`.
    pub fn route_target(&self, place: usize) -> Target {
        self.route_targets[place].0
    }

    /// Returns the counters of the route at index `place`.
    pub fn route_metrics(&self, place: usize) -> &RouteMetrics {
        &self.route_targets[place].1
    }

    /// Returns the host's metrics.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Returns the longest time that a call of `target` may take.
    pub fn time(&self, target: Target) -> Duration {
        self.compartments[target.compartment].limits().request
    }

    /// Returns the largest body of a request for `target`, in bytes.
    pub fn body_limit(&self, target: Target) -> u64 {
        self.compartments[target.compartment].limits().body
    }

    /// Returns the largest upload in a request for `target`, in bytes.
    pub fn upload_limit(&self, target: Target) -> u64 {
        self.compartments[target.compartment].limits().upload
    }

    /// Counts and logs that the body of a request for `target` exceeded its limit of `limit` bytes.
    pub fn report_large_body(&self, target: Target, limit: u64, request: &str, trace: &Trace) {
        self.compartments[target.compartment].report_large_body(target.function, limit, request, trace);
    }

    /// Returns the largest result of `target` as JSON, in bytes.
    pub fn result_limit(&self, target: Target) -> usize {
        usize::try_from(self.compartments[target.compartment].limits().result).unwrap_or(usize::MAX)
    }

    /// Returns the position of a function that a module exports in `interface`. Returns `None` for methods and unknown functions.
    pub fn target(&self, module: &ModuleName, interface: &InterfaceName, function: &str) -> Option<Target> {
        self.targets.get(&(module.clone(), interface.clone(), function.to_owned())).copied()
    }

    /// Logs that a result of `target` cannot be written as JSON. If the result is too large, also counts it as an exceeded limit.
    pub fn report_unencodable_result(&self, target: Target, error: &EncodeError, request: &str, trace: &Trace) {
        self.compartments[target.compartment].report_unencodable_result(target.function, error, request, trace);
    }

    /// Runs blocking work on a result of `target`, such as writing it as JSON. If the function is known for long computations, the work
    /// does not hold up other tasks of this thread.
    pub fn offload<T>(&self, target: Target, work: impl FnOnce() -> T) -> T {
        self.compartments[target.compartment].offload(target.function, work)
    }

    /// Returns the compartments.
    pub fn compartments(&self) -> &[Arc<Compartment>] {
        &self.compartments
    }

    /// Calls a function from outside all compartments.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the call gives no result. A generation that is cut off ends its calls with [`CallError::Deadline`].
    pub async fn call(self: &Arc<Self>, target: Target, parameters: &[Val], call: CallContext) -> CallResult {
        let metrics = self.compartments[target.compartment].metrics();
        metrics.count_call(call.origin);
        let call = call.in_compartment(self.clone(), target.compartment);
        let called = self.compartments[target.compartment].call(target.function, parameters, call);
        self.run_until_cut_off(called).await.unwrap_or_else(|| {
            // The generation was cut off. The call was dropped before it could count its own failure.
            let late = self.compartments[target.compartment].deadline_error(target.function);
            metrics.count_failure(late.kind());
            Err(late)
        })
    }

    /// Admits a call of `target` from outside all compartments, and gives it an instance for as long as the lease lives. A caller that
    /// holds the lease beyond the function's end, as a response body does, must end with the generation: see [`Self::run_until_cut_off`].
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the call is not admitted in time or no instance can be made.
    pub async fn admit(self: &Arc<Self>, target: Target, call: CallContext) -> Result<Lease, CallError> {
        let compartment = &self.compartments[target.compartment];
        compartment.metrics().count_call(call.origin);
        let call = call.in_compartment(self.clone(), target.compartment);
        compartment.admit(target.function, call).await
    }

    /// Runs `work` for a request on this generation. Returns `None` if the generation is cut off first.
    pub fn run_until_cut_off<T, F: Future<Output = T>>(&self, work: F) -> UntilCutOff<'_, F> {
        UntilCutOff::new(work, &self.has_ended, &self.cut_off)
    }

    /// Makes this generation's limits those on how many calls of a module run and wait. All generations count these calls together.
    fn apply_limits(&self) {
        self.compartments.iter().for_each(|compartment| compartment.apply_limits());
    }

    /// Returns the numbers of running and waiting calls of a module, over all generations. Returns `None` if the module is unknown.
    pub fn calls(&self, module: &ModuleName) -> Option<CallStats> {
        self.compartments.iter().find_map(|compartment| compartment.calls(module))
    }

    /// Ends the requests that still run on this generation.
    fn cut_off(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.cut_off.cancel();
    }

    /// Starts an instance of each compartment, so that a module that can't start is found before a request needs it. A compartment that also
    /// runs in the generation `before` may fail to start: its module must not prevent the change of another.
    ///
    /// # Errors
    ///
    /// Returns a problem for each compartment that doesn't start.
    pub async fn warm_up(self: &Arc<Self>, before: Option<&Self>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for place in 0..self.compartments.len() {
            problems.extend(self.start_first_instance(place, before, false).await);
        }
        self.start_missing().await;
        tokio::spawn(warm::keep(Arc::downgrade(self)));
        Problems::ok_or_problems(problems, ())
    }

    /// Starts instances for a rollback to this generation, of all compartments at once, and waits for them for at most `WARM_UP_AGAIN`. The
    /// first call of a compartment starts its instance if the time was too short, or if there is no room for an instance now. `before` is
    /// the generation that runs until the rollback.
    ///
    /// # Errors
    ///
    /// Returns a problem for each compartment that failed to start within that time.
    pub async fn warm_up_again(self: &Arc<Self>, before: &Self) -> Result<(), Problems> {
        let starts = (0..self.compartments.len()).map(|place| self.start_first_instance(place, Some(before), true));
        let mut starts: FuturesUnordered<_> = starts.collect();
        let mut problems = Vec::new();
        let all = async {
            while let Some(problem) = starts.next().await {
                problems.extend(problem);
            }
        };
        if tokio::time::timeout(WARM_UP_AGAIN, all).await.is_err() {
            tracing::info!(generation = %self.number, "not every module has started again yet; a rollback doesn't wait for that");
        }
        tokio::spawn(warm::keep(Arc::downgrade(self)));
        Problems::ok_or_problems(problems, ())
    }

    /// Starts the first instance of the compartment at index `place`. Returns a problem if it doesn't start. A compartment that also runs
    /// in the generation `before`, or that lacks room although it may (`may_lack_room`), only logs that.
    async fn start_first_instance(
        self: &Arc<Self>,
        place: usize,
        before: Option<&Self>,
        may_lack_room: bool,
    ) -> Option<Problem> {
        let (compartment, plan) = (&self.compartments[place], &self.graph.compartments[place]);
        let call = CallContext::new("start".into(), Instant::now() + compartment.limits().request);
        let error = compartment.warm_up(call.in_compartment(self.clone(), place)).await.err()?;
        let is_full = may_lack_room && matches!(error, CallError::NoRoom { .. });
        if is_full || before.is_some_and(|before| before.runs(compartment, plan)) {
            let told = "a compartment can't start another instance now; its next call that needs one tries again";
            tracing::warn!(compartment = %compartment.name(), %error, "{told}");
            return None;
        }
        let (name, within) = (compartment.name(), plan.describe_modules());
        let problem =
            Problem::new(Code::Compile, format!("compartment `{name}`, with {within}, doesn't start: {error}"));
        Some(match error.module() {
            Some(module) => problem.module(module),
            None => problem,
        })
    }

    /// Returns whether this generation has a compartment with the same code, limits and instance settings. `plan` is the compartment's
    /// description in the other generation's graph.
    fn runs(&self, compartment: &Compartment, plan: &graph::Compartment) -> bool {
        let same = |(own, own_plan): (&Arc<Compartment>, &graph::Compartment)| {
            own.identity() == compartment.identity()
                && (own_plan.limits, own_plan.instances) == (plan.limits, plan.instances)
        };
        self.compartments.iter().zip(&self.graph.compartments).any(same)
    }
}

impl Callees for Generation {
    /// Does not end with the generation; the call from outside that it is a part of does. If a nested call ended at that moment, its caller
    /// would receive an error and go on.
    fn call_across<'a>(
        self: Arc<Self>,
        caller: usize,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        call: CallContext,
    ) -> CallFuture<'a> {
        let (target, call) = self.cross(caller, bridge, call);
        Box::pin(async move { self.compartments[target.compartment].call(target.function, parameters, call).await })
    }

    fn serve_across(
        self: Arc<Self>,
        caller: usize,
        bridge: BridgeIndex,
        request: CalleeRequest,
        call: CallContext,
    ) -> BoxFuture<'static, ()> {
        let (target, call) = self.cross(caller, bridge, call);
        Box::pin(async move { self.compartments[target.compartment].serve(target.function, request, call).await })
    }
}

impl Generation {
    /// Counts a call over a bridge of the compartment at index `caller`. Returns the function that the bridge leads to and the context of its
    /// call.
    fn cross(self: &Arc<Self>, caller: usize, bridge: BridgeIndex, mut call: CallContext) -> (Target, CallContext) {
        let in_flight::BridgeTarget { target, calls, time } = &self.bridges[caller][bridge.0 as usize];
        let target = *target;
        calls.inc();
        // The caller's deadline holds, unless the callee's own limit ends earlier. A stream may last longer than any limit of calls.
        let callee = &self.graph.compartments[target.compartment];
        if let Some(time) = time.or_else(|| call.deadline.moves().then_some(callee.limits.request)) {
            call.deadline = call.deadline.time().min(Instant::now() + time).into();
        }
        (target, call.in_compartment(self.clone(), target.compartment))
    }
}

/// The running application: the current generation and those that drain.
pub struct Runtime {
    current: ArcSwap<Generation>,
    /// The generations that drain, oldest first. Entries of freed ones are removed when the next is added.
    retired: Mutex<Vec<Weak<Generation>>>,
    drain_permits: Arc<Semaphore>,
    /// The additional permits that let a rollback publish without waiting. For each permit taken, a draining generation is cut off.
    rollback_permits: Arc<Semaphore>,
}

/// The permit for one more generation to drain.
pub struct DrainPermit(OwnedSemaphorePermit);

impl Runtime {
    /// Creates a runtime with `first` as the current generation.
    pub fn new(first: Arc<Generation>) -> Self {
        first.apply_limits();
        let drain_permits = Arc::new(Semaphore::new(MAX_DRAINING));
        let rollback_permits = Arc::new(Semaphore::new(MAX_CUT_OFF));
        Self { current: ArcSwap::new(first), retired: Mutex::default(), drain_permits, rollback_permits }
    }

    /// Returns the current generation. A request that holds it finishes on it.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Waits until fewer than [`MAX_DRAINING`] generations drain. The drain times of those generations bound the wait.
    pub async fn drain_permit(&self) -> DrainPermit {
        DrainPermit(self.drain_permits.clone().acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// Returns a drain permit for a change that must not wait, such as a rollback.
    ///
    /// If no permit is free, it cuts off the oldest draining generation; its requests are answered 504. It waits only if generations that
    /// were cut off in this way are not freed yet.
    pub async fn drain_permit_now(&self) -> DrainPermit {
        if let Ok(place) = self.drain_permits.clone().try_acquire_owned() {
            return DrainPermit(place);
        }
        let oldest = self.retired().into_iter().find(|generation| !generation.has_ended.load(Ordering::Acquire));
        if let Some(oldest) = oldest {
            tracing::warn!(generation = %oldest.number, "requests of the oldest draining generation are cut off: a rollback needs its place");
            oldest.cut_off();
        }
        let (reserve, places) = (self.rollback_permits.clone(), self.drain_permits.clone());
        let place = tokio::select! {
            biased;
            place = reserve.acquire_owned() => place,
            place = places.acquire_owned() => place,
        };
        DrainPermit(place.expect("the semaphores are never closed"))
    }

    /// Makes `next` the current generation. Requests on the previous generation finish there, and then it is freed.
    ///
    /// Must run inside a tokio runtime.
    pub fn publish(&self, next: Arc<Generation>, permit: DrainPermit) {
        next.apply_limits();
        let old = self.current.swap(next);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|generation| generation.strong_count() > 0);
        retired.push(Arc::downgrade(&old));
        drop(retired);
        let drain = old.drain;
        tokio::spawn(drain::drain(old, drain, permit.0));
    }

    /// Returns the numbers of the generations that still drain, oldest first.
    pub fn draining(&self) -> Vec<GenerationNumber> {
        self.retired().iter().map(|generation| generation.number).collect()
    }

    /// Returns the modules with a database, over all generations that are not freed.
    pub fn modules_with_data(&self) -> BTreeSet<ModuleName> {
        let alive = self.retired().into_iter().chain([self.current()]);
        let with_data = |generation: Arc<Generation>| {
            generation.graph.modules_with_database().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        alive.flat_map(with_data).collect()
    }

    fn retired(&self) -> Vec<Arc<Generation>> {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.iter().filter_map(Weak::upgrade).collect()
    }
}
