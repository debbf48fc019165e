//! How long modules' statements take: a histogram, and which of them are told of as slow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec};

use super::LineBudget;
use super::table::SqlOutcome;

/// Bounds of the histogram, in seconds: from a point query's time to what a statement may take by default, and beyond.
pub(super) const BOUNDS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What the statements of all modules share.
pub(super) struct Statements {
    time: HistogramVec,
    /// From how many nanoseconds on a statement is slow.
    slow: AtomicU64,
    lines: LineBudget,
}

impl Statements {
    pub(super) fn new(time: HistogramVec) -> Arc<Self> {
        Arc::new(Self { time, slow: AtomicU64::new(u64::MAX), lines: LineBudget::default() })
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

/// The histogram of one module's statements.
pub struct SqlMetrics {
    shared: Arc<Statements>,
    module: String,
    /// Looked up when the outcome first comes.
    outcomes: [OnceLock<Histogram>; SqlOutcome::ALL.len()],
}

impl SqlMetrics {
    /// Counts a statement that took `time`, waiting included. Returns whether it is to be told of as slow, and then how many slow ones
    /// were not, since too many came at once.
    pub fn ended(&self, outcome: SqlOutcome, time: Duration) -> Option<u64> {
        let histogram = self.outcomes[outcome as usize]
            .get_or_init(|| self.shared.time.with_label_values(&[&*self.module, outcome.as_str()]));
        histogram.observe(time.as_secs_f64());
        let is_slow = time.as_nanos() >= u128::from(self.shared.slow.load(Relaxed));
        is_slow.then(|| self.shared.lines.take()).flatten()
    }
}
