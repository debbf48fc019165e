//! Reads `[compile]`: the limits of compilation.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::tree::Table;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The limits for compiling one compartment. They protect the host from components that are made to compile forever. A change to them
/// takes effect at the next start of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Greatest time for one compartment. Default: 5 minutes. A 20 MB interpreter takes about 15 s on two cores.
    pub time: Duration,
    /// Greatest memory of the compiling process, in bytes. Default: 4 GiB. A 20 MB interpreter takes less than 2 GiB.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(300), memory: 4 * GIB }
    }
}

impl CompileLimits {
    const TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
    /// The permitted values of `memory`. The lower bound is what compiling the smallest component takes.
    const MEMORY: RangeInclusive<u64> = 256 * MIB..=256 * GIB;

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        Self {
            time: table.duration("time", Self::TIME, base.time),
            memory: table.size("memory", Self::MEMORY, base.memory),
        }
    }
}
