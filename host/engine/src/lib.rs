//! Wasmtime's engines: one for each profile, built when first needed and shared by everything that runs under the
//! profile.
//!
//! The settings of an `Engine` (pool sizes, reservations, guard pages, bounds checks) are part of compiled code's
//! compatibility. So a profile is part of the code cache's key, and there are few profiles. This file compiles nothing;
//! see [`compile`].

mod backtrace;
mod progress;
pub mod compile;
mod fresh;
pub mod offload;
pub mod validate;

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolConcurrencyLimitError, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use watertight_component::profile::{
    COMPARTMENT_LIMITS, MEMORIES_PER_MODULE, Profile, ProfileLimits, TABLES_PER_MODULE,
};

pub use backtrace::Backtrace;
pub use progress::Compilation;

/// The interval between two ticks of an engine's epoch, the clock by which Wasmtime interrupts guests. At each tick a computing guest
/// yields and is checked against its deadline and its processor time. So a loop is stopped half a tick after its budget on average.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Number of memories in an engine's pool for each call that the pool has room for. They reserve only address space. A small module has one
/// memory. A compartment of several modules takes more, so the pool has room for fewer of its calls.
const MEMORIES_PER_CALL: u32 = 1;
/// Number of memories in the pool for each call of a large compartment, where one module may consist of about four core modules with
/// adapters and glue.
const MEMORIES_PER_LARGE_CALL: u32 = 8;
/// Number of tables in an engine's pool for each memory: a module's own, and that of the glue through which the module calls its imports.
const TABLES_PER_MEMORY: u32 = 2;
/// Number of core instances in an engine's pool for each memory: a module, and two of glue. The pool only counts them.
const CORE_INSTANCES_PER_MEMORY: u32 = 4;
/// Number of stacks in an engine's pool for each call, in a profile where a call may wait in several places at once.
const STACKS_PER_ASYNC_CALL: u32 = 4;
/// Number of calls beyond [`ProfileLimits::calls`] for which the pool of large or concurrent compartments has room. Only compartments with few
/// instances use it, so that one compartment can't take all room. Small compartments need none: `http.in_flight` lets in fewer calls than
/// their pools have room for.
const KEPT_CALLS: u32 = 64;
/// Number of instances from which on a compartment has no part in [`KEPT_CALLS`].
const FEW_INSTANCES: u64 = 8;
/// The bytes of a stack that stay resident between uses. Wasmtime reuses the least recently used stack, so in time each
/// of thousands would hold what its deepest recursion touched. The rest is returned to the kernel. Most calls touch no
/// more than this.
const KEEP_STACK: usize = 16 << 10;
/// The size of a call's stack as a multiple of what guests may use of it. The rest is for host functions.
const STACK_FACTOR: usize = 2;
/// The most bytes that Wasmtime may keep for a component's instance, without its core instances.
const COMPONENT_INSTANCE: usize = 4 << 20;

/// The most stack frames of a guest that are recorded when it traps. A log line names fewer functions, because it leaves out the panic
/// machinery.
const MAX_FRAMES: usize = 96;

/// Returns Wasmtime's settings for the engine of `profile`. Public so that benchmarks can run the same code on a bare engine.
pub fn config(profile: Profile) -> Config {
    config_for(profile, profile.limits().calls + kept_calls(profile))
}

fn kept_calls(profile: Profile) -> u32 {
    match profile {
        Profile::Reuse | Profile::Fresh => 0,
        Profile::Large | Profile::Async => KEPT_CALLS,
    }
}

/// Returns Wasmtime's settings for an engine that only compiles code for `profile`. It has room for one call: compiled code does not depend
/// on that number, and a larger pool would count as memory in use.
pub(crate) fn config_to_compile(profile: Profile) -> Config {
    config_for(profile, 1)
}

fn config_for(profile: Profile, calls: u32) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_implements(true)
        .wasm_component_model_map(true)
        // Wasmtime 50.0.1 can abort in builds without the features `gc` and `threads`, so it has both, and modules have neither.
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .concurrency_support(profile == Profile::Async)
        .epoch_interruption(true)
        .max_wasm_stack(profile.stack())
        .async_stack_size(profile.stack() * STACK_FACTOR)
        .async_stack_zeroing(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_FRAMES));
    if profile == Profile::Fresh {
        config
            .memory_init_cow(false)
            .memory_reservation(profile.limits().memory)
            .memory_reservation_for_growth(0)
            .memory_guard_size(0)
            .guard_before_linear_memory(false)
            .signals_based_traps(false);
        fresh::configure(&mut config, profile, calls);
    } else {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(profile, calls)));
    }
    config
}

/// Whether a call failed because the pool of its engine has no room for another instance.
pub fn is_out_of_room(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>() || error.is::<KeptForOthers>() || fresh::is_out_of_room(error)
}

/// The error that the room that is left in an engine's pool is kept for compartments with fewer instances.
#[derive(Debug, thiserror::Error)]
#[error("the room that is left is kept for compartments with fewer than {FEW_INSTANCES} instances")]
struct KeptForOthers;

/// Checks whether a compartment with `instances` instances may have another one in `engine`, the engine of `profile`.
///
/// # Errors
///
/// Returns an error for which [`is_out_of_room`] holds if the room that is left is kept for other compartments.
pub fn check_room(engine: &Engine, profile: Profile, instances: u64) -> wasmtime::Result<()> {
    if kept_calls(profile) == 0 || instances < FEW_INSTANCES {
        return Ok(());
    }
    let Some(pool) = engine.pooling_allocator_metrics() else { return Ok(()) };
    let calls = u64::from(profile.limits().calls);
    let is_full =
        pool.component_instances() >= calls || pool.memories() as u64 >= calls * u64::from(MEMORIES_PER_LARGE_CALL);
    if is_full { Err(KeptForOthers.into()) } else { Ok(()) }
}

fn pool(profile: Profile, calls: u32) -> PoolingAllocationConfig {
    let ProfileLimits { memory, table, instance, .. } = profile.limits();
    let (memories, stacks) = match profile {
        Profile::Reuse | Profile::Fresh => (calls * MEMORIES_PER_CALL, 1),
        Profile::Large => (calls * MEMORIES_PER_LARGE_CALL, 1),
        Profile::Async => (calls * MEMORIES_PER_LARGE_CALL, STACKS_PER_ASYNC_CALL),
    };
    let bytes = |bytes: u64| usize::try_from(bytes).expect("the host runs on 64 bits");
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_stacks(calls * stacks)
        .total_core_instances(memories * CORE_INSTANCES_PER_MEMORY)
        .total_memories(memories)
        .total_gc_heaps(0)
        .total_tables(memories * TABLES_PER_MEMORY)
        .max_core_instances_per_component(COMPARTMENT_LIMITS.core_instances)
        .max_memories_per_component(COMPARTMENT_LIMITS.memories)
        .max_tables_per_component(COMPARTMENT_LIMITS.tables)
        .max_memories_per_module(MEMORIES_PER_MODULE)
        .max_tables_per_module(TABLES_PER_MODULE)
        .max_core_instance_size(bytes(instance))
        .max_component_instance_size(COMPONENT_INSTANCE)
        .max_memory_size(bytes(memory))
        .table_elements(bytes(table))
        .async_stack_keep_resident(KEEP_STACK)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The Wasmtime engines of a process, at most one for each profile. Clones share them.
#[derive(Clone, Default)]
pub struct Engines {
    built: Arc<[Mutex<Option<Engine>>; Profile::ALL.len()]>,
    /// Whether the host stops, so that every further compilation is refused.
    is_stopping: Arc<AtomicBool>,
    progress: progress::Progress,
}

/// The error that an engine can't be created.
#[derive(Debug, thiserror::Error)]
#[error("the engine for {} instances can't be set up", .profile.as_str())]
pub struct EngineError {
    /// The profile whose engine was requested.
    pub profile: Profile,
    /// The reason that the engine can't be created. Usually a resource limit denies address space or a thread.
    pub source: wasmtime::Error,
}

impl Engines {
    /// Creates the set of engines. An engine is built when it is first requested.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends a running compilation within some milliseconds, and refuses further ones. For a host that stops: code that is
    /// compiled now could not run any more.
    pub fn stop_compiling(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether [`Self::stop_compiling`] was called.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns the compilations that run, in the order of their begin.
    pub fn compiling(&self) -> Vec<Compilation> {
        self.progress.running()
    }

    /// Returns the engine of a profile. The first call builds it and starts the thread that advances its epoch.
    ///
    /// # Errors
    ///
    /// Returns [`EngineError`] if the engine or its thread can't be created. A later call tries again.
    pub fn get(&self, profile: Profile) -> Result<Engine, EngineError> {
        self.get_with(profile, tick)
    }

    /// Returns the engine of a profile. `start_ticker` starts the thread that advances the engine's epoch. An engine without that thread
    /// would never interrupt its guests, so it is not handed out.
    fn get_with(
        &self,
        profile: Profile,
        start_ticker: impl FnOnce(&Engine) -> io::Result<()>,
    ) -> Result<Engine, EngineError> {
        // A panic during the call leaves the slot unchanged, so a poisoned lock is safe to use.
        let mut slot = self.built[profile as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*slot {
            return Ok(engine.clone());
        }
        let failed = |source| EngineError { profile, source };
        let engine = Engine::new(&config(profile)).map_err(failed)?;
        start_ticker(&engine)
            .map_err(|error| failed(wasmtime::Error::from(error).context("its ticker thread can't be started")))?;
        Ok(slot.insert(engine).clone())
    }
}

/// The number of ticks of all engines' epochs.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of ticks of all engines' epochs so far. If it stays the same, no epoch has advanced.
pub fn epoch_ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Starts the thread that advances the engine's epoch, by which guests are interrupted, until the engine is dropped.
fn tick(engine: &Engine) -> io::Result<()> {
    let weak = engine.weak();
    let ticker = move || {
        while let Some(engine) = weak.upgrade() {
            // Counted first, so that no guest is interrupted by a tick that is not counted.
            TICKS.fetch_add(1, Ordering::Relaxed);
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH_TICK);
        }
    };
    std::thread::Builder::new().name("epoch".to_owned()).spawn(ticker).map(drop)
}

/// Returns a hash of what compiled code and its engine must agree on, as 16 hexadecimal digits: Wasmtime's version, the
/// processor's features and the profile's settings.
fn compatibility(engine: &Engine) -> String {
    // This hash is not stable across Rust releases. A change only makes a new release of the host compile again.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_whose_ticker_does_not_start_is_never_handed_out() {
        let engines = Engines::new();
        let refused = engines.get_with(Profile::Fresh, |_| Err(io::ErrorKind::WouldBlock.into())).err().unwrap();
        let words = format!("{refused}: {:#}", refused.source);
        assert!(words.contains("ticker thread can't be started"), "{words}");
        // The next call builds an engine with its ticker.
        let engine = engines.get(Profile::Fresh).unwrap();
        assert!(Engine::same(&engine, &engines.get(Profile::Fresh).unwrap()));
    }
}
