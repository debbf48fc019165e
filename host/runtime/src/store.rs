//! What the host keeps beside one set of instances: whose they are, what they may use, and the call that they serve now.
//!
//! One [`InstanceState`] belongs to one Wasmtime `Store`. It holds no business data and outlives a call only where instances are
//! reused; whatever belongs to the call ends with it ([`InstanceState::end_call`]).

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

use crate::outbound::Outgoing;
use http::Http;
use limits::Limiter;
use log::LogBudget;
use output::{Console, Which};
use watertight_component::profile::Profile;
use watertight_model::clock;
use watertight_model::config::ModuleValues;
use watertight_model::ids::ModuleName;
use watertight_sql::{Database, SqlError, SqlLimit, Transaction};
use watertight_telemetry::{LineBudget, Span, SqlMetrics};

pub use call::{
    BridgeIndex, CallContext, CallError, CallFuture, CallResult, CalleeFailed, Callees, Notes, RequestLine, UnderWay,
};
pub use failure::Failure;
pub use limits::{Cpu, LimitHit, Step, kind_of};
pub use log::Speaker;

/// Resources of WASI (streams, pollables, buckets) that the guests of a store may hold at once.
const MAX_WASI_RESOURCES: usize = 1_000;

/// A module of a compartment, by its place in it: how a capability knows who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleIndex(pub u16);

/// What a module has, whichever instance of it is running.
pub struct ModuleData {
    /// Its name.
    pub name: ModuleName,
    /// Its database, where it is granted one.
    pub database: Option<Database>,
    /// How long its statements take.
    pub statements: SqlMetrics,
    /// What it is configured with.
    pub values: ModuleValues,
    /// Whether it brings WASI along, which only one module of a store can: what is written to its streams is this one's.
    pub brings_wasi: bool,
    /// Its way to other hosts, where it is granted one.
    pub outgoing: Option<Arc<Outgoing>>,
}

/// A transaction that a guest opened, and whose it is.
struct OpenTransaction {
    handle: u32,
    module: ModuleIndex,
    transaction: Transaction,
}

/// The host's side of a store.
pub struct InstanceState {
    modules: Arc<[ModuleData]>,
    call: CallContext,
    limiter: Limiter,
    cpu: Arc<Cpu>,
    log: Arc<LogBudget>,
    /// At most one per module.
    transactions: Vec<OpenTransaction>,
    /// Limits of SQL that the call met: each once for each module.
    sql_limits: Vec<(ModuleIndex, SqlLimit)>,
    /// Never reused within a store, so that a handle that a guest kept from an earlier call means nothing.
    next_handle: u32,
    wasi: Option<WasiCtx>,
    /// Where the streams of WASI lead; there once the module that brings it along has used it.
    console: Option<Console>,
    /// There once the store's module has used it.
    http: Option<Box<Http>>,
    table: ResourceTable,
    /// There where a guest said that it was about to fail.
    failure: Option<Box<Failure>>,
}

impl InstanceState {
    /// The state of a new store whose memories may hold `memory_limit` bytes together, and each as much as `profile` has room for. `lines`
    /// bounds the lines about limits.
    pub fn new(
        modules: Arc<[ModuleData]>,
        memory_limit: usize,
        profile: Profile,
        call: CallContext,
        lines: Arc<LineBudget>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_WASI_RESOURCES);
        let largest_memory = usize::try_from(profile.room().memory).unwrap_or(usize::MAX);
        let largest_table = usize::try_from(profile.room().table).unwrap_or(usize::MAX);
        let limiter = Limiter { memory: 0, memory_limit, largest_memory, largest_table, table: 0, hit: None };
        let (cpu, log) = (Cpu::new(), Arc::new(LogBudget::new(lines)));
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

    /// For `Store::limiter`.
    pub fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    /// Takes up a call.
    pub fn begin_call(&mut self, call: CallContext) {
        if let Some(console) = &self.console {
            // What a start function left without an end is said in the start's name.
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

    /// The processor time of the call: whoever polls it says so there.
    pub fn cpu(&self) -> &Arc<Cpu> {
        &self.cpu
    }

    /// The epoch ticked while a guest ran. Returns whether it must end, and remembers why.
    pub fn tick(&mut self) -> bool {
        if let Some(limit) = self.cpu.tick() {
            self.limiter.hit = Some(LimitHit::Cpu { limit });
            return true;
        }
        Instant::now() >= self.call.deadline
    }

    /// A module, as one that says something to the log.
    pub fn speaker(&self, module: ModuleIndex) -> Speaker<'_> {
        let CallContext { request, trace, .. } = &self.call;
        Speaker { module: &self.module(module).name, request, trace, budget: &self.log }
    }

    /// Whether the call wanted to log more than it may.
    pub fn met_log_limit(&self) -> bool {
        self.log.is_spent()
    }

    /// Notes why a statement of a module failed, where somebody else than the guest is to know: a limit, or no room on the disk.
    pub fn note_sql_error(&mut self, module: ModuleIndex, error: &SqlError) {
        if matches!(error, SqlError::Full | SqlError::Limit(SqlLimit::Size(_))) {
            self.call().notes.storage_was_full();
        }
        if let SqlError::Limit(limit) = *error
            && !self.sql_limits.contains(&(module, limit))
        {
            self.sql_limits.push((module, limit));
        }
    }

    /// The limits that statements of the call met, each once for each module.
    pub fn sql_limits(&self) -> impl Iterator<Item = (&ModuleName, SqlLimit)> {
        self.sql_limits.iter().map(|(module, limit)| (&self.module(*module).name, *limit))
    }

    /// Goes on in another compartment; none where the store serves no call. `span` is there where the call is recorded.
    pub fn cross<'a>(&self, bridge: BridgeIndex, parameters: &'a [Val], span: Option<&Span>) -> Option<CallFuture<'a>> {
        self.call.cross(bridge, parameters, span, self.cpu.left())
    }

    /// Ends what belongs to the call: transactions that it left open are rolled back. What was read in one may not be durable yet, so
    /// the answer waits for that, and there is none where it can't be had.
    pub async fn end_call(&mut self) -> Result<(), SqlError> {
        if let Some(console) = &self.console {
            console.end_call();
        }
        for open in self.transactions.drain(..) {
            // Boxed: it is rare, and each call's future would have room for it.
            Box::pin(open.transaction.rollback()).await?;
        }
        Ok(())
    }

    /// Lets go of the generation that the call ran on, so that a warm instance keeps none alive.
    pub fn leave_generation(&mut self) {
        self.call.end();
    }

    /// The call.
    pub fn call(&self) -> &CallContext {
        &self.call
    }

    /// The limit that the call met, if it met one.
    pub fn limit_hit(&self) -> Option<LimitHit> {
        self.limiter.hit
    }

    /// What all memories of the store hold, in bytes.
    pub fn memory(&self) -> usize {
        self.limiter.memory
    }

    /// Who is calling.
    pub fn module(&self, index: ModuleIndex) -> &ModuleData {
        &self.modules[usize::from(index.0)]
    }

    /// Whether a module has a transaction open.
    pub fn has_transaction(&self, module: ModuleIndex) -> bool {
        self.transactions.iter().any(|open| open.module == module)
    }

    /// Keeps a transaction, and returns its handle.
    pub fn add_transaction(&mut self, module: ModuleIndex, transaction: Transaction) -> u32 {
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        self.transactions.push(OpenTransaction { handle, module, transaction });
        handle
    }

    /// The module's open transaction of that handle.
    pub fn transaction(&mut self, module: ModuleIndex, handle: u32) -> Option<&mut Transaction> {
        let place = self.place(module, handle)?;
        Some(&mut self.transactions[place].transaction)
    }

    /// The module's open transaction, if it has one.
    pub fn transaction_of(&mut self, module: ModuleIndex) -> Option<&mut Transaction> {
        self.transactions.iter_mut().find(|open| open.module == module).map(|open| &mut open.transaction)
    }

    /// What the guests of the store hold, WASI's resources among it.
    pub fn resources(&self) -> &ResourceTable {
        &self.table
    }

    /// The same, to be changed.
    pub fn resources_mut(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Takes the module's open transaction of that handle out.
    pub fn take_transaction(&mut self, module: ModuleIndex, handle: u32) -> Option<Transaction> {
        let place = self.place(module, handle)?;
        Some(self.transactions.swap_remove(place).transaction)
    }

    fn place(&self, module: ModuleIndex, handle: u32) -> Option<usize> {
        self.transactions.iter().position(|open| open.handle == handle && open.module == module)
    }
}

impl WasiView for InstanceState {
    /// WASI as guests find it: clocks and random bytes are the host's; there are no files, arguments, variables or sockets, input is
    /// at its end, and output goes to the module's log. Made when first used, since most stores never do.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { modules, call, log, console, .. } = self;
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            builder.wall_clock(WallClock);
            if let Some(module) = modules.iter().find(|module| module.brings_wasi) {
                let console = console.insert(Console::new(module.name.clone(), call, log.clone()));
                builder.stdout(console.stream(Which::Output)).stderr(console.stream(Which::Error));
            }
            builder.build()
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// The clock that guests read. Wasmtime's own panics where the machine's is set before 1970.
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
    /// It is the module's that brings it along: only one of a store can.
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { modules, call, log, http, table, .. } = self;
        let Http { context, hooks } = &mut **http.get_or_insert_with(|| {
            let module = modules.iter().find(|module| module.brings_wasi);
            let outgoing = module.and_then(|module| module.outgoing.clone());
            Box::new(Http::new(module.map(|module| module.name.clone()), outgoing, call, log.clone()))
        });
        WasiHttpCtxView { hooks, table, ctx: context }
    }
}
