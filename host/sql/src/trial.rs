//! Runs migrations where they do no harm: on an empty database in memory, or on a copy of the real database.

use std::path::Path;
use std::time::Duration;

use super::backup::copy_together;
use super::connection::GuardedConnection;
use super::error::OpenError;
use super::migrate::{self, MigrationFailure, MigrationRule};
use super::settings::Settings;
use super::{Database, remove};
use watertight_model::config::SqlLimits;
use watertight_model::migration::{AppliedMigration, Migration};

/// The size limit of the empty database that migrations are tried on, in bytes. The database is in memory.
const MEMORY: u64 = 64 << 20;
/// The largest database, in bytes, of which a copy is made for a trial.
pub const MAX_COPY: u64 = 256 << 20;

/// SQLite's message for a full database.
const FULL: &str = "database or disk is full";
/// Parts of the messages about rows that do not fit: SQLite's own, and that of the final check of foreign keys.
const ROWS: [&str; 2] = ["constraint failed", " refers to a row of "];

/// The occasion on which migrations would be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationOccasion {
    /// A start of the host applies the migrations to a database that nobody else uses.
    Start,
    /// A change applies the migrations while other builds are served.
    Serving,
    /// A change or a start applies the migrations to a new database.
    New,
}

impl MigrationOccasion {
    fn rule(self) -> MigrationRule {
        match self {
            Self::Start => MigrationRule::FirstFree,
            Self::Serving => MigrationRule::Additive,
            Self::New => MigrationRule::Any,
        }
    }
}

/// Tries the pending migrations of `given` on an empty database with the schema of the earlier ones.
///
/// `applied` has the migrations of the real database. `None` means that there is no such database. Faults that depend on
/// rows, or on room for them, are not found.
///
/// # Errors
///
/// Returns the [`OpenError`] that opening or migrating the real database would return.
pub fn try_migrations(
    given: &[Migration],
    applied: Option<&[AppliedMigration]>,
    occasion: MigrationOccasion,
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
    // If memory is short, nothing is known about the migrations.
    let Ok(guarded) = GuardedConnection::in_memory(&settings) else { return Ok(()) };
    // The applied migrations may need rows that are missing here. Then nothing can be said about them or later ones.
    if migrate::apply(&guarded, &given[..known], MigrationRule::Applied, MEMORY, allowed).is_err() {
        return Ok(());
    }
    match migrate::apply(&guarded, given, occasion.rule(), MEMORY, allowed) {
        Err(MigrationFailure::Refused(error)) if !depends_on_data(&error, known > 0) => Err(error),
        _ => Ok(()),
    }
}

/// Whether a failure on an empty database may not occur on the real one. `has_rows` says that the real database may have
/// rows.
fn depends_on_data(error: &OpenError, has_rows: bool) -> bool {
    let OpenError::Migration { message, .. } = error else { return false };
    message.starts_with(FULL) || (has_rows && ROWS.iter().any(|words| message.contains(words)))
}

/// Tries the pending migrations of `given`, all migrations of a build, on a copy of an open database. The copy is made
/// at `target` and removed again.
///
/// The call blocks, and the database is served meanwhile. A database larger than [`MAX_COPY`] is not copied. The
/// migrations may take the time `allowed`.
///
/// # Errors
///
/// The outer error says why the database can't be copied. The inner error is the [`OpenError`] that migrating the
/// database would return.
pub fn try_on_copy(
    database: &Database,
    target: &Path,
    given: &[Migration],
    occasion: MigrationOccasion,
    allowed: Duration,
) -> Result<Result<CopyTrial, OpenError>, String> {
    let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let bytes = size(database.path()).saturating_add(size(&database.wal_path()));
    if bytes > MAX_COPY {
        return Ok(Ok(CopyTrial { bytes, tried: false }));
    }
    let removed = || remove(target).map_err(|error| error.to_string());
    removed()?;
    let copied = copy_together(&[(database.clone(), target.to_owned())], &|| false);
    let tried = copied.map_err(|error| error.to_string()).and_then(|()| {
        let settings = Settings { limits: *database.limits(), ..Settings::default() };
        let guarded = GuardedConnection::writer(target, &settings).map_err(|error| error.to_string())?;
        match migrate::apply(&guarded, given, occasion.rule(), settings.limits.size, allowed) {
            Ok(_) => Ok(Ok(CopyTrial { bytes, tried: true })),
            Err(MigrationFailure::Refused(error)) => Ok(Err(error)),
            Err(MigrationFailure::Sqlite(error)) => Err(error.to_string()),
        }
    });
    removed()?;
    tried
}

/// The result of a trial on a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyTrial {
    /// The size of the database in bytes.
    pub bytes: u64,
    /// Whether the migrations were tried. False if the database is too large.
    pub tried: bool,
}
