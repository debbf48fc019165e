//! Admission to a compartment, and log lines that don't flood.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Lines of one kind that are written within a second; more are counted.
const LINES_PER_SECOND: u64 = 10;

/// Lets in a number of calls at once, and lets a bounded number wait.
pub(super) struct Admission {
    places: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
}

/// Why a call was not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait as may.
    Full,
    /// Its deadline passed while it waited.
    Late,
}

impl Admission {
    pub(super) fn new(calls: usize, queue: usize) -> Self {
        Self { places: Semaphore::new(calls), waiting: AtomicUsize::new(0), queue }
    }

    /// How many calls may come in now without waiting.
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// How many calls wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a place until `deadline`.
    pub(super) async fn admit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Refused> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waiting = Waiting::enter(self).ok_or(Refused::Full)?;
        match tokio::time::timeout_at(deadline.into(), self.places.acquire()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            Err(_) => Err(Refused::Late),
        }
    }
}

/// Counts as waiting while it lives, so that a caller that goes away is no longer counted.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(admission: &'a Admission) -> Option<Self> {
        let entered = Self(&admission.waiting);
        (entered.0.fetch_add(1, Ordering::Relaxed) < admission.queue).then_some(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounds how many log lines of one kind are written.
pub(super) struct LineBudget {
    start: Instant,
    /// The second that is counted (upper half) and the lines in it (lower half).
    state: AtomicU64,
}

impl LineBudget {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), state: AtomicU64::new(0) }
    }

    /// Whether a line may be written now; if so, how many were not since the last second with lines.
    pub(super) fn take(&self) -> Option<u64> {
        let second = self.start.elapsed().as_secs() & u64::from(u32::MAX);
        let count = |state: u64| state & u64::from(u32::MAX);
        let update = |state: u64| Some(if state >> 32 == second { state.saturating_add(1) } else { second << 32 | 1 });
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).unwrap_or_default();
        if before >> 32 != second {
            return Some(count(before).saturating_sub(LINES_PER_SECOND));
        }
        (count(before) < LINES_PER_SECOND).then_some(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_late_caller_leaves_it() {
        let admission = Admission::new(1, 1);
        let soon = || Instant::now() + Duration::from_millis(20);
        let place = admission.admit(soon()).await.unwrap();
        let (late, full) = tokio::join!(admission.admit(soon()), admission.admit(soon()));
        assert_eq!((late.unwrap_err(), full.unwrap_err()), (Refused::Late, Refused::Full));
        assert_eq!(admission.waiting(), 0);
        drop(place);
        assert!(admission.admit(soon()).await.is_ok());
    }

    #[test]
    fn a_burst_writes_a_bounded_number_of_lines() {
        let budget = LineBudget::new();
        let written = (0..1000).filter(|_| budget.take().is_some()).count() as u64;
        // The burst may straddle a second's end.
        assert!((LINES_PER_SECOND..=2 * LINES_PER_SECOND).contains(&written), "{written}");
    }
}
