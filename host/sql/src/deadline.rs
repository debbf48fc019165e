//! The moment at which a statement must end, and the limit that sets it.

use std::time::{Duration, Instant};

use super::error::{SqlError, SqlLimit};
use watertight_model::config::SqlLimits;

/// The moment at which a statement must end.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatementDeadline {
    /// The latest end of the statement.
    pub(super) at: Instant,
    /// The statement's own time limit, if that limit sets the moment. `None` if the call's deadline sets it.
    own_limit: Option<Duration>,
}

impl StatementDeadline {
    /// Computes the moment for a statement that begins now.
    pub(super) fn new(deadline: Instant, limits: &SqlLimits) -> Self {
        match Instant::now().checked_add(limits.time) {
            Some(at) if at < deadline => Self { at, own_limit: Some(limits.time) },
            _ => Self { at: deadline, own_limit: None },
        }
    }

    /// Turns `Timeout` into the limit error if the statement's own time limit expired. SQLite reports only that a
    /// statement was interrupted, and others may interrupt it too.
    pub(super) fn explain_timeout<T>(self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        match (result, self.own_limit) {
            (Err(SqlError::Timeout), Some(time)) if Instant::now() >= self.at => Err(SqlLimit::Time(time).into()),
            (result, _) => result,
        }
    }
}
