//! Translates PostgreSQL's errors to the errors of `watertight:sql`, which are the same as on SQLite.
//!
//! A [`SqlError`] goes to a guest: it must never tell about the server, other schemas or the host.

use std::collections::HashMap;
use std::error::Error as _;

use tokio_postgres::error::{DbError, SqlState};
use watertight_sql::{ConstraintKind, SqlError};

/// What a commit or a writing statement answers when the connection is lost while it runs.
pub(crate) const UNKNOWN: &str = "the connection to the database was lost: the outcome is unknown";

/// The columns of unique constraints and indexes by their names: `table.column, table.column`, as SQLite tells them.
pub(crate) type UniqueColumns = HashMap<String, String>;

/// Translates an error of a statement. `columns` has the module's unique constraints.
pub(crate) fn translate(error: &tokio_postgres::Error, columns: &UniqueColumns) -> SqlError {
    match error.as_db_error() {
        Some(error) => by_state(error, columns),
        None if error.is_closed() || is_io(error) => {
            tracing::warn!(%error, "the connection to PostgreSQL was lost");
            SqlError::Storage("the connection to the database was lost".to_owned())
        }
        None => {
            tracing::error!(%error, source = error.source(), "PostgreSQL failed in an unexpected way");
            SqlError::Storage("the database failed".to_owned())
        }
    }
}

/// Whether the connection can't be used any more.
pub(crate) fn is_lost(error: &tokio_postgres::Error) -> bool {
    let ends = |error: &DbError| {
        error.parsed_severity().is_some_and(|severity| {
            use tokio_postgres::error::Severity::{Fatal, Panic};
            matches!(severity, Fatal | Panic)
        })
    };
    error.as_db_error().map_or_else(|| error.is_closed() || is_io(error), ends)
}

/// Whether a statement that is a transaction of its own may run again: others were in its way, and nothing was changed.
pub(crate) fn is_retried(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

/// Whether a prepared statement has other columns now, because a migration changed the schema. PostgreSQL tells it only by the
/// place in its source, and by a text that may be translated.
pub(crate) fn is_stale(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::FEATURE_NOT_SUPPORTED && error.routine() == Some("RevalidateCachedQuery")
    })
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}

fn by_state(error: &DbError, columns: &UniqueColumns) -> SqlError {
    let state = error.code();
    let constraint = || error.constraint().unwrap_or_default().to_owned();
    let violated = |kind, detail| SqlError::Constraint { kind, detail };
    match (state, &state.code()[..2]) {
        (&SqlState::UNIQUE_VIOLATION, _) => {
            let name = constraint();
            violated(ConstraintKind::Unique, columns.get(&name).cloned().unwrap_or(name))
        }
        // SQLite does not name foreign keys.
        (&(SqlState::FOREIGN_KEY_VIOLATION | SqlState::RESTRICT_VIOLATION), _) => {
            violated(ConstraintKind::ForeignKey, String::new())
        }
        (&SqlState::NOT_NULL_VIOLATION, _) => {
            let (table, column) = (error.table().unwrap_or_default(), error.column().unwrap_or_default());
            violated(ConstraintKind::NotNull, format!("{table}.{column}"))
        }
        (&SqlState::CHECK_VIOLATION, _) => violated(ConstraintKind::Check, constraint()),
        (&SqlState::STRING_DATA_RIGHT_TRUNCATION, _) => violated(ConstraintKind::Other, error.message().to_owned()),
        (_, "23") => violated(ConstraintKind::Other, constraint()),
        (&SqlState::READ_ONLY_SQL_TRANSACTION, _) => {
            SqlError::Syntax("outside a transaction `query` takes a statement that only reads".to_owned())
        }
        // A right that the role lacks is the last wall behind the policy.
        (&SqlState::INSUFFICIENT_PRIVILEGE, _) => {
            tracing::warn!(message = error.message(), "PostgreSQL denied a statement that the policy allows");
            SqlError::Syntax("the statement is denied".to_owned())
        }
        (&SqlState::QUERY_CANCELED | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, _) => SqlError::Timeout,
        (&SqlState::DISK_FULL, _) => {
            tracing::error!(message = error.message(), "PostgreSQL's disk is full: the database can't be written");
            SqlError::Full
        }
        (&SqlState::LOCK_NOT_AVAILABLE | &SqlState::TOO_MANY_CONNECTIONS, _) | (_, "40") => SqlError::Busy,
        // Wrong values (22), statements that can't be prepared (42), and those that are too complex (54).
        (_, "0A" | "21" | "22" | "26" | "42" | "44" | "54") => SqlError::Syntax(error.message().to_owned()),
        _ => {
            tracing::error!(state = state.code(), message = error.message(), "PostgreSQL failed");
            let text = if state.code().starts_with("57P") || state.code().starts_with("08") {
                "the database is not available"
            } else {
                "the database failed"
            };
            SqlError::Storage(text.to_owned())
        }
    }
}
