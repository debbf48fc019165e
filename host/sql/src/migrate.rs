//! Applies a module's migrations to its database before any guest uses it.
//!
//! All pending migrations run in one transaction, so a database always has the schema of one build. A table of the
//! same file, the history, keeps the applied migrations. A migration must not touch the history, the connection's settings or the
//! transaction.
//!
//! A rollback may bring back a build that does not know a migration. So a migration of a database that already has some
//! must only add to the schema, or its first line must mark it as a contraction. The history records contractions for
//! builds that do not know them.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::additive::Schema;
use super::applied;
use super::connection::GuardedConnection;
use super::error::OpenError;
use super::policy::{Denial, RESERVED, Role};
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_model::clock::now_text_millis;
use watertight_model::migration::{
    AppliedMigration, CONTRACTION_MARK, Migration, MigrationPosition, MigrationState, check_numbers, compare,
};

const HISTORY: &str = "
    CREATE TABLE IF NOT EXISTS watertight_migrations (
        place INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        checksum TEXT NOT NULL,
        applied_at TEXT NOT NULL,
        contracts INTEGER NOT NULL DEFAULT 0
    ) STRICT";

/// Creates the table with the data of `wasi:keyvalue`. Every database has it. It is empty if the module does not use
/// the capability.
const KEYVALUE: &str = "
    CREATE TABLE IF NOT EXISTS watertight_keyvalue (
        bucket TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (bucket, key)
    ) STRICT, WITHOUT ROWID";

/// Asks whether the table of applied migrations has the column that marks contractions. Databases of older hosts lack
/// it.
pub(super) const HAS_CONTRACTS: &str =
    "SELECT count(*) > 0 FROM pragma_table_info('watertight_migrations') WHERE name = 'contracts'";

/// The bytes by which a full database may still grow during a migration. A table of the host or a column takes a page
/// or two.
const ROOM: u64 = 1024 * 1024;

/// The reason why migrations failed, before the database's path is added to it.
pub(super) enum MigrationFailure {
    Sqlite(rusqlite::Error),
    Refused(OpenError),
}

impl From<rusqlite::Error> for MigrationFailure {
    fn from(error: rusqlite::Error) -> Self {
        MigrationFailure::Sqlite(error)
    }
}

/// The rule that decides which migrations may be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MigrationRule {
    /// The first migrations of a database may do anything. Later ones must be additive or marked as contractions.
    Any,
    /// Only additive migrations: those that change nothing for a build that does not know them.
    Additive,
    /// The first migration may do anything. The others must be additive or marked as contractions, even if the database
    /// is empty, because they may meet a database that has the first.
    FirstFree,
    /// All migrations, because they were already applied elsewhere.
    Applied,
}

/// Applies the pending migrations of the list `migrations`, or changes nothing. Returns how many were pending.
///
/// The migrations are stopped after the time `allowed`, because nothing else can write meanwhile. The database may grow
/// to `size` bytes, or by [`ROOM`] if it is full.
pub(super) fn apply(
    guarded: &GuardedConnection,
    migrations: &[Migration],
    rule: MigrationRule,
    size: u64,
    allowed: Duration,
) -> Result<u64, MigrationFailure> {
    check_given(migrations).map_err(MigrationFailure::Refused)?;
    let connection = guarded.raw();
    // The next transaction of a guest sets the guest's own limit again.
    guarded.set_size(size.max(guarded.bytes()?).saturating_add(ROOM))?;
    // A migration may rebuild a table and drop the old one, which would delete every row that refers to it. So foreign
    // keys are checked once at the end, as SQLite's documentation of ALTER TABLE advises.
    connection.pragma_update(None, "foreign_keys", false)?;
    let outcome = in_transaction(guarded, || apply_due(guarded, migrations, rule, allowed));
    // Foreign keys are enforced again for later writes of guests, whatever the outcome.
    connection.pragma_update(None, "foreign_keys", true)?;
    outcome
}

/// Runs `work` in a transaction, and rolls back if it or the commit fails.
fn in_transaction(
    guarded: &GuardedConnection,
    work: impl FnOnce() -> Result<u64, MigrationFailure>,
) -> Result<u64, MigrationFailure> {
    let connection = guarded.raw();
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let outcome = work();
    guarded.set_role(Role::Host);
    guarded.watch().disarm();
    let outcome = outcome.and_then(|applied| {
        if applied > 0 {
            crash_point(CrashPoint::MigrationRun);
        }
        connection.execute_batch("COMMIT")?;
        if applied > 0 {
            crash_point(CrashPoint::MigrationCommitted);
        }
        Ok(applied)
    });
    if outcome.is_err() && !guarded.is_idle() {
        connection.execute_batch("ROLLBACK")?;
    }
    outcome
}

fn apply_due(
    guarded: &GuardedConnection,
    migrations: &[Migration],
    rule: MigrationRule,
    allowed: Duration,
) -> Result<u64, MigrationFailure> {
    let connection = guarded.raw();
    let deadline = Instant::now() + allowed;
    connection.execute_batch(HISTORY)?;
    connection.execute_batch(KEYVALUE)?;
    if !connection.query_row(HAS_CONTRACTS, [], |row| row.get::<_, bool>(0))? {
        connection
            .execute_batch("ALTER TABLE watertight_migrations ADD COLUMN contracts INTEGER NOT NULL DEFAULT 0")?;
    }
    let applied = applied::read(connection)?;
    check_history(&applied, migrations).map_err(MigrationFailure::Refused)?;
    note_contractions(connection, &applied, migrations)?;
    note_names(connection, &applied, migrations)?;
    let due = migrations.get(applied.len()..).unwrap_or_default();
    for (index, migration) in due.iter().enumerate() {
        guarded.watch().arm(deadline);
        let is_free = match rule {
            // No build was made for a database without migrations, so the first ones may do anything.
            MigrationRule::Any => applied.is_empty() || migration.is_contraction(),
            MigrationRule::FirstFree => (applied.is_empty() && index == 0) || migration.is_contraction(),
            MigrationRule::Applied => true,
            MigrationRule::Additive => false,
        };
        let done = if is_free {
            run(guarded, migration, Role::Migration)
        } else if migration.is_contraction() {
            let reason = format!("its first line says `{CONTRACTION_MARK}`");
            Err(MigrationFailure::Refused(OpenError::NotAdditive { name: migration.name.clone(), reason }))
        } else {
            add(guarded, migration)
        };
        // A migration that was stopped reports only an interruption, so the reason is set here.
        if done.is_err() && deadline <= Instant::now() {
            let allowed = humantime::format_duration(allowed).to_string();
            return Err(MigrationFailure::Refused(OpenError::TooSlow { name: migration.name.clone(), allowed }));
        }
        done?;
        guarded.watch().disarm();
        let place = i64::try_from(applied.len() + index + 1).expect("a list's length fits");
        connection.execute(
            "INSERT INTO watertight_migrations (place, name, checksum, applied_at, contracts)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                place,
                migration.name,
                migration.checksum.to_string(),
                now_text_millis(),
                migration.is_contraction()
            ],
        )?;
        check_reserved(connection, migration)?;
    }
    if let Some(last) = due.last() {
        check_references(connection, last)?;
    }
    Ok(due.len() as u64)
}

/// Runs a migration that is not marked as a contraction, and checks that it only added to the schema.
fn add(guarded: &GuardedConnection, migration: &Migration) -> Result<(), MigrationFailure> {
    let before = Schema::read(guarded.raw())?;
    run(guarded, migration, Role::Addition)?;
    let after = Schema::read(guarded.raw())?;
    let refused = |reason| OpenError::UnmarkedContraction { name: migration.name.clone(), reason };
    before.check_additions(&after).map_err(|reason| MigrationFailure::Refused(refused(reason)))
}

/// Marks applied migrations as contractions in the history, if an older host did not record that.
fn note_contractions(
    connection: &Connection,
    applied: &[AppliedMigration],
    given: &[Migration],
) -> rusqlite::Result<()> {
    for (applied, migration) in applied.iter().zip(given) {
        if migration.is_contraction() && !applied.contraction {
            connection
                .execute("UPDATE watertight_migrations SET contracts = 1 WHERE name = ?1", params![applied.name])?;
        }
    }
    Ok(())
}

/// Updates the names of applied migrations that were renamed. Their text and position are unchanged.
fn note_names(connection: &Connection, applied: &[AppliedMigration], given: &[Migration]) -> rusqlite::Result<()> {
    let is_other =
        |(_, (applied, migration)): &(usize, (&AppliedMigration, &Migration))| applied.name != migration.name;
    let renamed = || applied.iter().zip(given).enumerate().filter(is_other);
    let set = |index: usize, name: &str| {
        let place = i64::try_from(index + 1).expect("a list's length fits");
        connection.execute("UPDATE watertight_migrations SET name = ?2 WHERE place = ?1", params![place, name])
    };
    // All get temporary names first, because one migration may take the name of another.
    for (index, _) in renamed() {
        set(index, &format!("#{index}"))?;
    }
    for (index, (_, migration)) in renamed() {
        set(index, &migration.name)?;
    }
    Ok(())
}

fn run(guarded: &GuardedConnection, migration: &Migration, role: Role) -> Result<(), MigrationFailure> {
    guarded.set_role(role);
    let outcome = guarded.raw().execute_batch(&migration.sql);
    guarded.set_role(Role::Host);
    outcome.map_err(|error| match (role, guarded.take_denial()) {
        (Role::Addition, Some(Denial { reason, is_of_additions: true })) => {
            MigrationFailure::Refused(OpenError::UnmarkedContraction { name: migration.name.clone(), reason })
        }
        (_, denied) => failed(denied.map(|denial| denial.reason), migration, &error),
    })
}

/// Checks that the given list is in order and that each text matches its checksum.
pub(super) fn check_given(migrations: &[Migration]) -> Result<(), OpenError> {
    let bad = |migration: &Migration, reason| OpenError::BadMigration { name: migration.name.clone(), reason };
    for pair in migrations.windows(2) {
        if pair[0].name >= pair[1].name {
            return Err(bad(&pair[1], "has a name that does not sort after the name before it"));
        }
    }
    check_numbers(migrations.iter().map(|migration| migration.name.as_str()))?;
    match migrations.iter().find(|migration| !migration.is_intact()) {
        Some(migration) => Err(bad(migration, "does not match its checksum")),
        None => Ok(()),
    }
}

/// Checks that the applied and the given migrations agree as far as both lists go. Further applied migrations belong to a
/// newer build. An older build may use the database unless one of them is a contraction.
pub(super) fn check_history(applied: &[AppliedMigration], given: &[Migration]) -> Result<(), OpenError> {
    for MigrationPosition { number, state, carried, applied } in compare(given, applied) {
        let (Some(given), Some(applied)) = (carried, applied) else { break };
        return Err(match state {
            MigrationState::Changed => OpenError::ChangedMigration { name: applied.name },
            MigrationState::Reordered => {
                OpenError::ReorderedMigration { place: number, applied: applied.name, given: given.name }
            }
            MigrationState::Inserted => OpenError::InsertedMigration { name: given.name, before: applied.name },
            MigrationState::Applied | MigrationState::Pending | MigrationState::Unknown => continue,
        });
    }
    match applied.iter().skip(given.len()).find(|applied| applied.contraction) {
        Some(applied) => Err(OpenError::UnknownContraction { name: applied.name.clone() }),
        None => Ok(()),
    }
}

/// Checks that no table, index, trigger or view has a name that is reserved for the host. A rename gets past the
/// authorizer, which sees only the old name.
fn check_reserved(connection: &Connection, migration: &Migration) -> Result<(), MigrationFailure> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE name LIKE ?1 ESCAPE '\\' AND name NOT IN ('watertight_migrations', 'watertight_keyvalue') LIMIT 1",
    )?;
    let pattern = format!("{}%", RESERVED.replace('_', "\\_"));
    let mut rows = statement.query([pattern])?;
    match rows.next()? {
        Some(row) => {
            let name: String = row.get(0)?;
            let message = format!("`{name}`: names that start with `{RESERVED}` are reserved for the host");
            Err(MigrationFailure::Refused(OpenError::Migration { name: migration.name.clone(), message }))
        }
        None => Ok(()),
    }
}

/// Checks that every foreign key refers to an existing row.
fn check_references(connection: &Connection, last: &Migration) -> Result<(), MigrationFailure> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        Some(row) => {
            let (child, parent): (String, String) = (row.get(0)?, row.get(2)?);
            let message = format!("a row of `{child}` refers to a row of `{parent}` that is not there");
            Err(MigrationFailure::Refused(OpenError::Migration { name: last.name.clone(), message }))
        }
        None => Ok(()),
    }
}

fn failed(denied: Option<String>, migration: &Migration, error: &rusqlite::Error) -> MigrationFailure {
    let message = match error {
        rusqlite::Error::SqlInputError { error, msg, sql, offset } => {
            // `sql` is the remaining text of the migration. `offset` is -1 if the position is unknown.
            let before = migration.sql.len() - sql.len().min(migration.sql.len());
            let place = before + usize::try_from(*offset).unwrap_or(0);
            let line = 1 + migration.sql.bytes().take(place).filter(|byte| *byte == b'\n').count();
            let text = denied.filter(|_| error.code == rusqlite::ErrorCode::AuthorizationForStatementDenied);
            format!("{} (line {line})", text.as_ref().unwrap_or(msg))
        }
        rusqlite::Error::SqliteFailure(error, Some(text)) => denied
            .filter(|_| error.code == rusqlite::ErrorCode::AuthorizationForStatementDenied)
            .unwrap_or(text.clone()),
        other => other.to_string(),
    };
    MigrationFailure::Refused(OpenError::Migration { name: migration.name.clone(), message })
}
