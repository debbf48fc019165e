//! What the host keeps beside one set of instances: whose they are, what they may use, and the call that they serve now.
//!
//! One [`InstanceState`] belongs to one Wasmtime `Store`. It holds no business data and outlives a call only where instances are
//! reused; whatever belongs to the call ends with it ([`InstanceState::end_call`]).

mod call;

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::database::{Database, SqlError, Transaction};
use crate::ids::ModuleName;
use crate::profile::Profile;

pub use call::{BridgeIndex, CallContext, CallError, CallFuture, CallResult, CalleeFailed, Callees};

/// Resources of WASI (streams, pollables) that the guests of a store may hold at once.
const MAX_WASI_RESOURCES: usize = 1_000;
/// Elements that all tables of a store may have together.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;

/// A module of a compartment, by its place in it: how a capability knows who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleIndex(pub u16);

/// What a module has, whichever instance of it is running.
pub struct ModuleData {
    /// Its name.
    pub name: ModuleName,
    /// Its database, where it is granted one.
    pub database: Option<Database>,
    /// The values that the manifest gives it.
    pub config: BTreeMap<String, String>,
}

/// A limit that a call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitHit {
    /// The memories of the store would be larger together than they may.
    #[error("memory would grow to {wanted} bytes, of {limit} allowed")]
    Memory {
        /// What all memories would have been, in bytes.
        wanted: usize,
        /// What they may be.
        limit: usize,
    },
    /// The tables of the store would be larger together than they may.
    #[error("tables would grow to {wanted} elements, of {limit} allowed")]
    Table {
        /// What all tables would have been, in elements.
        wanted: usize,
        /// What they may be.
        limit: usize,
    },
}

/// Sums what the instances of a store take; Wasmtime's own limits are for each memory alone.
struct Limiter {
    memory: usize,
    memory_limit: usize,
    /// What one memory may hold: as much as the engine reserves for it.
    largest_memory: usize,
    table: usize,
    hit: Option<LimitHit>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // It will not be granted: counted, it would stay counted, since Wasmtime doesn't say what failed to grow.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > self.largest_memory {
            self.hit = Some(LimitHit::Memory { wanted: desired, limit: self.largest_memory });
            return Ok(false);
        }
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_limit {
            self.hit = Some(LimitHit::Memory { wanted, limit: self.memory_limit });
            return Ok(false);
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let wanted = self.table.saturating_add(desired.saturating_sub(current));
        if wanted > MAX_TABLE_ELEMENTS {
            self.hit = Some(LimitHit::Table { wanted, limit: MAX_TABLE_ELEMENTS });
            return Ok(false);
        }
        self.table = wanted;
        Ok(true)
    }
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
    /// At most one per module.
    transactions: Vec<OpenTransaction>,
    /// Never reused within a store, so that a handle that a guest kept from an earlier call means nothing.
    next_handle: u32,
    wasi: Option<WasiCtx>,
    table: ResourceTable,
}

impl InstanceState {
    /// The state of a new store whose memories may hold `memory_limit` bytes together, and each as much as `profile` has room for.
    pub fn new(modules: Arc<[ModuleData]>, memory_limit: usize, profile: Profile, call: CallContext) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_WASI_RESOURCES);
        let largest_memory = usize::try_from(profile.room().memory).unwrap_or(usize::MAX);
        let limiter = Limiter { memory: 0, memory_limit, largest_memory, table: 0, hit: None };
        Self { modules, call, limiter, transactions: Vec::new(), next_handle: 0, wasi: None, table }
    }

    /// For `Store::limiter`.
    pub fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    /// Takes up a call.
    pub fn begin_call(&mut self, call: CallContext) {
        self.call = call;
        self.limiter.hit = None;
    }

    /// Ends what belongs to the call: transactions that it left open are rolled back. What was read in one may not be durable yet, so
    /// the answer waits for that, and there is none where it can't be had.
    pub async fn end_call(&mut self) -> Result<(), SqlError> {
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
    /// at its end, and output goes nowhere. Made when first used, since most stores never do.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| WasiCtx::builder().build());
        WasiCtxView { ctx, table: &mut self.table }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter { memory: 0, memory_limit: 1000, largest_memory: 600, table: 0, hit: None }
    }

    #[test]
    fn memories_are_summed_and_the_limit_is_named() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, Some(500)).unwrap());
        assert!(!limiter.memory_growing(400, 601, None).unwrap());
        assert_eq!(limiter.hit, Some(LimitHit::Memory { wanted: 601, limit: 600 }));
        assert!(limiter.memory_growing(400, 600, None).unwrap());
        assert!(!limiter.memory_growing(0, 1, None).unwrap());
        assert_eq!(limiter.hit, Some(LimitHit::Memory { wanted: 1001, limit: 1000 }));
    }

    #[test]
    fn what_a_memory_s_own_type_forbids_is_not_counted() {
        let mut limiter = limiter();
        for _ in 0..100 {
            assert!(!limiter.memory_growing(100, 501, Some(500)).unwrap());
            assert!(!limiter.table_growing(100, 501, Some(500)).unwrap());
        }
        assert_eq!((limiter.memory, limiter.table, limiter.hit), (0, 0, None));
    }
}
