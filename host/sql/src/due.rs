//! When a statement must have ended, and whose limit that is.

use std::time::{Duration, Instant};

use super::error::{SqlError, SqlLimit};
use watertight_model::config::SqlLimits;

/// When a statement must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// The moment.
    pub(super) at: Instant,
    /// The statement's own time, where that is what ends then, and not its call's.
    own: Option<Duration>,
}

impl Due {
    /// Of a statement that begins to run now.
    pub(super) fn new(deadline: Instant, limits: &SqlLimits) -> Self {
        match Instant::now().checked_add(limits.time) {
            Some(at) if at < deadline => Self { at, own: Some(limits.time) },
            _ => Self { at: deadline, own: None },
        }
    }

    /// What came of the statement, where SQLite only knows that it was stopped: others may stop one as well.
    pub(super) fn settle<T>(self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        match (result, self.own) {
            (Err(SqlError::Timeout), Some(time)) if Instant::now() >= self.at => Err(SqlLimit::Time(time).into()),
            (result, _) => result,
        }
    }
}
