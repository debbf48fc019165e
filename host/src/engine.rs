//! Wasmtime's engines: one per profile, built when first needed and shared by everything that runs under it.
//!
//! What an `Engine` fixes (pool sizes, reservations, guard pages, how bounds are checked) is part of compiled code's compatibility.
//! So a profile is part of the code cache's key, and there are few of them. This file compiles nothing; see [`compile`].

pub mod compile;

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::InstanceMode;

/// How often the epoch advances: a guest that computes gives way, and is checked against its deadline, this often.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Core instances, memories and tables that one engine's pool has. A composition takes one of each per module and call, some glue
/// besides; 256 calls at once of a dozen modules fit. Reserved as address space only.
const POOL_CORE_INSTANCES: u32 = 4096;
/// Component instances, and stacks, that one engine's pool has.
const POOL_COMPONENT_INSTANCES: u32 = 1024;
/// The most that one linear memory may grow to in the profile for fresh instances, where it is also what is reserved.
const FRESH_MEMORY: usize = 256 << 20;
/// The most that one linear memory may grow to where instances are reused.
const REUSE_MEMORY: usize = 1 << 30;
/// What a fresh instance's memory keeps resident between uses, so that the kernel isn't asked for it again each time.
const KEEP_MEMORY: usize = 2 << 20;
/// The same for a table, and for a stack.
const KEEP_SMALL: usize = 64 << 10;
/// The stack of one call, and the part of it that guests may use; the rest is the host functions'.
const ASYNC_STACK: usize = 1 << 20;
const WASM_STACK: usize = 512 << 10;

/// What an engine is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Small modules whose instances serve many calls: memory is mapped once with guard pages, so that bounds checks cost nothing.
    Reuse,
    /// Small modules with a new instance for each call: no guard pages and no copy-on-write images, because changing mappings
    /// costs more than checking bounds.
    Fresh,
}

impl From<InstanceMode> for Profile {
    fn from(mode: InstanceMode) -> Self {
        match mode {
            InstanceMode::Reuse => Profile::Reuse,
            InstanceMode::Fresh => Profile::Fresh,
        }
    }
}

impl Profile {
    /// Its name in cache files, logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Reuse => "reuse",
            Profile::Fresh => "fresh",
        }
    }

    /// The most that one linear memory may hold, in bytes.
    pub fn largest_memory(self) -> usize {
        match self {
            Profile::Reuse => REUSE_MEMORY,
            Profile::Fresh => FRESH_MEMORY,
        }
    }

    /// The profile of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Profile::Reuse, Profile::Fresh].into_iter().find(|profile| profile.as_str() == text)
    }

    /// Everything that this profile fixes. Public so that benchmarks can run the same code on a bare engine.
    pub fn config(self) -> Config {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .wasm_component_model_implements(true)
            .wasm_component_model_map(true)
            .concurrency_support(false)
            .epoch_interruption(true)
            .max_wasm_stack(WASM_STACK)
            .async_stack_size(ASYNC_STACK)
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
        if self == Profile::Fresh {
            config
                .memory_init_cow(false)
                .memory_reservation(FRESH_MEMORY as u64)
                .memory_reservation_for_growth(0)
                .memory_guard_size(0)
                .guard_before_linear_memory(false)
                .signals_based_traps(false);
        }
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(self.pool()));
        config
    }

    fn pool(self) -> PoolingAllocationConfig {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(POOL_COMPONENT_INSTANCES)
            .total_stacks(POOL_COMPONENT_INSTANCES)
            .total_core_instances(POOL_CORE_INSTANCES)
            .total_memories(POOL_CORE_INSTANCES)
            .total_tables(POOL_CORE_INSTANCES)
            .max_core_instances_per_component(256)
            .max_memories_per_component(64)
            .max_tables_per_component(256)
            .max_core_instance_size(1 << 20)
            .max_component_instance_size(4 << 20)
            .max_memory_size(self.largest_memory())
            .async_stack_keep_resident(KEEP_SMALL)
            .pagemap_scan(Enabled::Auto);
        if self == Profile::Fresh {
            pool.linear_memory_keep_resident(KEEP_MEMORY).table_keep_resident(KEEP_SMALL);
        }
        pool
    }
}

/// The engines of a process.
#[derive(Clone, Default)]
pub struct Engines {
    built: Arc<[OnceLock<Engine>; 2]>,
}

/// Why an engine can't be had.
#[derive(Debug, thiserror::Error)]
#[error("the engine for {} instances can't be set up", .profile.as_str())]
pub struct EngineError {
    /// Which.
    pub profile: Profile,
    /// Wasmtime's reason: mostly address space that a resource limit denies.
    pub source: wasmtime::Error,
}

impl Engines {
    /// No engine is built yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine of a profile; the first call builds it and starts the thread that advances its epoch.
    pub fn get(&self, profile: Profile) -> Result<Engine, EngineError> {
        let slot = &self.built[profile as usize];
        if let Some(engine) = slot.get() {
            return Ok(engine.clone());
        }
        let engine = Engine::new(&profile.config()).map_err(|source| EngineError { profile, source })?;
        // Should another thread have been faster, its engine counts, and this one goes without a ticker.
        if slot.set(engine.clone()).is_ok() {
            tick(&engine);
            return Ok(engine);
        }
        Ok(slot.get().expect("it was just found set").clone())
    }
}

/// Advances the engine's epoch for as long as the engine is alive.
fn tick(engine: &Engine) {
    let weak = engine.weak();
    let ticker = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH_TICK);
        }
    };
    std::thread::Builder::new().name("epoch".to_owned()).spawn(ticker).expect("a thread can be started at start-up");
}

/// What compiled code must agree on with the engine that runs it, as 16 hexadecimal digits: Wasmtime's version, the processor's
/// features and the profile's settings.
fn compatibility(engine: &Engine) -> String {
    // Not a stable hash: a new release of the host merely compiles again.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
