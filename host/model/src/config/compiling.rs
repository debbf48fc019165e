//! What compiling a compartment may take: `[compile]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::tree::Table;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bounds of one compilation. They protect the host from components that are made to be compiled for ever. They count from the next
/// start of the host on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compiling {
    /// How long a compartment may take to compile. 5 minutes by default: a 20 MB interpreter takes about 15 s on two cores.
    pub time: Duration,
    /// The memory that it may take. 4 GiB by default: a 20 MB interpreter takes less than 2 GiB.
    pub memory: u64,
}

impl Default for Compiling {
    fn default() -> Self {
        Self { time: Duration::from_secs(300), memory: 4 * GIB }
    }
}

impl Compiling {
    const TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
    /// From what the smallest component takes.
    const MEMORY: RangeInclusive<u64> = 256 * MIB..=256 * GIB;

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        Self {
            time: table.duration("time", Self::TIME, base.time),
            memory: table.size("memory", Self::MEMORY, base.memory),
        }
    }
}
