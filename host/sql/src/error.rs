//! Why a statement or an opening failed, and the one place where SQLite's codes become our errors.
//!
//! A [`SqlError`] goes to a guest: it must never carry a path or anything of the host. An [`OpenError`] goes to the operator.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::ffi;

use super::durability::Failure;
use watertight_model::migration::BadNumber;

/// Why a statement failed. Mirrors the `error` variant of `watertight:sql`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// A constraint that the statement, or the commit, would have broken.
    #[error("constraint failed: {detail}")]
    Constraint {
        /// Its kind.
        kind: ConstraintKind,
        /// Which one, as SQLite names it: `table.column`; empty for a foreign key, which SQLite does not name.
        detail: String,
    },
    /// The statement can't be prepared, is denied, or its parameters don't fit.
    #[error("{0}")]
    Syntax(String),
    /// Too many wait for the writer, or for a read connection.
    #[error("too many statements are waiting")]
    Busy,
    /// The deadline passed, or the transaction's lease ran out. Nothing was changed.
    #[error("the statement took too long")]
    Timeout,
    /// The statement met a limit of its own. Nothing was changed.
    #[error(transparent)]
    Limit(#[from] SqlLimit),
    /// The transaction has ended, or the database is closed.
    #[error("closed")]
    Closed,
    /// There is no room to write to: the disk or a quota. Nothing was changed, and once there is room again
    /// the same is done.
    #[error("the disk is full")]
    Full,
    /// The database failed.
    #[error("{0}")]
    Storage(String),
}

/// A limit that a statement met, with its figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SqlLimit {
    /// It returns more rows.
    #[error("the statement would return more than {0} rows")]
    Rows(u32),
    /// Its parameters, or the rows that it returns, have more bytes together.
    #[error("the statement's parameters or rows would have more than {0} bytes")]
    Bytes(u64),
    /// It ran for longer.
    #[error("the statement ran for longer than {0:?}")]
    Time(Duration),
    /// The database would be larger, in bytes.
    #[error("the database would have more than {0} bytes")]
    Size(u64),
    /// Its text is longer, in bytes.
    #[error("the statement's text has more than {0} bytes")]
    Text(usize),
    /// A parameter, or a value that it makes, is larger, in bytes.
    #[error("a value would have more than {0} bytes")]
    Value(usize),
    /// Its transaction would add more to the log, in bytes.
    #[error("the transaction would write more than {0} bytes")]
    Transaction(u64),
}

/// The kind of a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// `UNIQUE` or `PRIMARY KEY`.
    Unique,
    /// `REFERENCES`.
    ForeignKey,
    /// `NOT NULL`.
    NotNull,
    /// `CHECK`.
    Check,
    /// A `STRICT` table's type, or a trigger's `RAISE`.
    Other,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite can't use the file.
    #[error("the database `{}` can't be opened", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A file, folder or thread that the database needs can't be had.
    #[error("the files of the database `{}` can't be used", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The given migrations are not what they say, or not in order.
    #[error("the migration `{name}` {reason}")]
    BadMigration {
        /// The first migration that is wrong.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A migration that was applied has another text now.
    #[error("the migration `{name}` was changed after it was applied")]
    ChangedMigration {
        /// The migration.
        name: String,
    },
    /// A migration has no number of its own, in order.
    #[error(transparent)]
    Number(#[from] BadNumber),
    /// A migration that was not applied stands before one that was.
    #[error("the migration `{name}` stands before `{before}`, which was applied already")]
    InsertedMigration {
        /// The new migration.
        name: String,
        /// The applied one.
        before: String,
    },
    /// An applied migration is gone from the list, or stands elsewhere.
    #[error("the migration `{applied}` was applied at place {place}, where the module now has `{given}`")]
    ReorderedMigration {
        /// The place, from 1.
        place: usize,
        /// The migration that the database has there.
        applied: String,
        /// The migration that was given there.
        given: String,
    },
    /// A migration does more than add to the schema, and builds that don't know it may still serve.
    #[error("the migration `{name}` can't be applied while another build may serve: {reason}")]
    NotAdditive {
        /// The migration.
        name: String,
        /// What it does.
        reason: String,
    },
    /// A migration does more than add to a schema that other builds know, and doesn't say so.
    #[error(
        "the migration `{name}` does more than add to what is there, and its first line doesn't say `-- contract`: {reason}"
    )]
    Unmarked {
        /// The migration.
        name: String,
        /// What it does.
        reason: String,
    },
    /// A migration was applied that builds which don't know it do not survive, and this build doesn't know it.
    #[error("the migration `{name}`, a contraction, was applied, and the module doesn't know it")]
    Contracted {
        /// The migration.
        name: String,
    },
    /// The migrations took longer than they may. Nothing of them stays.
    #[error("the migration `{name}` was stopped: all that are due have {allowed} for it, and that has passed")]
    TooSlow {
        /// The migration that ran.
        name: String,
        /// How long they may take.
        allowed: String,
    },
    /// A migration failed. Nothing of it, nor of those applied with it, stays.
    #[error("the migration `{name}` failed: {message}")]
    Migration {
        /// The migration.
        name: String,
        /// What SQLite says of it, and the line.
        message: String,
    },
}

/// Why migrations were not applied to a database that serves.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// They are not in order, not what was applied before, or not such as may be applied now.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// The database did not take them.
    #[error("the database took no migration")]
    Failed(#[from] SqlError),
}

impl From<Failure> for SqlError {
    /// The answer of a database that was given up.
    fn from(failure: Failure) -> Self {
        let reason = match failure {
            Failure::Unsynced => "the database could not be synced and takes no more statements",
            Failure::Displaced => "the database's file is gone and it takes no more statements",
        };
        SqlError::Storage(reason.to_owned())
    }
}

/// Whether SQLite failed to sync a file by itself: as fatal as a failed sync of ours.
pub(super) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_extended_error_code(), Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Whether SQLite had no room for a page: on the disk, or in as many as the database may have.
pub(super) fn is_out_of_pages(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Whether a value would have been larger than a connection lets it.
pub(super) fn is_too_big(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::TooBig)
}

/// Translates what SQLite says; `denied` is the authorizer's reason where it refused.
pub(super) fn translate(error: &rusqlite::Error, denied: Option<String>) -> SqlError {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(code, message) => by_code(code.extended_code, message.as_deref(), denied),
        E::SqlInputError { error, msg, .. } => by_code(error.extended_code, Some(msg), denied),
        E::MultipleStatement => SqlError::Syntax("one statement at a time".to_owned()),
        E::NulError(_) => SqlError::Syntax("a statement holds no NUL".to_owned()),
        other => {
            tracing::error!(error = %other, "unexpected error of the database");
            SqlError::Storage("the database failed".to_owned())
        }
    }
}

fn by_code(code: i32, message: Option<&str>, denied: Option<String>) -> SqlError {
    let said = || message.unwrap_or("SQL error").to_owned();
    match code & 0xff {
        ffi::SQLITE_CONSTRAINT => constraint(code, message.unwrap_or_default()),
        ffi::SQLITE_AUTH => SqlError::Syntax(denied.unwrap_or_else(|| "denied".to_owned())),
        ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE => SqlError::Syntax(said()),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => SqlError::Busy,
        ffi::SQLITE_INTERRUPT => SqlError::Timeout,
        _ if is_full(code) => {
            tracing::error!(code, message, "there is no room for the database to write to");
            SqlError::Full
        }
        primary => {
            // SQLite's own words may name files: they are for the log.
            tracing::error!(code, message, "the database failed");
            SqlError::Storage(storage_text(primary).to_owned())
        }
    }
}

/// Whether nothing could be written, and nothing else is wrong: a full disk is `SQLITE_FULL`, a quota or a limit of the file's size is an
/// error of the write, and the index of the log has a code of its own. A failed sync is none of these.
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
    // "UNIQUE constraint failed: a.b": what follows the colon is the name. A trigger's own words stand as they are.
    let detail = match kind {
        ConstraintKind::ForeignKey => "",
        ConstraintKind::Other => message,
        _ => message.split_once("constraint failed: ").map_or(message, |(_, name)| name),
    };
    SqlError::Constraint { kind, detail: detail.to_owned() }
}
