//! Defines the profiles of Wasmtime engines, and chooses the profile that the modules of a compartment need.
//!
//! An engine fixes how much its instances may use and how their memory is laid out, so the host has several. What a module needs is read
//! from its bytes before anything is compiled. The crate `engine` makes the engines themselves.

mod needs;

use std::fmt;

use serde::Serialize;

use watertight_model::config::InstanceMode;
use watertight_model::ids::ModuleName;

pub use needs::{CompartmentNeeds, EngineNeeds};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Greatest size in bytes of a small module's initial memory, which each fresh instance keeps resident. A Rust module starts with
/// 1.1 MiB, most of it stack. Languages with a runtime start with more: Go with 2.6 MiB, JavaScript with 9 MiB, Python with over 10 MiB.
const SMALL_START: u64 = 2 * MIB;

/// The settings of a Wasmtime engine. Compiled code is cached for one profile, under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// For small modules whose instances serve many calls. Memory is mapped once with guard pages, so that bounds checks cost nothing.
    Reuse,
    /// For small modules with a new instance for each call. It uses neither guard pages nor copy-on-write images, because changing mappings
    /// costs more than checking bounds.
    Fresh,
    /// For interpreters and other modules with a large initial memory, large tables or many functions, in either instance mode. The initial
    /// memory is a copy-on-write image: a call pays only for the pages that it changes.
    Large,
    /// For modules of any size that use the component model's own concurrency (`async func`, streams, futures) or WASI 0.3. It makes every call
    /// slower, so other modules run without it.
    Async,
}

/// Greatest number of linear memories that one core module may define. Wasmtime's pools are configured for this number.
pub const MEMORIES_PER_MODULE: u32 = 1;
/// Greatest number of tables that one core module may define. Wasmtime's pools are configured for this number.
pub const TABLES_PER_MODULE: u32 = 1;
/// The most that all modules of a compartment may need together. The adapters that Wasmtime generates count as core instances too.
pub const COMPARTMENT_LIMITS: CompartmentNeeds =
    CompartmentNeeds { core_instances: 256, memories: 64, memory: u64::MAX, tables: 256 };

/// The limits of the instances that run on an engine of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileLimits {
    /// Greatest size that one linear memory may grow to, in bytes.
    pub memory: u64,
    /// Greatest number of elements that one table may grow to.
    pub table: u64,
    /// Greatest number of bytes that the engine may keep for the instance of one core module.
    pub instance: u64,
    /// Greatest number of calls that run at once on the profile's engine. Each call has its own instance of a whole compartment.
    pub calls: u32,
}

/// The reason that the host chose the profile of a compartment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileReason {
    /// All modules of the compartment are small, so the instance mode decides.
    Small(InstanceMode),
    /// This module of the compartment needs more than a small module may have.
    Large(ModuleName, ExceededLimit),
    /// This module of the compartment uses the component model's own concurrency.
    Concurrent(ModuleName),
}

/// The need of a module that exceeds a limit, with the amount that the module needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExceededLimit {
    /// A linear memory has this many bytes when an instance starts.
    Memory(u64),
    /// A table has this many elements when an instance starts.
    Table(u64),
    /// The engine keeps this many bytes for the instance of a core module.
    Instance(u64),
    /// One core module defines this many linear memories.
    Memories(u32),
    /// One core module defines this many tables.
    Tables(u32),
}

impl fmt::Display for ExceededLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "starts with {} KiB of memory", bytes.div_ceil(KIB)),
            Self::Table(elements) => write!(f, "starts with a table of {elements} elements"),
            Self::Instance(bytes) => write!(f, "has functions that need {} KiB in the engine", bytes.div_ceil(KIB)),
            Self::Memories(count) => write!(f, "has {count} memories in one core module"),
            Self::Tables(count) => write!(f, "has {count} tables in one core module"),
        }
    }
}

impl fmt::Display for ProfileReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(InstanceMode::Reuse) => f.write_str("small modules, whose instances are reused"),
            Self::Small(InstanceMode::Fresh) => f.write_str("small modules, with a new instance for each call"),
            Self::Large(module, excess) => write!(f, "{module} {excess}"),
            Self::Concurrent(module) => {
                write!(f, "{module} uses WASI 0.3 or the component model's own concurrency")
            }
        }
    }
}

/// The error that a module needs more than any engine of the host allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module `{module}` {excess}, and the host allows {} at most", ExceededLimit::limit(.excess))]
pub struct TooLargeForEngine {
    /// The name of the module.
    pub module: ModuleName,
    /// What the module needs beyond the limit.
    pub excess: ExceededLimit,
}

impl ExceededLimit {
    /// Returns the limit of the largest profile for this need, in the unit of the message.
    fn limit(&self) -> u64 {
        let room = Profile::Large.limits();
        match self {
            Self::Memory(_) => room.memory / KIB,
            Self::Table(_) => room.table,
            Self::Instance(_) => room.instance / KIB,
            Self::Memories(_) => u64::from(MEMORIES_PER_MODULE),
            Self::Tables(_) => u64::from(TABLES_PER_MODULE),
        }
    }

    /// Returns the first need of a module that exceeds a limit, or `None` if none does: `memory` bounds the initial memory, `limits` bounds
    /// everything else.
    fn of(needs: &EngineNeeds, memory: u64, limits: ProfileLimits) -> Option<Self> {
        if needs.memory > memory {
            Some(Self::Memory(needs.memory))
        } else if needs.table > limits.table {
            Some(Self::Table(needs.table))
        } else {
            (needs.instance > limits.instance).then_some(Self::Instance(needs.instance))
        }
    }
}

impl ExceededLimit {
    /// Returns the first count in `needs` that exceeds the limit of every profile, or `None` if none does.
    fn of_counts(needs: &EngineNeeds) -> Option<Self> {
        let memories = (needs.memories > MEMORIES_PER_MODULE).then_some(Self::Memories(needs.memories));
        memories.or_else(|| (needs.tables > TABLES_PER_MODULE).then_some(Self::Tables(needs.tables)))
    }

    /// Returns a remedy: what the author of the module can change.
    pub fn help(self) -> &'static str {
        match self {
            Self::Memory(_) | Self::Table(_) | Self::Instance(_) => {
                "build the module with less initial memory, smaller tables or fewer functions; memory can grow later"
            }
            Self::Memories(_) => "build the module with one memory (without the feature `multi-memory`)",
            Self::Tables(_) => "build the module with one table",
        }
    }
}

impl Profile {
    /// All profiles, in a fixed order.
    pub const ALL: [Self; 4] = [Self::Reuse, Self::Fresh, Self::Large, Self::Async];

    /// Returns the name of the profile in cache files, logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::Fresh => "fresh",
            Self::Large => "large",
            Self::Async => "async",
        }
    }

    /// Returns the profile with the name `text`, or `None` if no profile has it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == text)
    }

    /// Returns the size in bytes of the stack for the guests of one call. Interpreters need more, because they recurse for each call of the
    /// program that they run.
    pub fn stack(self) -> usize {
        match self {
            Self::Reuse | Self::Fresh => 512 << 10,
            Self::Large | Self::Async => 1 << 20,
        }
    }

    /// Returns the limits of the profile's instances. Memories use only address space until they are written: 4 GiB each with guard pages.
    pub fn limits(self) -> ProfileLimits {
        match self {
            Self::Reuse => ProfileLimits { memory: 1024 * MIB, table: 20_000, instance: MIB, calls: 4096 },
            Self::Fresh => ProfileLimits { memory: 256 * MIB, table: 20_000, instance: MIB, calls: 4096 },
            Self::Large | Self::Async => {
                ProfileLimits { memory: 4096 * MIB, table: 200_000, instance: 16 * MIB, calls: 256 }
            }
        }
    }

    /// Returns the first need that makes a module too large for the profiles of small modules. `None` means that the module is small.
    pub fn exceeded_limit(needs: &EngineNeeds) -> Option<ExceededLimit> {
        ExceededLimit::of(needs, SMALL_START, Self::Reuse.limits())
    }

    /// Chooses the profile that `modules` need together in the instance mode `mode`, and returns the reason for the choice.
    ///
    /// # Errors
    ///
    /// [`TooLargeForEngine`] names the first module that needs more than the largest profile allows.
    pub fn choose<'a>(
        mode: InstanceMode,
        modules: impl Iterator<Item = (&'a ModuleName, &'a EngineNeeds)> + Clone,
    ) -> Result<(Self, ProfileReason), TooLargeForEngine> {
        let largest = Self::Large.limits();
        let too_large = |(module, needs): (&'a ModuleName, &EngineNeeds)| {
            let excess = ExceededLimit::of(needs, largest.memory, largest).or_else(|| ExceededLimit::of_counts(needs));
            excess.map(|excess| TooLargeForEngine { module: module.clone(), excess })
        };
        if let Some(no_room) = modules.clone().find_map(too_large) {
            return Err(no_room);
        }
        if let Some((module, _)) = modules.clone().find(|(_, needs)| needs.concurrency) {
            return Ok((Self::Async, ProfileReason::Concurrent(module.clone())));
        }
        let small = match mode {
            InstanceMode::Reuse => Self::Reuse,
            InstanceMode::Fresh => Self::Fresh,
        };
        let mut modules = modules;
        Ok(match modules.find_map(|(module, needs)| Some((module.clone(), Self::exceeded_limit(needs)?))) {
            Some((module, excess)) => (Self::Large, ProfileReason::Large(module, excess)),
            None => (small, ProfileReason::Small(mode)),
        })
    }
}
