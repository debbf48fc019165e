//! What an engine is tuned for, and which kind of engine a compartment's modules need.
//!
//! An engine fixes how much its instances may have and how their memory is laid out. So there are a few kinds, and which one a module
//! needs is read from its bytes, before anything is compiled. The engines themselves are `engine`'s.

mod needs;

use std::fmt;

use serde::Serialize;

use watertight_model::config::InstanceMode;
use watertight_model::ids::ModuleName;

pub use needs::{Needs, Total};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Memory that a small module may have when it starts: what a fresh instance keeps resident. A Rust module starts with 1.1 MiB, most
/// of it stack. Languages that bring a runtime along start with more: Go with 2.6 MiB, JavaScript with 9 MiB, Python with above 10.
const SMALL_START: u64 = 2 * MIB;

/// What an engine is tuned for. Its name is part of compiled code's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Small modules whose instances serve many calls: memory is mapped once with guard pages, so that bounds checks cost nothing.
    Reuse,
    /// Small modules with a new instance for each call: no guard pages and no copy-on-write images, because changing mappings
    /// costs more than checking bounds.
    Fresh,
    /// Interpreters and other modules that start with much memory, large tables or many functions, whether their instances are
    /// reused or not: their memory is a copy-on-write image, of which a call pays for what it changes.
    Large,
    /// Modules that use the component model's own concurrency (`async func`, streams, futures), whatever their size. It makes every
    /// call dearer, so the others go without. A function may return and go on, so each call has new instances.
    Async,
}

/// Linear memories that one core module may define: what a pool of Wasmtime's has room for.
pub const MEMORIES_PER_MODULE: u32 = 1;
/// Tables that one core module may define.
pub const TABLES_PER_MODULE: u32 = 1;
/// What all modules of a compartment together may have. Its adapters are instances too.
pub const PER_COMPARTMENT: Total = Total { core_instances: 256, memories: 64, memory: u64::MAX, tables: 256 };

/// What the instances of a profile may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that one linear memory may grow to.
    pub memory: u64,
    /// Elements that one table may grow to.
    pub table: u64,
    /// Bytes that the engine may keep for one core module's instance.
    pub instance: u64,
    /// Calls at once, each on its own instance of a whole compartment.
    pub calls: u32,
}

/// Why a compartment has its profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its modules are small, and its instances are reused or not.
    Small(InstanceMode),
    /// A module needs more than small ones may have.
    Large(ModuleName, Excess),
    /// A module uses the component model's own concurrency.
    Concurrent(ModuleName),
}

/// What a module has more of than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Bytes of memory at the start.
    Memory(u64),
    /// Elements of a table at the start.
    Table(u64),
    /// Bytes that the engine keeps for an instance.
    Instance(u64),
    /// Memories of one core module.
    Memories(u32),
    /// Tables of one core module.
    Tables(u32),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "starts with {} KiB of memory", bytes.div_ceil(KIB)),
            Self::Table(elements) => write!(f, "starts with a table of {elements} elements"),
            Self::Instance(bytes) => write!(f, "has functions that take the engine {} KiB", bytes.div_ceil(KIB)),
            Self::Memories(count) => write!(f, "has {count} memories in one core module"),
            Self::Tables(count) => write!(f, "has {count} tables in one core module"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(InstanceMode::Reuse) => f.write_str("small modules, whose instances are reused"),
            Self::Small(InstanceMode::Fresh) => f.write_str("small modules, with a new instance for each call"),
            Self::Large(module, excess) => write!(f, "{module} {excess}"),
            Self::Concurrent(module) => {
                write!(f, "{module} uses the component model's own concurrency, so that each call has new instances")
            }
        }
    }
}

/// A module that no engine of the host has room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module `{module}` {excess}, and the host has room for {} at most", Excess::limit(.excess))]
pub struct NoRoom {
    /// Which.
    pub module: ModuleName,
    /// What there is too much of.
    pub excess: Excess,
}

impl Excess {
    /// The most that the largest profile has of it.
    fn limit(&self) -> u64 {
        let room = Profile::Large.room();
        match self {
            Self::Memory(_) => room.memory / KIB,
            Self::Table(_) => room.table,
            Self::Instance(_) => room.instance / KIB,
            Self::Memories(_) => u64::from(MEMORIES_PER_MODULE),
            Self::Tables(_) => u64::from(TABLES_PER_MODULE),
        }
    }

    /// The first thing of which `needs` has more than `memory` at the start and `room` otherwise.
    fn of(needs: &Needs, memory: u64, room: Room) -> Option<Self> {
        if needs.memory > memory {
            Some(Self::Memory(needs.memory))
        } else if needs.table > room.table {
            Some(Self::Table(needs.table))
        } else {
            (needs.instance > room.instance).then_some(Self::Instance(needs.instance))
        }
    }
}

impl Excess {
    /// What `needs` has too many of, whatever the profile.
    fn of_counts(needs: &Needs) -> Option<Self> {
        let memories = (needs.memories > MEMORIES_PER_MODULE).then_some(Self::Memories(needs.memories));
        memories.or_else(|| (needs.tables > TABLES_PER_MODULE).then_some(Self::Tables(needs.tables)))
    }

    /// What to do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::Memory(_) | Self::Table(_) | Self::Instance(_) => {
                "build it to start with less: what it needs later it can ask for then"
            }
            Self::Memories(_) => "build it with one memory (without the feature `multi-memory`)",
            Self::Tables(_) => "build it with one table",
        }
    }
}

impl Profile {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 4] = [Self::Reuse, Self::Fresh, Self::Large, Self::Async];

    /// Its name in cache files, logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::Fresh => "fresh",
            Self::Large => "large",
            Self::Async => "async",
        }
    }

    /// The profile of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == text)
    }

    /// Bytes of stack that the guests of one call have. Interpreters call themselves for each call of the program that they run.
    pub fn stack(self) -> usize {
        match self {
            Self::Reuse | Self::Fresh => 512 << 10,
            Self::Large | Self::Async => 1 << 20,
        }
    }

    /// What its instances may have. Memories are address space alone until they are used: 4 GiB each where there are guard pages.
    pub fn room(self) -> Room {
        match self {
            Self::Reuse => Room { memory: 1024 * MIB, table: 20_000, instance: MIB, calls: 4096 },
            Self::Fresh => Room { memory: 256 * MIB, table: 20_000, instance: MIB, calls: 4096 },
            Self::Large | Self::Async => Room { memory: 4096 * MIB, table: 200_000, instance: 16 * MIB, calls: 256 },
        }
    }

    /// Why a module is too large to stand among small ones, if it is.
    pub fn excess(needs: &Needs) -> Option<Excess> {
        Excess::of(needs, SMALL_START, Self::Reuse.room())
    }

    /// The profile that modules need together whose instances live as `mode` says, and why.
    pub fn choose<'a>(
        mode: InstanceMode,
        modules: impl Iterator<Item = (&'a ModuleName, &'a Needs)> + Clone,
    ) -> Result<(Self, Reason), NoRoom> {
        let largest = Self::Large.room();
        let too_large = |(module, needs): (&'a ModuleName, &Needs)| {
            let excess = Excess::of(needs, largest.memory, largest).or_else(|| Excess::of_counts(needs));
            excess.map(|excess| NoRoom { module: module.clone(), excess })
        };
        if let Some(no_room) = modules.clone().find_map(too_large) {
            return Err(no_room);
        }
        if let Some((module, _)) = modules.clone().find(|(_, needs)| needs.concurrency) {
            return Ok((Self::Async, Reason::Concurrent(module.clone())));
        }
        let small = match mode {
            InstanceMode::Reuse => Self::Reuse,
            InstanceMode::Fresh => Self::Fresh,
        };
        let mut modules = modules;
        Ok(match modules.find_map(|(module, needs)| Some((module.clone(), Self::excess(needs)?))) {
            Some((module, excess)) => (Self::Large, Reason::Large(module, excess)),
            None => (small, Reason::Small(mode)),
        })
    }
}
