//! Errors of statements and of opening, and the translation of SQLite's codes.
//!
//! A [`SqlError`] goes to a guest and must never contain a path or other information about the host. An [`OpenError`]
//! goes to the operator.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::ffi;

use super::durability::FinalFailure;
use watertight_model::migration::BadNumber;

/// The reason why a statement failed. It mirrors the variant `error` of `watertight:sql`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The statement or the commit would have violated a constraint.
    #[error("constraint failed: {detail}")]
    Constraint {
        /// The constraint's kind.
        kind: ConstraintKind,
        /// The constraint's name as SQLite gives it, such as `table.column`. Empty for a foreign key, which SQLite does
        /// not name.
        detail: String,
    },
    /// The statement can't be prepared or is denied, or its parameters do not fit.
    #[error("{0}")]
    Syntax(String),
    /// The queue of the writer or of the readers is full.
    #[error("the database is too busy for the statement; try again later")]
    Busy,
    /// The deadline passed, or the transaction's lease expired. Nothing was changed.
    #[error("the statement or its transaction took too long")]
    Timeout,
    /// The statement met one of its own limits. Nothing was changed.
    #[error(transparent)]
    Limit(#[from] SqlLimit),
    /// The transaction has ended, or the database is closed.
    #[error("the transaction has ended, or the database is closed")]
    Closed,
    /// The disk or a quota is full. Nothing was changed. The statement can be repeated once there is room.
    #[error("the disk is full")]
    Full,
    /// The database's files can't be read, written or synced, or SQLite failed.
    #[error("{0}")]
    Storage(String),
}

/// The limit that a statement met, with the limit's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SqlLimit {
    /// The statement would return more rows than the given number.
    #[error("the statement would return more than {0} rows")]
    Rows(u32),
    /// The statement's parameters, or its rows, would have more bytes in total than the given number.
    #[error("the statement's parameters or rows would have more than {0} bytes")]
    Bytes(u64),
    /// The statement ran for longer than its time limit.
    #[error("the statement ran for longer than {0:?}")]
    Time(Duration),
    /// The database would become larger than the given number of bytes.
    #[error("the database would have more than {0} bytes")]
    Size(u64),
    /// The statement's text is longer than the given number of bytes.
    #[error("the statement's text has more than {0} bytes")]
    Text(usize),
    /// A parameter or a computed value is larger than the given number of bytes.
    #[error("a value would have more than {0} bytes")]
    Value(usize),
    /// The transaction would add more than the given number of bytes to SQLite's write-ahead log.
    #[error("the transaction would write more than {0} bytes")]
    Transaction(u64),
}

/// The kind of a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// A `UNIQUE` or `PRIMARY KEY` constraint.
    Unique,
    /// A `REFERENCES` constraint (foreign key).
    ForeignKey,
    /// A `NOT NULL` constraint.
    NotNull,
    /// A `CHECK` constraint.
    Check,
    /// The column type of a `STRICT` table, or a trigger's `RAISE`.
    Other,
}

/// The reason why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite can't open or use the database.
    #[error("the database `{}` can't be opened", path.display())]
    Database {
        /// The path of the database file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// A file, folder or thread that the database needs is not available.
    #[error("the files of the database `{}` can't be used", path.display())]
    Files {
        /// The path of the database file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A given migration does not match its checksum, or its name is out of order.
    #[error("the migration `{name}` {reason}")]
    BadMigration {
        /// The first wrong migration.
        name: String,
        /// What is wrong, as the rest of a sentence that begins with the migration's name.
        reason: &'static str,
    },
    /// The text of an applied migration has changed.
    #[error("the migration `{name}` was changed after it was applied")]
    ChangedMigration {
        /// The migration's name.
        name: String,
    },
    /// A migration's name has no number, or its number is not unique.
    #[error(transparent)]
    Number(#[from] BadNumber),
    /// A migration that was not applied stands before an applied one.
    #[error("the migration `{name}` stands before `{before}`, which was applied already")]
    InsertedMigration {
        /// The name of the new migration.
        name: String,
        /// The name of the applied migration.
        before: String,
    },
    /// An applied migration is missing from the list, or has another position in it.
    #[error("the migration `{applied}` was applied at position {place}, where the module now has `{given}`")]
    ReorderedMigration {
        /// The position, counted from 1.
        place: usize,
        /// The migration that was applied at this position.
        applied: String,
        /// The migration that the list has at this position.
        given: String,
    },
    /// A migration does more than add to the schema, while builds that do not know it may still serve.
    #[error("the migration `{name}` can't be applied while the host serves requests: {reason}")]
    NotAdditive {
        /// The migration's name.
        name: String,
        /// What the migration does.
        reason: String,
    },
    /// A migration does more than add to a schema that other builds use, and its first line does not say so.
    #[error(
        "the migration `{name}` does more than add to the schema, and its first line doesn't say `-- contract`: {reason}"
    )]
    UnmarkedContraction {
        /// The migration's name.
        name: String,
        /// What the migration does.
        reason: String,
    },
    /// A contraction was applied that this build does not know. Builds that do not know a contraction can't use the
    /// database.
    #[error(
        "the migration `{name}`, a contraction, was applied to the database, and this build of the module does not have it"
    )]
    UnknownContraction {
        /// The migration's name.
        name: String,
    },
    /// The migrations took longer than allowed. None of them was applied.
    #[error("the migration `{name}` was stopped: all pending migrations together can take at most {allowed}")]
    TooSlow {
        /// The migration that was running.
        name: String,
        /// The time that all pending migrations have together.
        allowed: String,
    },
    /// A migration failed. Neither it nor the migrations of the same run were applied.
    #[error("the migration `{name}` failed: {message}")]
    Migration {
        /// The migration's name.
        name: String,
        /// SQLite's message, with the line.
        message: String,
    },
}

/// The reason why migrations were not applied to an open database.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The migrations are out of order, contradict the applied ones, or are not allowed while guests are served.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// The database did not run the migrations.
    #[error("the database applied no migration")]
    Failed(#[from] SqlError),
}

impl From<FinalFailure> for SqlError {
    /// Converts the failure into the error that every later statement returns.
    fn from(failure: FinalFailure) -> Self {
        let reason = match failure {
            FinalFailure::Unsynced => "the database could not be synced and accepts no more statements",
            FinalFailure::Displaced => {
                "a file of the database was removed or replaced, and the database accepts no more statements"
            }
        };
        SqlError::Storage(reason.to_owned())
    }
}

/// Whether SQLite failed to sync a file itself. Such a failure is as final as a failed sync of the write-ahead log by this crate.
pub(super) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_extended_error_code(), Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Whether SQLite had no room for a page: the disk is full, or the database has the most pages that it may have.
pub(super) fn is_out_of_pages(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Whether a value exceeded the connection's limit for values.
pub(super) fn is_too_big(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::TooBig)
}

/// Translates SQLite's error. `denied` is the authorizer's reason if it denied the statement.
pub(super) fn translate(error: &rusqlite::Error, denied: Option<String>) -> SqlError {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(code, message) => by_code(code.extended_code, message.as_deref(), denied),
        E::SqlInputError { error, msg, .. } => by_code(error.extended_code, Some(msg), denied),
        E::MultipleStatement => SqlError::Syntax("only one statement can run at a time".to_owned()),
        E::NulError(_) => SqlError::Syntax("a statement must not contain a NUL character".to_owned()),
        other => {
            tracing::error!(error = %other, "SQLite failed in an unexpected way: the statement was answered with an error");
            SqlError::Storage("the database failed".to_owned())
        }
    }
}

fn by_code(code: i32, message: Option<&str>, denied: Option<String>) -> SqlError {
    let said = || message.unwrap_or("SQL error").to_owned();
    match code & 0xff {
        ffi::SQLITE_CONSTRAINT => constraint(code, message.unwrap_or_default()),
        ffi::SQLITE_AUTH => SqlError::Syntax(denied.unwrap_or_else(|| "the statement is denied".to_owned())),
        ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE => SqlError::Syntax(said()),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => SqlError::Busy,
        ffi::SQLITE_INTERRUPT => SqlError::Timeout,
        _ if is_full(code) => {
            tracing::error!(code, message, "the disk or a quota is full: the database can't be written");
            SqlError::Full
        }
        primary => {
            // SQLite's message may contain file names, so it goes only to the log.
            tracing::error!(code, message, "the database failed");
            SqlError::Storage(storage_text(primary).to_owned())
        }
    }
}

/// Whether a write failed only for lack of room. A full disk is `SQLITE_FULL`, a quota or a file size limit is an error
/// of the write, and the index of the write-ahead log has a code of its own. A failed sync is none of these.
fn is_full(code: i32) -> bool {
    code & 0xff == ffi::SQLITE_FULL || [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE].contains(&code)
}

fn storage_text(primary: i32) -> &'static str {
    match primary {
        ffi::SQLITE_IOERR => "input or output error",
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => "the database file is damaged",
        ffi::SQLITE_NOMEM => "out of memory",
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM => "a file can't be opened",
        ffi::SQLITE_READONLY => "the database can't be written",
        _ => "the database failed",
    }
}

fn constraint(code: i32, message: &str) -> SqlError {
    let kind = match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ConstraintKind::Unique
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
        _ => ConstraintKind::Other,
    };
    // In "UNIQUE constraint failed: a.b" the name follows the colon. A trigger's own message is passed on unchanged.
    let detail = match kind {
        ConstraintKind::ForeignKey => "",
        ConstraintKind::Other => message,
        _ => message.split_once("constraint failed: ").map_or(message, |(_, name)| name),
    };
    SqlError::Constraint { kind, detail: detail.to_owned() }
}
