//! Limits of connections and statements: SQLite's own, and checks of a statement's input.

use rusqlite::Connection;
use rusqlite::limits::Limit;

use super::error::{SqlError, SqlLimit};
use super::settings::Settings;
use super::value::Value;
use watertight_model::config::SqlLimits;

/// The longest text of one migration, in bytes.
const MIGRATION_BYTES: i32 = 1024 * 1024;

/// Sets SQLite's own limits on a connection. They apply to migrations too: each connection parses the schema and must be
/// able to.
pub(super) fn limit(connection: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_LENGTH, i32::try_from(settings.max_value_bytes).unwrap_or(i32::MAX)),
        // The text of a guest's statement has a lower limit, which is checked earlier.
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MIGRATION_BYTES),
        (Limit::SQLITE_LIMIT_COLUMN, 256),
        // Each level takes a few hundred bytes of stack, and a guest's call runs on a small stack.
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 250),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
        // Matching a pattern costs up to its length times the text's length, within one instruction.
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 4_096),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 32),
    ] {
        connection.set_limit(limit, most)?;
    }
    Ok(())
}

/// Checks a statement's text and parameters against their limits, before the statement waits for a connection.
pub(super) fn check_input(
    sql: &str,
    parameters: &[Value],
    settings: &Settings,
    limits: &SqlLimits,
) -> Result<(), SqlError> {
    if sql.len() > settings.max_statement_bytes {
        return Err(SqlLimit::Text(settings.max_statement_bytes).into());
    }
    // SQLite would stop reading at a NUL.
    if sql.contains('\0') {
        return Err(SqlError::Syntax("a statement must not contain a NUL character".to_owned()));
    }
    let mut total = 0_u64;
    for value in parameters {
        total = total.saturating_add(value.weight() as u64);
        if value.payload() > settings.max_value_bytes {
            return Err(SqlLimit::Value(settings.max_value_bytes).into());
        }
    }
    if total > limits.bytes { Err(SqlLimit::Bytes(limits.bytes).into()) } else { Ok(()) }
}
