//! The host's state of one Wasmtime `Store`: its modules, what they may use, and the call that it serves.
//!
//! Each store has one [`InstanceState`]. It holds no business data. It outlives a call only if its instances are reused, and
//! [`InstanceState::end_call`] ends everything that belongs to the call.

pub mod capability;

mod call;
mod callee;
mod client;
mod deadline;
mod downstream;
mod failure;
mod limits;
mod local;
mod log;
mod stand_in;
mod tasks;

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wasmtime::component::{ResourceTable, TaskGroupId, Val};
use wasmtime::{ResourceLimiter, Store};

use limits::Limiter;
use tasks::{CallState, RunningTask, SharedTasks, SwitchHook};
use watertight_component::profile::Profile;
use watertight_model::ids::ModuleName;
use watertight_relay::ends::Ends;
use watertight_telemetry::table::LimitKind;
use watertight_telemetry::{LineRateLimit, Span};

pub use call::{
    BridgeIndex, CallContext, CallError, CallFuture, CallResult, CalleeError, Callees, ConcurrentCalls, RequestInfo,
    RequestNotes,
};
pub use callee::{CALLEE_GRACE, CalleeAnswer, CalleeRequest, CalleeTask, Values};
pub use client::{ClientInfo, ClientScheme};
pub use deadline::{CLIENT_GRACE, Deadline, StreamDeadline, TimeLimit};
pub use downstream::{BodyFault, CutAnswer, Downstream, KeptBody, MAX_PASSED_ON, PassedBody, PassingOn, RequestBody};
pub use failure::FailureReport;
pub use limits::{CpuAccount, CpuMeter, LimitHit, Tick};
pub use local::{SharedData, StoreState};
pub(crate) use log::MAX_LINE;
pub use log::{GuestLog, LogBudget};
pub use stand_in::{StandIn, StandIns};
pub use tasks::{TaskId, TaskSwitch};
pub use watertight_compose::ModuleIndex;
pub use watertight_compose::module_index;

/// The largest number of WASI resources (streams, pollables) and buckets that the guests of a store hold at once.
const MAX_WASI_RESOURCES: usize = 1_000;
/// The largest number of WASI resources and buckets that the guests of a store hold at once, if calls share the store. Each call may hold
/// some dozens.
const MAX_SHARED_RESOURCES: usize = 50_000;
/// The deadline of what belongs to no call of a shared store, which does nothing.
const NOBODY_TIME: Duration = Duration::from_secs(60 * 60);

/// What all instances of a module share in one generation.
pub struct ModuleData {
    /// The module's name.
    pub name: ModuleName,
    /// The data that the module's capabilities have prepared for it.
    pub shared: Vec<SharedData>,
}

/// A limit of a capability that a call met without being ended by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetLimit {
    /// The module that met the limit.
    pub module: ModuleIndex,
    /// The kind of the limit, for metrics.
    pub kind: LimitKind,
    /// The limit and its value, as a text for the log.
    pub text: String,
}

/// The host's state of a store.
pub struct InstanceState {
    modules: Arc<[ModuleData]>,
    /// The call that has the store to itself. In a shared store, what belongs to no call.
    own: CallState,
    /// The calls that share the store. `None` if calls use it one after another.
    tasks: Option<Box<SharedTasks>>,
    limiter: Limiter,
    /// Limits the log lines about exceeded limits.
    lines: Arc<LineRateLimit>,
    table: ResourceTable,
}

impl InstanceState {
    /// Creates the state of a new store that serves `call`.
    ///
    /// `memory_limit` bounds all memories of the store together, in bytes. `profile` bounds each memory and table. `lines` limits the log
    /// lines about exceeded limits.
    pub fn new(
        modules: Arc<[ModuleData]>,
        memory_limit: usize,
        profile: Profile,
        call: CallContext,
        lines: Arc<LineRateLimit>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_WASI_RESOURCES);
        let largest_memory = usize::try_from(profile.limits().memory).unwrap_or(usize::MAX);
        let largest_table = usize::try_from(profile.limits().table).unwrap_or(usize::MAX);
        let limiter = Limiter { memory: 0, memory_limit, largest_memory, largest_table, table: 0, hit: None };
        let own = CallState::new(call, lines.clone());
        Self { modules, own, tasks: None, limiter, lines, table }
    }

    /// Returns the resource limiter, for `Store::limiter`.
    pub fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        self
    }

    /// Begins to serve a call. Resets the limits, and removes what was recorded about the call before.
    pub fn begin_call(&mut self, call: CallContext) {
        let own = &mut self.own;
        own.locals.iter_mut().for_each(|local| local.state.begin_call(&call));
        own.cpu.begin(call.cpu);
        own.log.begin(call.log);
        own.context = call;
        own.limit_hit = None;
        own.met_limits.clear();
        own.failure = None;
    }

    /// Returns the state of the call that runs.
    fn current(&self) -> &CallState {
        let shared = self.tasks.as_ref().and_then(|tasks| tasks.calls.get(&tasks.current()?));
        shared.unwrap_or(&self.own)
    }

    fn current_mut(&mut self) -> &mut CallState {
        let Some(tasks) = &mut self.tasks else { return &mut self.own };
        let current = tasks.current();
        current.and_then(|task| tasks.calls.get_mut(&task)).unwrap_or(&mut self.own)
    }

    /// Lets calls share a store. From now on, Wasmtime reports to the returned switch which of them runs.
    pub fn share(store: &mut Store<Self>) -> Arc<TaskSwitch> {
        let switch = Arc::<TaskSwitch>::default();
        let state = store.data_mut();
        // What belongs to no call has nothing of a call: no generation, and no lines in the log.
        let mut nobody = CallContext::new("-".into(), Instant::now() + NOBODY_TIME);
        nobody.log = 0;
        state.begin_call(nobody);
        state.table.set_max_capacity(MAX_SHARED_RESOURCES);
        state.tasks = Some(Box::new(SharedTasks { switch: switch.clone(), calls: HashMap::new(), viewed: None }));
        store.task_group_hook(SwitchHook(switch.clone()));
        switch
    }

    /// Returns the switch of a store that calls share.
    pub(crate) fn switch(&self) -> Option<&Arc<TaskSwitch>> {
        self.tasks.as_ref().map(|tasks| &tasks.switch)
    }

    /// Adds a call to those that share the store. All that the task group `group` does is done for this call. The receiver resolves when
    /// nothing of the group is left.
    pub fn begin_task(&mut self, id: TaskId, call: CallContext, group: TaskGroupId) -> oneshot::Receiver<()> {
        let call = CallState::new(call, self.lines.clone());
        let tasks = self.tasks.as_mut().expect("only a shared store has tasks");
        let finished = tasks.switch.bind(group, RunningTask::of(id, &call));
        tasks.calls.insert(id, call);
        finished
    }

    /// Removes a call from those that share the store.
    pub fn remove_task(&mut self, id: TaskId) {
        self.own.locals.iter_mut().for_each(|local| local.state.end_task(id));
        if let Some(tasks) = &mut self.tasks {
            tasks.calls.remove(&id);
        }
    }

    /// Runs `look` with a call of a shared store in the place of the one that runs.
    pub fn view<T>(&mut self, task: TaskId, look: impl FnOnce(&mut Self) -> T) -> T {
        let set = |state: &mut Self, viewed| {
            if let Some(tasks) = &mut state.tasks {
                tasks.viewed = viewed;
            }
        };
        set(self, Some(task));
        let seen = look(self);
        set(self, None);
        seen
    }

    /// Returns the counter of the call's processor time. The code that polls the call updates it.
    pub fn cpu(&self) -> &Arc<CpuMeter> {
        &self.current().cpu
    }

    /// Handles a tick of the epoch while a guest runs. The guest must stop at its deadline, or when it has used its processor time, which is
    /// then recorded as the limit that the call met.
    ///
    /// In a shared store, the deadline is not looked at here: who waits for the request ends the store when its grace is over.
    pub fn tick(&mut self) -> Tick {
        let is_shared = self.tasks.is_some();
        let call = self.current_mut();
        let has_passed = match call.cpu.tick() {
            Ok(has_passed) => has_passed,
            Err(limit) => {
                call.limit_hit = Some(LimitHit::Cpu { limit });
                return Tick::Stop;
            }
        };
        if call.context.payer.as_ref().is_some_and(|payer| payer.left().is_zero()) {
            call.limit_hit = Some(LimitHit::Cpu { limit: call.context.cpu });
            return Tick::Stop;
        }
        match has_passed {
            _ if !is_shared && call.context.deadline.has_passed() => Tick::Stop,
            true => Tick::Passed,
            false => Tick::Stale,
        }
    }

    /// Returns a log writer for a module within the current call.
    pub fn guest_log(&self, module: ModuleIndex) -> GuestLog<'_> {
        let CallState { context: CallContext { request, trace, .. }, log, .. } = self.current();
        GuestLog { module: &self.module(module).name, request, trace, budget: log }
    }

    /// Returns whether the call tried to log more bytes than it may.
    pub fn met_log_limit(&self) -> bool {
        self.current().log.is_exceeded()
    }

    /// Returns the bytes of log lines that the call may still write.
    pub fn log_budget(&self) -> &Arc<LogBudget> {
        &self.current().log
    }

    /// Records that a call met a limit of a capability and goes on. The host counts and logs it when the call ends.
    pub fn report_limit(&mut self, module: ModuleIndex, kind: LimitKind, limit: &dyn fmt::Display) {
        let met = MetLimit { module, kind, text: limit.to_string() };
        let call = self.current_mut();
        if !call.met_limits.contains(&met) {
            call.met_limits.push(met);
        }
    }

    /// Returns the limits of capabilities that the call met, each once for each module.
    pub fn met_limits(&self) -> &[MetLimit] {
        &self.current().met_limits
    }

    /// Calls a function of another compartment. `span` is the trace span of that call, if it is recorded. Returns `None` if the store
    /// serves no call.
    pub fn call_bridge<'a>(
        &self,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        span: Option<&Span>,
    ) -> Option<CallFuture<'a>> {
        let call = self.current();
        call.context.call_bridge(bridge, parameters, span, call.cpu_left())
    }

    /// Returns the number of streams and futures that the call has open with other compartments.
    pub fn ends(&self) -> &Ends {
        &self.current().ends
    }

    /// Gives the call the time of its caller from now on: its function has returned, and its streams flow.
    pub fn follow_caller(&mut self) {
        let context = &mut self.current_mut().context;
        if let Some(deadline) = context.streams_until.take() {
            context.deadline = deadline;
        }
    }

    /// Ends what belongs to the call: each capability ends its part, such as an open transaction. The call's answer must wait for this.
    ///
    /// # Errors
    ///
    /// Returns the first error of a capability. The call must then have no result.
    pub fn end_call(&mut self) -> impl Future<Output = wasmtime::Result<()>> + Send + use<> {
        let call = self.current_mut();
        let ends: Vec<_> = call.locals.iter_mut().filter_map(|local| local.state.end_call()).collect();
        let (callees, account) = (mem::take(&mut call.callees), call.account.take());
        async {
            for end in ends {
                end.await?;
            }
            drop(callees);
            if let Some(account) = account {
                account.close();
            }
            Ok(())
        }
    }

    /// Drops the reference to the call's generation, so that a warm instance keeps no generation alive.
    pub fn leave_generation(&mut self) {
        self.own.context.end();
    }

    /// Returns the call that the store serves.
    pub fn call(&self) -> &CallContext {
        &self.current().context
    }

    /// Returns the limit that the call met, if any.
    pub fn limit_hit(&self) -> Option<LimitHit> {
        self.current().limit_hit
    }

    /// Returns the size of all linear memories of the store together, in bytes.
    pub fn memory(&self) -> usize {
        self.limiter.memory
    }

    /// Gives the limit that the last growth has met to the call that wanted to grow.
    fn record_hit(&mut self) {
        if let Some(hit) = self.limiter.hit.take() {
            self.current_mut().limit_hit = Some(hit);
        }
    }

    /// Returns what all instances of a module share.
    pub fn module(&self, index: ModuleIndex) -> &ModuleData {
        &self.modules[usize::from(index.0)]
    }

    /// Returns the store's resource table: the host resources that guests hold, including WASI's.
    pub fn resources(&self) -> &ResourceTable {
        &self.table
    }

    /// Returns mutable access to the store's resource table.
    pub fn resources_mut(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl ResourceLimiter for InstanceState {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.limiter.memory_growing(current, desired, maximum);
        self.record_hit();
        grown
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.limiter.table_growing(current, desired, maximum);
        self.record_hit();
        grown
    }
}
