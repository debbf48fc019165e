//! Rate limits and length limits of log lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The most lines of one kind that are written in a second. Further lines are only counted.
const LINES_PER_SECOND: u64 = 10;

/// The most bytes of a request's path in a log line.
const MAX_PATH: usize = 512;

/// Returns the beginning of a request's path, at most 512 bytes, for a field of a log line. The logger quotes and escapes
/// the text.
pub fn logged_path(path: &str) -> &str {
    &path[..path.floor_char_boundary(MAX_PATH)]
}

/// A rate limit for log lines of one kind.
#[derive(Debug)]
pub struct LineRateLimit {
    start: Instant,
    /// The current second (upper half), counted from `start`, and the number of lines that were asked for in it (lower half).
    state: AtomicU64,
}

impl Default for LineRateLimit {
    /// Creates a rate limit from which no line has been taken.
    fn default() -> Self {
        Self { start: Instant::now(), state: AtomicU64::new(0) }
    }
}

impl LineRateLimit {
    /// Asks to write a log line. Returns `None` if the limit of this second is reached: the line must not be written. Otherwise returns how
    /// many lines the limit suppressed in the last second before this one in which any were asked for; this is 0 for all but the first line
    /// of a second.
    pub fn try_acquire(&self) -> Option<u64> {
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
        let budget = LineRateLimit::default();
        let written = (0..1000).filter(|_| budget.try_acquire().is_some()).count() as u64;
        // The burst may span two seconds.
        assert!((LINES_PER_SECOND..=2 * LINES_PER_SECOND).contains(&written), "{written}");
    }
}
