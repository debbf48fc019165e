//! Trying migrations where nothing is at stake: on an empty database in memory, or on a copy of the one that they are for.

use std::path::Path;
use std::time::Duration;

use super::backup::copy_together;
use super::connection::Guarded;
use super::error::OpenError;
use super::migrate::{self, Failure, Rule};
use super::settings::Settings;
use super::{Database, remove};
use watertight_model::config::SqlLimits;
use watertight_model::migration::{Applied, Migration};

/// Bytes that an empty database may grow to where migrations are tried on it: they are in memory.
const MEMORY: u64 = 64 << 20;
/// Bytes of a database's data up to which migrations are tried on a copy of it.
pub const MAX_COPY: u64 = 256 << 20;

/// How SQLite says that a database has no more room.
const FULL: &str = "database or disk is full";
/// How SQLite says that rows don't fit, and how the check of references after all migrations does.
const ROWS: [&str; 2] = ["constraint failed", " refers to a row of "];

/// Where migrations would be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// By a start, to a database that nobody else uses.
    Start,
    /// By a change, beside builds that are served.
    Serving,
    /// By a change or a start, to a database that is made for them.
    New,
}

impl Occasion {
    fn rule(self) -> Rule {
        match self {
            Self::Start => Rule::Marked,
            Self::Serving => Rule::Additive,
            Self::New => Rule::Any,
        }
    }
}

/// Tries what is due of `given` on an empty database that has the schema of those before. `applied` is what the database has that they are
/// for; none where there is no such database. What depends on its rows, or on room for them, is not told.
///
/// # Errors
///
/// As opening or migrating it would, in the same words.
pub fn try_migrations(
    given: &[Migration],
    applied: Option<&[Applied]>,
    occasion: Occasion,
    allowed: Duration,
) -> Result<(), OpenError> {
    migrate::check_given(given)?;
    let there = applied.unwrap_or_default();
    migrate::check_history(there, given)?;
    let known = there.len().min(given.len());
    if known == given.len() {
        return Ok(());
    }
    let limits = SqlLimits { size: MEMORY, ..SqlLimits::default() };
    let settings = Settings { limits, ..Settings::default() };
    // Memory that can't be had says nothing of the migrations.
    let Ok(guarded) = Guarded::in_memory(&settings) else { return Ok(()) };
    // They were applied: what of them needs rows that aren't here can't be told anything of, nor what comes after.
    if migrate::apply(&guarded, &given[..known], Rule::Applied, MEMORY, allowed).is_err() {
        return Ok(());
    }
    match migrate::apply(&guarded, given, occasion.rule(), MEMORY, allowed) {
        Err(Failure::Refused(error)) if !depends_on_data(&error, known > 0) => Err(error),
        _ => Ok(()),
    }
}

/// Whether a failure on an empty database says nothing of another one, which `has_rows`, perhaps.
fn depends_on_data(error: &OpenError, has_rows: bool) -> bool {
    let OpenError::Migration { message, .. } = error else { return false };
    message.starts_with(FULL) || (has_rows && ROWS.iter().any(|words| message.contains(words)))
}

/// Tries what is due of `given` on a copy of an open database, which is made at `target` and removed again. Blocks; the database is served
/// meanwhile. Returns how many bytes were copied, or would have been, where they are more than [`MAX_COPY`] and nothing was tried.
///
/// # Errors
///
/// What can't be copied, in words; and within, as migrating the database itself would.
pub fn try_on_copy(
    database: &Database,
    target: &Path,
    given: &[Migration],
    occasion: Occasion,
    allowed: Duration,
) -> Result<Result<CopyTried, OpenError>, String> {
    let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let bytes = size(database.path()).saturating_add(size(&database.wal_path()));
    if bytes > MAX_COPY {
        return Ok(Ok(CopyTried { bytes, tried: false }));
    }
    let removed = || remove(target).map_err(|error| error.to_string());
    removed()?;
    let copied = copy_together(&[(database.clone(), target.to_owned())], &|| false);
    let tried = copied.map_err(|error| error.to_string()).and_then(|()| {
        let settings = Settings { limits: *database.limits(), ..Settings::default() };
        let guarded = Guarded::writer(target, &settings).map_err(|error| error.to_string())?;
        match migrate::apply(&guarded, given, occasion.rule(), settings.limits.size, allowed) {
            Ok(_) => Ok(Ok(CopyTried { bytes, tried: true })),
            Err(Failure::Refused(error)) => Ok(Err(error)),
            Err(Failure::Sqlite(error)) => Err(error.to_string()),
        }
    });
    removed()?;
    tried
}

/// What came of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyTried {
    /// How large the database is.
    pub bytes: u64,
    /// Whether the migrations were tried: not where it is too large.
    pub tried: bool,
}
