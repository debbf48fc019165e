//! The host's state of one Wasmtime `Store`: its modules, what they may use, and the call that it serves.
//!
//! Each store has one [`InstanceState`]. It holds no business data. It outlives a call only if its instances are reused, and
//! [`InstanceState::end_call`] ends everything that belongs to the call.

mod call;
mod callee;
mod deadline;
mod downstream;
mod failure;
mod limits;
mod local;
mod log;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;
use wasmtime::component::{ResourceTable, Val};

use limits::Limiter;
use local::Local;
use watertight_component::profile::Profile;
use watertight_component::shape::Function;
use watertight_model::ids::ModuleName;
use watertight_relay::ends::Ends;
use watertight_telemetry::table::LimitKind;
use watertight_telemetry::{LineRateLimit, Span};

pub use call::{
    BridgeIndex, CallContext, CallError, CallFuture, CallResult, CalleeError, Callees, ConcurrentCalls, RequestInfo,
    RequestNotes,
};
pub use callee::{CALLEE_GRACE, CalleeAnswer, CalleeRequest, CalleeTask, Values};
pub use deadline::{CLIENT_GRACE, Deadline, StreamDeadline, TimeLimit};
pub use downstream::{BodyFault, CutAnswer, Downstream, MAX_PASSED_ON, PassedBody, PassingOn, RequestBody};
pub use failure::FailureReport;
pub use limits::{CpuAccount, CpuMeter, LimitHit, PollTime};
pub use local::{SharedData, StoreState};
pub(crate) use log::MAX_LINE;
pub use log::{GuestLog, LogBudget};

/// The largest number of WASI resources (streams, pollables) and buckets that the guests of a store hold at once.
const MAX_WASI_RESOURCES: usize = 1_000;

/// The index of a module in its compartment. It identifies the caller of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleIndex(pub u16);

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
    call: CallContext,
    limiter: Limiter,
    cpu: Arc<CpuMeter>,
    log: Arc<LogBudget>,
    /// The limits of capabilities that the call met, each once for each module.
    met_limits: Vec<MetLimit>,
    /// The states that capabilities keep in this store, at most one of each type, or of each type and module.
    locals: Vec<Local>,
    table: ResourceTable,
    /// The guest's report of its failure, if it made one in this call.
    failure: Option<Box<FailureReport>>,
    /// The number of streams and futures that are open with other compartments.
    ends: Ends,
    /// The calls in other compartments that have returned and go on, because they stream.
    callees: Vec<CalleeTask>,
    /// The account that callees in tasks of their own charge. `None` before the call has such a callee.
    account: Option<Arc<CpuAccount>>,
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
        let (cpu, log) = (CpuMeter::new(), Arc::new(LogBudget::new(lines)));
        cpu.begin(call.cpu);
        log.begin(call.log);
        Self {
            modules,
            call,
            limiter,
            cpu,
            log,
            met_limits: Vec::new(),
            locals: Vec::new(),
            table,
            failure: None,
            ends: Ends::default(),
            callees: Vec::new(),
            account: None,
        }
    }

    /// Returns the resource limiter, for `Store::limiter`.
    pub fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    /// Begins to serve a call. Resets the limits, and removes what was recorded about the call before.
    pub fn begin_call(&mut self, call: CallContext) {
        self.locals.iter_mut().for_each(|local| local.state.begin_call(&call));
        self.cpu.begin(call.cpu);
        self.log.begin(call.log);
        self.call = call;
        self.limiter.hit = None;
        self.met_limits.clear();
        self.failure = None;
    }

    /// Returns the counter of the call's processor time. The code that polls the call updates it.
    pub fn cpu(&self) -> &Arc<CpuMeter> {
        &self.cpu
    }

    /// Handles a tick of the epoch while a guest runs. Returns whether the guest must stop: at its deadline, or when it has used its
    /// processor time, which is then recorded as the limit that the call met.
    pub fn tick(&mut self) -> bool {
        if let Some(limit) = self.cpu.tick() {
            self.limiter.hit = Some(LimitHit::Cpu { limit });
            return true;
        }
        if self.call.payer.as_ref().is_some_and(|payer| payer.left().is_zero()) {
            self.limiter.hit = Some(LimitHit::Cpu { limit: self.call.cpu });
            return true;
        }
        self.call.deadline.has_passed()
    }

    /// Returns a log writer for a module within the current call.
    pub fn guest_log(&self, module: ModuleIndex) -> GuestLog<'_> {
        let CallContext { request, trace, .. } = &self.call;
        GuestLog { module: &self.module(module).name, request, trace, budget: &self.log }
    }

    /// Returns whether the call tried to log more bytes than it may.
    pub fn met_log_limit(&self) -> bool {
        self.log.is_exceeded()
    }

    /// Returns the bytes of log lines that the call may still write.
    pub fn log_budget(&self) -> &Arc<LogBudget> {
        &self.log
    }

    /// Records that a call met a limit of a capability and goes on. The host counts and logs it when the call ends.
    pub fn report_limit(&mut self, module: ModuleIndex, kind: LimitKind, limit: &dyn fmt::Display) {
        let met = MetLimit { module, kind, text: limit.to_string() };
        if !self.met_limits.contains(&met) {
            self.met_limits.push(met);
        }
    }

    /// Returns the limits of capabilities that the call met, each once for each module.
    pub fn met_limits(&self) -> &[MetLimit] {
        &self.met_limits
    }

    /// Calls a function of another compartment. `span` is the trace span of that call, if it is recorded. Returns `None` if the store
    /// serves no call.
    pub fn call_bridge<'a>(
        &self,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        span: Option<&Span>,
    ) -> Option<CallFuture<'a>> {
        self.call.call_bridge(bridge, parameters, span, self.cpu_left())
    }

    /// Returns the processor time that the call has left, as the limit of a callee.
    fn cpu_left(&self) -> Duration {
        let own = self.cpu.left();
        self.call.payer.as_ref().map_or(own, |payer| own.min(payer.left()))
    }

    /// Calls a function of another compartment in a task of its own. The other parameters are those of [`Self::call_bridge`].
    ///
    /// Must run inside a tokio runtime.
    pub fn start_bridge(
        &mut self,
        bridge: BridgeIndex,
        function: Arc<Function>,
        parameters: Values,
        span: Option<&Span>,
    ) -> Option<CalleeTask> {
        let (request, answer) = CalleeRequest::new(function, parameters);
        let payer =
            self.account.get_or_insert_with(|| CpuAccount::new(self.cpu.clone(), self.call.payer.clone())).clone();
        let work = self.call.serve_bridge(bridge, request, span, self.cpu_left(), payer)?;
        Some(CalleeTask::spawn(work, answer))
    }

    /// Keeps a call in another compartment that has returned and goes on, until this store's call ends.
    pub fn keep_callee(&mut self, callee: CalleeTask) {
        self.callees.retain(|callee| !callee.has_ended());
        if !callee.has_ended() {
            self.callees.push(callee);
        }
    }

    /// Returns the number of streams and futures that are open with other compartments.
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Gives the call the time of its caller from now on: its function has returned, and its streams flow.
    pub fn follow_caller(&mut self) {
        if let Some(deadline) = self.call.streams_until.take() {
            self.call.deadline = deadline;
        }
    }

    /// Ends what belongs to the call: each capability ends its part, such as an open transaction. The call's answer must wait for this.
    ///
    /// # Errors
    ///
    /// Returns the first error of a capability. The call must then have no result.
    pub async fn end_call(&mut self) -> wasmtime::Result<()> {
        for local in &mut self.locals {
            if let Some(end) = local.state.end_call() {
                end.await?;
            }
        }
        self.callees.clear();
        if let Some(account) = self.account.take() {
            account.close();
        }
        Ok(())
    }

    /// Drops the reference to the call's generation, so that a warm instance keeps no generation alive.
    pub fn leave_generation(&mut self) {
        self.call.end();
    }

    /// Returns the call that the store serves.
    pub fn call(&self) -> &CallContext {
        &self.call
    }

    /// Returns the limit that the call met, if any.
    pub fn limit_hit(&self) -> Option<LimitHit> {
        self.limiter.hit
    }

    /// Returns the size of all linear memories of the store together, in bytes.
    pub fn memory(&self) -> usize {
        self.limiter.memory
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

/// Converts a module's position in its compartment to its index.
pub(crate) fn module_index(place: usize) -> ModuleIndex {
    ModuleIndex(u16::try_from(place).expect("a compartment holds fewer than 65,536 modules"))
}
