//! Enforces the limits of one call: memory and tables when they grow, and processor time around each poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use watertight_engine::epoch_ticks;
use watertight_engine::offload::PollTime;
use watertight_telemetry::table::LimitKind;

/// The largest number of elements that all tables of a store have together.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;

/// A limit that a call met, with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitHit {
    /// The memories of the store would together exceed their limit, or one memory would exceed what the engine reserves for it.
    #[error("memory would grow to {wanted} bytes, of {limit} allowed")]
    Memory {
        /// The size that was asked for, in bytes.
        wanted: usize,
        /// The largest size, in bytes.
        limit: usize,
    },
    /// The tables of the store would together exceed their limit, or one table would exceed the engine's.
    #[error("tables would grow to {wanted} elements, of {limit} allowed")]
    Table {
        /// The size that was asked for, in elements.
        wanted: usize,
        /// The largest size, in elements.
        limit: usize,
    },
    /// The call used all its processor time.
    #[error("the call has used all its {limit:?} of processor time")]
    Cpu {
        /// The processor time that the call may use.
        limit: Duration,
    },
    /// The guest's call stack overflowed.
    #[error("the stack would be larger than {limit} bytes")]
    Stack {
        /// The size of a guest's stack in the engine, in bytes.
        limit: usize,
    },
    /// The arguments or the result of a function, or what streams hold, were too large to be copied out of the guest.
    #[error(
        "the arguments, the result or unread items of streams would take more than {limit} bytes in the host's memory \
         (`limits.transfer`)"
    )]
    Transfer {
        /// The largest size of such a copy in the host's memory, in bytes.
        limit: usize,
    },
    /// Too many streams and futures were open between the call and other compartments.
    #[error("the call would have more than {limit} streams and futures open with other compartments")]
    Streams {
        /// The largest number of streams and futures.
        limit: usize,
    },
    /// The guests of the store held too many resource handles.
    #[error("the guests would hold more than {limit} resource handles")]
    Handles {
        /// The largest number of handles.
        limit: usize,
    },
}

impl LimitHit {
    /// Returns the kind of limit, for metrics.
    pub fn kind(&self) -> LimitKind {
        match self {
            Self::Memory { .. } => LimitKind::Memory,
            Self::Table { .. } => LimitKind::Table,
            Self::Cpu { .. } => LimitKind::Cpu,
            Self::Stack { .. } => LimitKind::Stack,
            Self::Transfer { .. } => LimitKind::Transfer,
            Self::Handles { .. } => LimitKind::Handles,
            Self::Streams { .. } => LimitKind::Streams,
        }
    }
}

/// Sums the memory and table sizes of a store's instances. Wasmtime's own limits hold for each memory and table alone.
pub(super) struct Limiter {
    pub(super) memory: usize,
    pub(super) memory_limit: usize,
    /// The largest size of one memory in bytes: the room that the engine reserves for it.
    pub(super) largest_memory: usize,
    /// The largest size of one table, in elements.
    pub(super) largest_table: usize,
    pub(super) table: usize,
    pub(super) hit: Option<LimitHit>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // This growth will fail, so it must not be counted: Wasmtime does not report which growth failed.
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
        // Checked first, because `maximum` may be the engine's own bound, which is a limit to report.
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

/// The part of a call's budget of processor time that is counted by a coarse clock: one in so many.
const COARSE_PART: u64 = 8;

/// Counts the processor time of one call.
///
/// The code that polls the call and the epoch callback that interrupts its guests share it. Reading a thread's processor time is a system
/// call that costs more than a whole short call. So a coarse wall clock with a resolution of milliseconds counts at first: it samples, and
/// short polls add up to their time on average. It includes the time of other threads, so after a part of the budget (`COARSE_PART`), each
/// poll is measured with the thread's processor time.
#[derive(Debug)]
pub struct CpuMeter {
    /// The time that finished polls have used, in nanoseconds.
    used: AtomicU64,
    /// The value of [`clock`] at the start of the current poll, in nanoseconds.
    began: AtomicU64,
    /// Whether the current poll is measured with the thread's processor time.
    exact: AtomicBool,
    /// The number of ticks at the start of the current poll.
    ticks: AtomicU64,
    budget: AtomicU64,
    /// Whether the next polls are measured with the thread's processor time.
    is_close: AtomicBool,
}

/// What a tick of the epoch means for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The epoch advanced while the call waited. The guest has only begun to run.
    Stale,
    /// The guest ran while the epoch advanced. Others have their turn.
    Passed,
    /// The guest must stop.
    Stop,
}

impl CpuMeter {
    /// Creates a counter without a budget of processor time. `Self::begin` sets one for each call.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            began: AtomicU64::new(0),
            exact: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
            is_close: AtomicBool::new(false),
        })
    }

    /// Resets the counter for a call that may use `budget`.
    pub(super) fn begin(&self, budget: Duration) {
        self.used.store(0, Relaxed);
        self.budget.store(nanos(budget), Relaxed);
        self.is_close.store(false, Relaxed);
    }

    /// Marks the start of a poll.
    pub fn start_poll(&self) {
        let exact = self.is_close.load(Relaxed);
        self.exact.store(exact, Relaxed);
        self.ticks.store(epoch_ticks(), Relaxed);
        self.began.store(clock(exact), Relaxed);
    }

    /// Marks the end of a poll and returns its measurement.
    pub fn end_poll(&self) -> PollTime {
        let spent = self.current();
        self.used.fetch_add(spent, Relaxed);
        PollTime { time: Duration::from_nanos(spent), is_exact: self.exact.load(Relaxed) }
    }

    /// Measures processor time exactly from the call's first poll on.
    pub fn measure_exactly(&self) {
        self.is_close.store(true, Relaxed);
    }

    /// Handles a tick of the epoch while a guest runs. Returns the call's budget if it is used up, and otherwise whether the epoch advanced
    /// within the current poll.
    pub(super) fn tick(&self) -> Result<bool, Duration> {
        let used = self.used.load(Relaxed).saturating_add(self.current());
        let budget = self.budget.load(Relaxed);
        if used >= budget / COARSE_PART {
            self.is_close.store(true, Relaxed);
        }
        if used >= budget {
            return Err(Duration::from_nanos(budget));
        }
        Ok(self.ticks.load(Relaxed) != epoch_ticks())
    }

    /// Returns the processor time that is left of the budget, as the limit of a callee. The call itself asks while it runs.
    ///
    /// The current poll is not counted. It lasts at most one tick of the epoch, and reading the thread's clock would double the cost of a
    /// bridged call.
    pub(super) fn left(&self) -> Duration {
        Duration::from_nanos(self.budget.load(Relaxed).saturating_sub(self.used.load(Relaxed)))
    }

    /// Returns the time that the current poll has used, in nanoseconds.
    fn current(&self) -> u64 {
        clock(self.exact.load(Relaxed)).saturating_sub(self.began.load(Relaxed))
    }
}

/// The processor time of a call whose callee runs in a task of its own: what the callee uses, the call has used too.
#[derive(Debug)]
pub struct CpuAccount {
    meter: Arc<CpuMeter>,
    /// The account of the call's own caller, if that one runs in another task as well.
    caller: Option<Arc<Self>>,
    /// Whether the call has ended. Its meter may measure another one then.
    is_closed: AtomicBool,
}

impl CpuAccount {
    /// Creates the account of the call that `meter` measures, whose own caller has the account `caller`.
    pub(super) fn new(meter: Arc<CpuMeter>, caller: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { meter, caller, is_closed: AtomicBool::new(false) })
    }

    /// Ends the account: nothing is counted any more.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Relaxed);
    }

    /// Counts the time of one poll of the callee.
    pub fn charge(&self, time: Duration) {
        for account in self.and_callers() {
            account.meter.used.fetch_add(nanos(time), Relaxed);
        }
    }

    /// Returns the least processor time that the call and its callers have left.
    pub(super) fn left(&self) -> Duration {
        self.and_callers().map(|account| account.meter.left()).min().unwrap_or(Duration::MAX)
    }

    fn and_callers(&self) -> impl Iterator<Item = &Self> {
        let all = std::iter::successors(Some(self), |account| account.caller.as_deref());
        all.filter(|account| !account.is_closed.load(Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns this thread's processor time if `exact`, and a coarse wall clock's time otherwise, in nanoseconds.
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
