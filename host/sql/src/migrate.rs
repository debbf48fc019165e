//! Brings a database up to its module's migrations, before any guest sees it.
//!
//! All that are due are applied in one transaction: a database is at one build's schema or at another's, never between. The history
//! is kept in the same file. A migration never touches it, nor a connection's settings, nor the transaction.
//!
//! What builds were made for before, a rollback may bring back. So a migration of a database that has some already adds to it, or says in
//! its first line that it does more; and what says so is remembered here, for builds that don't know it.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::additive::Schema;
use super::applied;
use super::connection::Guarded;
use super::error::OpenError;
use super::policy::{Denial, RESERVED, Role};
use watertight_disk::failpoint::{Point, crash_point};
use watertight_model::clock::now_text_millis;
use watertight_model::migration::{Applied, CONTRACTS, Migration, Place, State, check_numbers, compare};

const HISTORY: &str = "
    CREATE TABLE IF NOT EXISTS watertight_migrations (
        place INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        checksum TEXT NOT NULL,
        applied_at TEXT NOT NULL,
        contracts INTEGER NOT NULL DEFAULT 0
    ) STRICT";

/// Where `wasi:keyvalue` keeps what it is given. Every database has it: it is empty where nobody does.
const KEYVALUE: &str = "
    CREATE TABLE IF NOT EXISTS watertight_keyvalue (
        bucket TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (bucket, key)
    ) STRICT, WITHOUT ROWID";

/// Whether a history has the column for contractions: those that hosts made before there was one have not.
pub(super) const HAS_CONTRACTS: &str =
    "SELECT count(*) > 0 FROM pragma_table_info('watertight_migrations') WHERE name = 'contracts'";

/// Bytes that a full database may grow by where it is migrated: a table of the host's or a column takes a page or two.
const ROOM: u64 = 1024 * 1024;

/// Why it did not work, before the path is known.
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Refused(OpenError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

/// Which migrations may be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// All: nothing else uses the database.
    Any,
    /// Only such as add what a build that doesn't know them never meets.
    Additive,
    /// Those after the first add, or say that they do more, be the database empty or not: as it is wherever the first was applied before.
    Marked,
    /// All, whatever they do: they were applied elsewhere.
    Applied,
}

/// Applies what is due of `migrations`, or changes nothing. Returns how many were due. What isn't done after `allowed` is stopped: while
/// it runs, nothing else writes. The database may grow to `size` bytes, and a full one by [`ROOM`].
pub(super) fn apply(
    guarded: &Guarded,
    migrations: &[Migration],
    rule: Rule,
    size: u64,
    allowed: Duration,
) -> Result<u64, Failure> {
    check_given(migrations).map_err(Failure::Refused)?;
    let connection = guarded.raw();
    // The next transaction of a guest sets its own again.
    guarded.set_size(size.max(guarded.bytes()?).saturating_add(ROOM))?;
    // A migration may build a table anew and drop the old one, which would delete every row that refers to it. So references are
    // checked once at the end instead, as SQLite's documentation of ALTER TABLE advises.
    connection.pragma_update(None, "foreign_keys", false)?;
    let outcome = in_transaction(guarded, || apply_due(guarded, migrations, rule, allowed));
    // Whatever came of it: the guests' writes after this are checked again.
    connection.pragma_update(None, "foreign_keys", true)?;
    outcome
}

/// Does `work` in a transaction, of which nothing stays where it or the commit fails.
fn in_transaction(guarded: &Guarded, work: impl FnOnce() -> Result<u64, Failure>) -> Result<u64, Failure> {
    let connection = guarded.raw();
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let outcome = work();
    guarded.set_role(Role::Host);
    guarded.watch().disarm();
    let outcome = outcome.and_then(|applied| {
        if applied > 0 {
            crash_point(Point::MigrationRun);
        }
        connection.execute_batch("COMMIT")?;
        if applied > 0 {
            crash_point(Point::MigrationCommitted);
        }
        Ok(applied)
    });
    if outcome.is_err() && !guarded.is_idle() {
        connection.execute_batch("ROLLBACK")?;
    }
    outcome
}

fn apply_due(guarded: &Guarded, migrations: &[Migration], rule: Rule, allowed: Duration) -> Result<u64, Failure> {
    let connection = guarded.raw();
    let deadline = Instant::now() + allowed;
    connection.execute_batch(HISTORY)?;
    connection.execute_batch(KEYVALUE)?;
    if !connection.query_row(HAS_CONTRACTS, [], |row| row.get::<_, bool>(0))? {
        connection
            .execute_batch("ALTER TABLE watertight_migrations ADD COLUMN contracts INTEGER NOT NULL DEFAULT 0")?;
    }
    let applied = applied::read(connection)?;
    check_history(&applied, migrations).map_err(Failure::Refused)?;
    note_contractions(connection, &applied, migrations)?;
    note_names(connection, &applied, migrations)?;
    let due = migrations.get(applied.len()..).unwrap_or_default();
    for (index, migration) in due.iter().enumerate() {
        guarded.watch().arm(deadline);
        let is_free = match rule {
            // Nobody was made for a database that has nothing.
            Rule::Any => applied.is_empty() || migration.is_contraction(),
            Rule::Marked => (applied.is_empty() && index == 0) || migration.is_contraction(),
            Rule::Applied => true,
            Rule::Additive => false,
        };
        let done = if is_free {
            run(guarded, migration, Role::Migration)
        } else if migration.is_contraction() {
            let reason = format!("its first line says `{CONTRACTS}`");
            Err(Failure::Refused(OpenError::NotAdditive { name: migration.name.clone(), reason }))
        } else {
            add(guarded, migration)
        };
        // What failed because it was stopped says only that it was.
        if done.is_err() && deadline <= Instant::now() {
            let allowed = humantime::format_duration(allowed).to_string();
            return Err(Failure::Refused(OpenError::TooSlow { name: migration.name.clone(), allowed }));
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

/// Runs a migration that says of itself nothing more than that it adds to the schema.
fn add(guarded: &Guarded, migration: &Migration) -> Result<(), Failure> {
    let before = Schema::read(guarded.raw())?;
    run(guarded, migration, Role::Addition)?;
    let after = Schema::read(guarded.raw())?;
    let refused = |reason| OpenError::Unmarked { name: migration.name.clone(), reason };
    before.check_additions(&after).map_err(|reason| Failure::Refused(refused(reason)))
}

/// Remembers which of the applied ones are contractions, where a history was begun without that.
fn note_contractions(connection: &Connection, applied: &[Applied], given: &[Migration]) -> rusqlite::Result<()> {
    for (applied, migration) in applied.iter().zip(given) {
        if migration.is_contraction() && !applied.contraction {
            connection
                .execute("UPDATE watertight_migrations SET contracts = 1 WHERE name = ?1", params![applied.name])?;
        }
    }
    Ok(())
}

/// Takes over the names of applied ones that go by another now: they are the same in text and place.
fn note_names(connection: &Connection, applied: &[Applied], given: &[Migration]) -> rusqlite::Result<()> {
    let is_other = |(_, (applied, migration)): &(usize, (&Applied, &Migration))| applied.name != migration.name;
    let renamed = || applied.iter().zip(given).enumerate().filter(is_other);
    let set = |index: usize, name: &str| {
        let place = i64::try_from(index + 1).expect("a list's length fits");
        connection.execute("UPDATE watertight_migrations SET name = ?2 WHERE place = ?1", params![place, name])
    };
    // Out of the way first: one may take the name of another.
    for (index, _) in renamed() {
        set(index, &format!("#{index}"))?;
    }
    for (index, (_, migration)) in renamed() {
        set(index, &migration.name)?;
    }
    Ok(())
}

fn run(guarded: &Guarded, migration: &Migration, role: Role) -> Result<(), Failure> {
    guarded.set_role(role);
    let outcome = guarded.raw().execute_batch(&migration.sql);
    guarded.set_role(Role::Host);
    outcome.map_err(|error| match (role, guarded.take_denial()) {
        (Role::Addition, Some(Denial { reason, is_of_additions: true })) => {
            Failure::Refused(OpenError::Unmarked { name: migration.name.clone(), reason })
        }
        (_, denied) => failed(denied.map(|denial| denial.reason), migration, &error),
    })
}

/// The given list must be in order and be what its checksums say.
pub(super) fn check_given(migrations: &[Migration]) -> Result<(), OpenError> {
    let bad = |migration: &Migration, reason| OpenError::BadMigration { name: migration.name.clone(), reason };
    for pair in migrations.windows(2) {
        if pair[0].name >= pair[1].name {
            return Err(bad(&pair[1], "is not named after the one before it"));
        }
    }
    check_numbers(migrations.iter().map(|migration| migration.name.as_str()))?;
    match migrations.iter().find(|migration| !migration.is_intact()) {
        Some(migration) => Err(bad(migration, "is not what its checksum says")),
        None => Ok(()),
    }
}

/// What was applied and what is given must agree as far as both go. A database with more is a newer build's, and an older build
/// may run on it, unless one of those says that it may not.
pub(super) fn check_history(applied: &[Applied], given: &[Migration]) -> Result<(), OpenError> {
    for Place { number, state, carried, applied } in compare(given, applied) {
        let (Some(given), Some(applied)) = (carried, applied) else { break };
        return Err(match state {
            State::Changed => OpenError::ChangedMigration { name: applied.name },
            State::Reordered => {
                OpenError::ReorderedMigration { place: number, applied: applied.name, given: given.name }
            }
            State::Inserted => OpenError::InsertedMigration { name: given.name, before: applied.name },
            State::Applied | State::Pending | State::Unknown => continue,
        });
    }
    match applied.iter().skip(given.len()).find(|applied| applied.contraction) {
        Some(applied) => Err(OpenError::Contracted { name: applied.name.clone() }),
        None => Ok(()),
    }
}

/// Renaming gets past the authorizer, which is told the old name only.
fn check_reserved(connection: &Connection, migration: &Migration) -> Result<(), Failure> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE name LIKE ?1 ESCAPE '\\' AND name NOT IN ('watertight_migrations', 'watertight_keyvalue') LIMIT 1",
    )?;
    let pattern = format!("{}%", RESERVED.replace('_', "\\_"));
    let mut rows = statement.query([pattern])?;
    match rows.next()? {
        Some(row) => {
            let name: String = row.get(0)?;
            let message = format!("`{name}`: names that start with `{RESERVED}` are the host's");
            Err(Failure::Refused(OpenError::Migration { name: migration.name.clone(), message }))
        }
        None => Ok(()),
    }
}

/// No row may be left that refers to one that isn't there.
fn check_references(connection: &Connection, last: &Migration) -> Result<(), Failure> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        Some(row) => {
            let (child, parent): (String, String) = (row.get(0)?, row.get(2)?);
            let message = format!("a row of `{child}` refers to a row of `{parent}` that is not there");
            Err(Failure::Refused(OpenError::Migration { name: last.name.clone(), message }))
        }
        None => Ok(()),
    }
}

fn failed(denied: Option<String>, migration: &Migration, error: &rusqlite::Error) -> Failure {
    let message = match error {
        rusqlite::Error::SqlInputError { error, msg, sql, offset } => {
            // `sql` is what was left of the migration; `offset` is -1 where no place is known.
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
    Failure::Refused(OpenError::Migration { name: migration.name.clone(), message })
}
