//! Durations of modules' SQL statements: a histogram, and the choice of statements to log as slow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec};

use super::LineRateLimit;
use super::table::SqlOutcome;

/// Upper bounds of the buckets in the histogram of SQL statements' durations, in seconds: from the time of a point query to beyond a
/// statement's default limit.
pub(super) const BOUNDS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What the metrics of all modules' SQL statements share.
pub(super) struct Statements {
    time: HistogramVec,
    /// The duration from which an SQL statement is slow, in nanoseconds.
    slow: AtomicU64,
    lines: LineRateLimit,
}

impl Statements {
    pub(super) fn new(time: HistogramVec) -> Arc<Self> {
        Arc::new(Self { time, slow: AtomicU64::new(u64::MAX), lines: LineRateLimit::default() })
    }

    pub(super) fn set_slow(&self, time: Duration) {
        self.slow.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn of(self: &Arc<Self>, module: &str) -> SqlMetrics {
        SqlMetrics {
            shared: self.clone(),
            module: module.to_owned(),
            outcomes: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

/// The metrics of one module's SQL statements.
pub struct SqlMetrics {
    shared: Arc<Statements>,
    module: String,
    /// The histograms of durations by the statements' outcome. Each is looked up when its outcome first occurs.
    outcomes: [OnceLock<Histogram>; SqlOutcome::ALL.len()],
}

impl SqlMetrics {
    /// Records an SQL statement that took `time`, including its waits.
    ///
    /// Returns `Some` if the statement is slow and the caller may log it. The number says how many slow statements were not logged because
    /// of the rate limit. Returns `None` if the statement must not be logged.
    pub fn record(&self, outcome: SqlOutcome, time: Duration) -> Option<u64> {
        let histogram = self.outcomes[outcome as usize]
            .get_or_init(|| self.shared.time.with_label_values(&[&*self.module, outcome.as_str()]));
        histogram.observe(time.as_secs_f64());
        let is_slow = time.as_nanos() >= u128::from(self.shared.slow.load(Relaxed));
        is_slow.then(|| self.shared.lines.try_acquire()).flatten()
    }
}
