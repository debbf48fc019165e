//! Wasmtime's engines: one per profile, built when first needed and shared by everything that runs under it.
//!
//! What an `Engine` fixes (pool sizes, reservations, guard pages, how bounds are checked) is part of compiled code's compatibility.
//! So a profile is part of the code cache's key, and there are few of them. This file compiles nothing; see [`compile`].

pub mod compile;
pub mod examine;
mod swap;

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use watertight_component::profile::{MEMORIES_PER_MODULE, PER_COMPARTMENT, Profile, Room, TABLES_PER_MODULE};

/// How often the epoch advances: a guest that computes gives way, and is checked against its deadline and its processor time, this
/// often. So a loop is stopped half a tick after its budget on average.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Memories that an engine's pool has for each call that it has room for. Reserved as address space only. A small module has one; a
/// compartment of several takes more, so that fewer calls of it find room.
const MEMORIES_PER_CALL: u32 = 1;
/// The same where one module brings adapters and glue along, of some four core modules.
const MEMORIES_PER_LARGE_CALL: u32 = 8;
/// Tables for each memory: a module's own, and that of the glue through which it calls what it imports.
const TABLES_PER_MEMORY: u32 = 2;
/// Core instances for each memory: a module, and two of glue. They are only counted.
const CORE_INSTANCES_PER_MEMORY: u32 = 4;
/// Stacks for each call where a call may wait in several places at once.
const STACKS_PER_ASYNC_CALL: u32 = 4;
/// What a fresh instance's memory keeps resident between uses, so that the kernel isn't asked for it again each time.
const KEEP_MEMORY: usize = 2 << 20;
/// The same for a table.
const KEEP_TABLE: usize = 64 << 10;
/// What a stack keeps. Wasmtime takes the stack that was used longest ago, so that in time each of thousands holds what the deepest
/// recursion left: the rest is given back. This much is what most calls touch.
const KEEP_STACK: usize = 16 << 10;
/// How much larger the stack of a call is than what guests may use of it; the rest is the host functions'.
const STACK_PER_GUESTS: usize = 2;
/// After how many ticks it is looked again whether memory may be swapped out: 10 s.
const TICKS_TO_LOOK_FOR_SWAP: u32 = 2_000;
/// What Wasmtime may keep for a component's instance, its core instances aside.
const COMPONENT_INSTANCE: usize = 4 << 20;

/// Frames of a guest's stack that are gathered at a trap. A log line names fewer functions, without those that a panic goes through.
const MAX_FRAMES: usize = 96;

/// The configuration of engines of a profile. Public so that benchmarks can run the same code on a bare engine.
pub fn config(profile: Profile) -> Config {
    config_for(profile, profile.room().calls)
}

/// The same for an engine that only compiles: code doesn't depend on how many calls there is room for, and that room is counted
/// as memory in use.
pub(crate) fn config_to_compile(profile: Profile) -> Config {
    config_for(profile, 1)
}

fn config_for(profile: Profile, calls: u32) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_implements(true)
        .wasm_component_model_map(true)
        .concurrency_support(profile == Profile::Async)
        .epoch_interruption(true)
        .max_wasm_stack(profile.stack())
        .async_stack_size(profile.stack() * STACK_PER_GUESTS)
        .async_stack_zeroing(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_FRAMES));
    if profile == Profile::Fresh {
        config
            .memory_init_cow(false)
            .memory_reservation(profile.room().memory)
            .memory_reservation_for_growth(0)
            .memory_guard_size(0)
            .guard_before_linear_memory(false)
            .signals_based_traps(false);
    }
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(profile, calls)));
    config
}

fn pool(profile: Profile, calls: u32) -> PoolingAllocationConfig {
    let Room { memory, table, instance, .. } = profile.room();
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
        .total_tables(memories * TABLES_PER_MEMORY)
        .max_core_instances_per_component(PER_COMPARTMENT.core_instances)
        .max_memories_per_component(PER_COMPARTMENT.memories)
        .max_tables_per_component(PER_COMPARTMENT.tables)
        .max_memories_per_module(MEMORIES_PER_MODULE)
        .max_tables_per_module(TABLES_PER_MODULE)
        .max_core_instance_size(bytes(instance))
        .max_component_instance_size(COMPONENT_INSTANCE)
        .max_memory_size(bytes(memory))
        .table_elements(bytes(table))
        .async_stack_keep_resident(KEEP_STACK)
        .pagemap_scan(if swap::is_possible() { Enabled::No } else { Enabled::Auto });
    if profile == Profile::Fresh {
        pool.linear_memory_keep_resident(KEEP_MEMORY).table_keep_resident(KEEP_TABLE);
    }
    pool
}

/// The engines of a process.
#[derive(Clone, Default)]
pub struct Engines {
    built: Arc<[Mutex<Option<Engine>>; Profile::ALL.len()]>,
    /// Whether nothing more is to be compiled for them.
    is_stopping: Arc<AtomicBool>,
}

/// Why an engine can't be had.
#[derive(Debug, thiserror::Error)]
#[error("the engine for {} instances can't be set up", .profile.as_str())]
pub struct EngineError {
    /// Which.
    pub profile: Profile,
    /// The reason: mostly address space, or a thread, that a resource limit denies.
    pub source: wasmtime::Error,
}

impl Engines {
    /// No engine is built yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has nothing more compiled for them: a compilation under way is ended within some milliseconds, a further one refused. For a host
    /// that stops, since what would be compiled could not run any more.
    pub fn stop_compiling(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// The engine of a profile; the first call builds it and starts the thread that advances its epoch.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; a later call tries again.
    pub fn get(&self, profile: Profile) -> Result<Engine, EngineError> {
        self.get_with(profile, tick)
    }

    /// As [`Self::get`], with `start_ticker` to start the thread. An engine without one would never interrupt its guests: nobody gets it.
    fn get_with(
        &self,
        profile: Profile,
        start_ticker: impl FnOnce(&Engine) -> io::Result<()>,
    ) -> Result<Engine, EngineError> {
        // Whoever panicked while holding it left the slot as it was.
        let mut slot = self.built[profile as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*slot {
            return Ok(engine.clone());
        }
        let failed = |source| EngineError { profile, source };
        let engine = Engine::new(&config(profile)).map_err(failed)?;
        if profile == Profile::Fresh && swap::is_possible() {
            tracing::warn!("memory can be swapped out here, so fresh instances are reset the slow way (SECURITY.md)");
        }
        start_ticker(&engine)
            .map_err(|error| failed(wasmtime::Error::from(error).context("its ticker thread can't be started")))?;
        Ok(slot.insert(engine).clone())
    }
}

/// Starts the thread that advances the engine's epoch for as long as the engine is alive.
fn tick(engine: &Engine) -> io::Result<()> {
    let weak = engine.weak();
    // Where it was possible from the start, the engine doesn't rely on it that it isn't.
    let mut is_told = swap::is_possible();
    let ticker = move || {
        let mut ticks = 0;
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            ticks = (ticks + 1) % TICKS_TO_LOOK_FOR_SWAP;
            if ticks == 0 && !is_told && swap::is_possible() {
                is_told = true;
                tracing::error!(
                    "swap was switched on while the host runs: a fresh instance may find what one before it wrote; start the host again \
                     (SECURITY.md)"
                );
            }
            std::thread::sleep(EPOCH_TICK);
        }
    };
    std::thread::Builder::new().name("epoch".to_owned()).spawn(ticker).map(drop)
}

/// What compiled code must agree on with the engine that runs it, as 16 hexadecimal digits: Wasmtime's version, the processor's
/// features and the profile's settings.
fn compatibility(engine: &Engine) -> String {
    // Not a stable hash: a new release of the host merely compiles again.
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
        // The next one that asks has one made, with its ticker.
        let engine = engines.get(Profile::Fresh).unwrap();
        assert!(Engine::same(&engine, &engines.get(Profile::Fresh).unwrap()));
    }
}
