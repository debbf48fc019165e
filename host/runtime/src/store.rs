//! The host's state of one Wasmtime `Store`: its modules, what they may use, and the call that it serves.
//!
//! Each store has one [`InstanceState`]. It holds no business data. It outlives a call only if its instances are reused, and
//! [`InstanceState::end_call`] ends everything that belongs to the call.

mod call;
mod failure;
mod http;
mod limits;
mod log;
mod output;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;
use wasmtime::component::{ResourceTable, Val};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::outbound::OutboundClient;
use http::Http;
use limits::Limiter;
use log::LogBudget;
use output::{GuestOutput, StreamKind};
use watertight_component::profile::Profile;
use watertight_model::clock;
use watertight_model::config::ModuleValues;
use watertight_model::ids::ModuleName;
use watertight_sql::{Database, SqlError, SqlLimit, Transaction};
use watertight_telemetry::{LineRateLimit, Span, SqlMetrics};

pub use call::{
    BridgeIndex, CallContext, CallError, CallFuture, CallResult, CalleeError, Callees, ConcurrentCalls, RequestInfo,
    RequestNotes,
};
pub use failure::FailureReport;
pub use limits::{CpuMeter, LimitHit, PollTime, sql_limit_kind};
pub use log::GuestLog;

/// The largest number of WASI resources (streams, pollables) and buckets that the guests of a store hold at once.
const MAX_WASI_RESOURCES: usize = 1_000;

/// The index of a module in its compartment. It identifies the caller of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleIndex(pub u16);

/// The resources of a module that all its instances share.
pub struct ModuleData {
    /// The module's name.
    pub name: ModuleName,
    /// The module's database, if the manifest grants one.
    pub database: Option<Database>,
    /// The metrics of the module's SQL statements.
    pub statements: SqlMetrics,
    /// The module's configuration values and secrets.
    pub values: ModuleValues,
    /// Whether the module imports WASI itself. Only one module of a store can; it owns the output of WASI's standard streams.
    pub imports_wasi: bool,
    /// The module's outbound HTTP client, if the manifest grants `http`.
    pub outbound: Option<Arc<OutboundClient>>,
}

/// A transaction that a guest has opened, with its handle and its module.
struct OpenTransaction {
    handle: u32,
    module: ModuleIndex,
    transaction: Transaction,
}

/// The host's state of a store.
pub struct InstanceState {
    modules: Arc<[ModuleData]>,
    call: CallContext,
    limiter: Limiter,
    cpu: Arc<CpuMeter>,
    log: Arc<LogBudget>,
    /// The open transactions: at most one for each module.
    transactions: Vec<OpenTransaction>,
    /// The SQL limits that the call met, each once for each module.
    sql_limits: Vec<(ModuleIndex, SqlLimit)>,
    /// The handle of the next transaction. Handles are never reused within a store, so a handle kept from an earlier call is invalid.
    next_handle: u32,
    wasi: Option<WasiCtx>,
    /// The output of WASI's standard streams. It is set once the module that imports WASI has used it.
    console: Option<GuestOutput>,
    /// The state of `wasi:http`. It is set once a guest has used that interface.
    http: Option<Box<Http>>,
    table: ResourceTable,
    /// The guest's report of its failure, if it made one in this call.
    failure: Option<Box<FailureReport>>,
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
        let transactions = Vec::new();
        Self {
            modules,
            call,
            limiter,
            cpu,
            log,
            transactions,
            sql_limits: Vec::new(),
            next_handle: 0,
            wasi: None,
            console: None,
            http: None,
            table,
            failure: None,
        }
    }

    /// Returns the resource limiter, for `Store::limiter`.
    pub fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    /// Begins to serve a call. Resets all limits and notes of the call before.
    pub fn begin_call(&mut self, call: CallContext) {
        if let Some(console) = &self.console {
            // An unfinished line that a start function wrote is logged under the start's request id.
            console.end_call();
            console.begin_call(&call);
        }
        if let Some(http) = &mut self.http {
            http.begin_call(&call);
        }
        self.cpu.begin(call.cpu);
        self.log.begin(call.log);
        self.call = call;
        self.limiter.hit = None;
        self.sql_limits.clear();
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
        Instant::now() >= self.call.deadline
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

    /// Records why a statement of a module failed, if others than the guest must know: an exceeded limit, or no space on the disk.
    pub fn record_sql_error(&mut self, module: ModuleIndex, error: &SqlError) {
        if matches!(error, SqlError::Full | SqlError::Limit(SqlLimit::Size(_))) {
            self.call().notes.storage_was_full();
        }
        if let SqlError::Limit(limit) = *error
            && !self.sql_limits.contains(&(module, limit))
        {
            self.sql_limits.push((module, limit));
        }
    }

    /// Returns the SQL limits that the call met, each once for each module.
    pub fn sql_limits(&self) -> impl Iterator<Item = (&ModuleName, SqlLimit)> {
        self.sql_limits.iter().map(|(module, limit)| (&self.module(*module).name, *limit))
    }

    /// Calls a function of another compartment. `span` is the trace span of that call, if it is recorded. Returns `None` if the store
    /// serves no call.
    pub fn call_bridge<'a>(
        &self,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        span: Option<&Span>,
    ) -> Option<CallFuture<'a>> {
        self.call.call_bridge(bridge, parameters, span, self.cpu.left())
    }

    /// Ends what belongs to the call: writes out unfinished lines and rolls back open transactions.
    ///
    /// The rollback also makes durable what the transactions read, so the call's answer must wait for it.
    ///
    /// # Errors
    ///
    /// Returns the error of the first rollback that fails. The call must then have no result.
    pub async fn end_call(&mut self) -> Result<(), SqlError> {
        if let Some(console) = &self.console {
            console.end_call();
        }
        for open in self.transactions.drain(..) {
            // Boxed because it is rare: inline it would enlarge the future of every call.
            Box::pin(open.transaction.rollback()).await?;
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

    /// Returns the size of all memories of the store together, in bytes.
    pub fn memory(&self) -> usize {
        self.limiter.memory
    }

    /// Returns the shared data of a module.
    pub fn module(&self, index: ModuleIndex) -> &ModuleData {
        &self.modules[usize::from(index.0)]
    }

    /// Returns whether a module has an open transaction.
    pub fn has_transaction(&self, module: ModuleIndex) -> bool {
        self.transactions.iter().any(|open| open.module == module)
    }

    /// Stores an open transaction and returns its handle.
    pub fn add_transaction(&mut self, module: ModuleIndex, transaction: Transaction) -> u32 {
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        self.transactions.push(OpenTransaction { handle, module, transaction });
        handle
    }

    /// Returns the module's open transaction with that handle.
    pub fn transaction(&mut self, module: ModuleIndex, handle: u32) -> Option<&mut Transaction> {
        let place = self.place(module, handle)?;
        Some(&mut self.transactions[place].transaction)
    }

    /// Returns the module's open transaction, if it has one.
    pub fn transaction_of(&mut self, module: ModuleIndex) -> Option<&mut Transaction> {
        self.transactions.iter_mut().find(|open| open.module == module).map(|open| &mut open.transaction)
    }

    /// Returns the store's resource table: the host resources that guests hold, including WASI's.
    pub fn resources(&self) -> &ResourceTable {
        &self.table
    }

    /// Returns mutable access to the store's resource table.
    pub fn resources_mut(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Removes and returns the module's open transaction with that handle.
    pub fn take_transaction(&mut self, module: ModuleIndex, handle: u32) -> Option<Transaction> {
        let place = self.place(module, handle)?;
        Some(self.transactions.swap_remove(place).transaction)
    }

    fn place(&self, module: ModuleIndex, handle: u32) -> Option<usize> {
        self.transactions.iter().position(|open| open.handle == handle && open.module == module)
    }
}

impl WasiView for InstanceState {
    /// Returns the WASI context that guests see.
    ///
    /// It has the host's clocks and random bytes. It has no files, arguments, environment variables or sockets. Input is at its end, and
    /// output goes to the module's log. The context is created at the first use, because most stores never use it.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { modules, call, log, console, .. } = self;
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            builder.wall_clock(WallClock);
            if let Some(module) = modules.iter().find(|module| module.imports_wasi) {
                let console = console.insert(GuestOutput::new(module.name.clone(), call, log.clone()));
                builder.stdout(console.stream(StreamKind::Stdout)).stderr(console.stream(StreamKind::Stderr));
            }
            builder.build()
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// The wall clock of WASI. Wasmtime's own panics if the machine's clock is before 1970.
struct WallClock;

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        clock::since_1970()
    }
}

impl WasiHttpView for InstanceState {
    /// Returns the context of `wasi:http`. It belongs to the module that imports WASI: a store has only one.
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { modules, call, log, http, table, .. } = self;
        let Http { context, hooks } = &mut **http.get_or_insert_with(|| {
            let module = modules.iter().find(|module| module.imports_wasi);
            let outgoing = module.and_then(|module| module.outbound.clone());
            Box::new(Http::new(module.map(|module| module.name.clone()), outgoing, call, log.clone()))
        });
        WasiHttpCtxView { hooks, table, ctx: context }
    }
}
