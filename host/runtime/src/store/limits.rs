//! What one call may take, counted where it is taken: memory and tables as they grow, processor time around polls, lines of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use watertight_sql::SqlLimit;
use watertight_telemetry::table::Limited;

/// Elements that all tables of a store may have together.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;

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
    /// The call computed for longer than it may.
    #[error("the call has had its {limit:?} of processor time")]
    Cpu {
        /// How long it may.
        limit: Duration,
    },
    /// Functions called functions too deeply.
    #[error("the stack would be larger than {limit} bytes")]
    Stack {
        /// What the engine gives guests, in bytes.
        limit: usize,
    },
    /// A function's arguments or result would have been larger than may leave a guest at once.
    #[error("more data would be copied out of the guest at once than {limit} bytes in the host's memory")]
    Transfer {
        /// What it may take in the host, in bytes.
        limit: usize,
    },
    /// The guests of the store held too many handles.
    #[error("there would be more handles than {limit}")]
    Handles {
        /// How many there may be.
        limit: usize,
    },
}

impl LimitHit {
    /// Which, for counters.
    pub fn kind(&self) -> Limited {
        match self {
            Self::Memory { .. } => Limited::Memory,
            Self::Table { .. } => Limited::Table,
            Self::Cpu { .. } => Limited::Cpu,
            Self::Stack { .. } => Limited::Stack,
            Self::Transfer { .. } => Limited::Transfer,
            Self::Handles { .. } => Limited::Handles,
        }
    }
}

/// Which limit of SQL, for counters. Who meets one is told so, and the call goes on.
pub fn kind_of(limit: &SqlLimit) -> Limited {
    match limit {
        SqlLimit::Rows(_) => Limited::SqlRows,
        SqlLimit::Bytes(_) => Limited::SqlBytes,
        SqlLimit::Time(_) => Limited::SqlTime,
        SqlLimit::Size(_) => Limited::SqlSize,
        SqlLimit::Text(_) => Limited::SqlText,
        SqlLimit::Value(_) => Limited::SqlValue,
        SqlLimit::Transaction(_) => Limited::SqlTransaction,
    }
}

/// Sums what the instances of a store take; Wasmtime's own limits are for each memory alone.
pub(super) struct Limiter {
    pub(super) memory: usize,
    pub(super) memory_limit: usize,
    /// What one memory may hold: as much as the engine reserves for it.
    pub(super) largest_memory: usize,
    /// The same of a table, in elements.
    pub(super) largest_table: usize,
    pub(super) table: usize,
    pub(super) hit: Option<LimitHit>,
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
        // The engine's own size comes as the maximum too.
        if desired > self.largest_table {
            self.hit = Some(LimitHit::Table { wanted: desired, limit: self.largest_table });
            return Ok(false);
        }
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

/// One poll of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How long it took.
    pub time: Duration,
    /// Whether that is processor time, and not time on the wall.
    pub is_exact: bool,
}

/// The processor time of one call, which whoever polls the call and whoever interrupts its guests count together.
///
/// Asking the kernel for a thread's processor time costs more than a short call's whole work. So until the first tick of the epoch a
/// coarse clock on the wall counts, which goes by milliseconds; what computes for longer than that is measured.
#[derive(Debug)]
pub struct Cpu {
    /// All in nanoseconds. Used in polls that have ended.
    used: AtomicU64,
    /// What the clock said when the poll that runs now began.
    began: AtomicU64,
    /// Whether that is the thread's own clock.
    exact: AtomicBool,
    budget: AtomicU64,
    ticked: AtomicBool,
}

impl Cpu {
    /// Nothing is used of a budget that isn't set yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            began: AtomicU64::new(0),
            exact: AtomicBool::new(false),
            budget: AtomicU64::new(u64::MAX),
            ticked: AtomicBool::new(false),
        })
    }

    /// Begins anew, for a call that may use so much.
    pub(super) fn begin(&self, budget: Duration) {
        self.used.store(0, Relaxed);
        self.budget.store(nanos(budget), Relaxed);
        self.ticked.store(false, Relaxed);
    }

    /// A poll begins.
    pub fn poll(&self) {
        let exact = self.ticked.load(Relaxed);
        self.exact.store(exact, Relaxed);
        self.began.store(clock(exact), Relaxed);
    }

    /// It ends.
    pub fn pause(&self) -> Step {
        let spent = self.current();
        self.used.fetch_add(spent, Relaxed);
        Step { time: Duration::from_nanos(spent), is_exact: self.exact.load(Relaxed) }
    }

    /// Has the call's polls measured exactly from the first one on.
    pub fn watch(&self) {
        self.ticked.store(true, Relaxed);
    }

    /// The epoch ticked while a guest ran. Says what the budget was where it is used up.
    pub(super) fn tick(&self) -> Option<Duration> {
        self.ticked.store(true, Relaxed);
        let budget = self.budget.load(Relaxed);
        (self.used.load(Relaxed).saturating_add(self.current()) >= budget).then(|| Duration::from_nanos(budget))
    }

    /// What is left for a callee; asked by the call itself, while it runs. The poll that runs now isn't counted: it lasts for a tick of the
    /// epoch at most, and reading the thread's clock would cost each bridged call as much again as all else of it.
    pub(super) fn left(&self) -> Duration {
        Duration::from_nanos(self.budget.load(Relaxed).saturating_sub(self.used.load(Relaxed)))
    }

    /// What the poll that runs now has used.
    fn current(&self) -> u64 {
        clock(self.exact.load(Relaxed)).saturating_sub(self.began.load(Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What this thread has computed so far, or what a coarse clock on the wall says; in nanoseconds.
fn clock(exact: bool) -> u64 {
    let time = clock_gettime(if exact { ClockId::ThreadCPUTime } else { ClockId::MonotonicCoarse });
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter { memory: 0, memory_limit: 1000, largest_memory: 600, largest_table: 1000, table: 0, hit: None }
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
