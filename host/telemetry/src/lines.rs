//! Log lines that don't flood.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines of one kind that are written within a second; more are counted.
const LINES_PER_SECOND: u64 = 10;

/// Bytes of a request's path that a log line has.
const MAX_PATH: usize = 512;

/// The beginning of a request's path, for a field of a log line. The log writes texts in quotes and escapes what could end a line.
pub fn logged_path(path: &str) -> &str {
    &path[..path.floor_char_boundary(MAX_PATH)]
}

/// Bounds how many log lines of one kind are written.
#[derive(Debug)]
pub struct LineBudget {
    start: Instant,
    /// The second that is counted (upper half) and the lines in it (lower half).
    state: AtomicU64,
}

impl Default for LineBudget {
    /// One that nothing was written of.
    fn default() -> Self {
        Self { start: Instant::now(), state: AtomicU64::new(0) }
    }
}

impl LineBudget {
    /// Whether a line may be written now; if so, how many were not since the last second with lines.
    pub fn take(&self) -> Option<u64> {
        let second = self.start.elapsed().as_secs() & u64::from(u32::MAX);
        let count = |state: u64| state & u64::from(u32::MAX);
        let update = |state: u64| Some(if state >> 32 == second { state.saturating_add(1) } else { second << 32 | 1 });
        let before = self.state.try_update(Ordering::Relaxed, Ordering::Relaxed, update).unwrap_or_default();
        if before >> 32 != second {
            return Some(count(before).saturating_sub(LINES_PER_SECOND));
        }
        (count(before) < LINES_PER_SECOND).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_writes_a_bounded_number_of_lines() {
        let budget = LineBudget::default();
        let written = (0..1000).filter(|_| budget.take().is_some()).count() as u64;
        // The burst may straddle a second's end.
        assert!((LINES_PER_SECOND..=2 * LINES_PER_SECOND).contains(&written), "{written}");
    }
}
