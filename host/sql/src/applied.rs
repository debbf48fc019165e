//! Reads which migrations a database has, while a host serves or while none runs.
//!
//! Reading changes nothing and creates no database. The file is opened read-only, and only by SQLite.

use std::io;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};

use super::migrate::HAS_CONTRACTS;
use super::{OpenError, wal_path};
use watertight_model::migration::AppliedMigration;

/// How long a reader waits for SQLite's lock. Another process may be recovering the write-ahead log.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Asks whether a database has the table of applied migrations, which every host creates first.
const HAS_HISTORY: &str = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'watertight_migrations'";
/// The characters that are not percent-encoded in the path of a URI.
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Reads the migrations that were applied to the database at `path`, in order. Returns `None` if there is no such file.
///
/// # Errors
/// [`OpenError::Database`] or [`OpenError::Files`] if the file can't be read or is not a database.
pub fn applied_migrations(path: &Path) -> Result<Option<Vec<AppliedMigration>>, OpenError> {
    if !is_there(path, path)? {
        return Ok(None);
    }
    let connection = open_to_read(path)?;
    read(&connection).map(Some).map_err(|source| OpenError::Database { path: path.to_owned(), source })
}

/// Whether a host has used the database at `path`. Returns false if the file is missing or has never been written to.
/// Returns true if the file can't be read, because it may have been used.
///
/// # Errors
/// [`OpenError::Files`] if it is unknown whether the file exists.
pub fn is_used(path: &Path) -> Result<bool, OpenError> {
    if !is_there(path, path)? {
        return Ok(false);
    }
    let has_history = |connection: Connection| connection.query_row(HAS_HISTORY, [], |row| row.get(0));
    Ok(open_to_read(path).ok().and_then(|connection| has_history(connection).ok()).unwrap_or(true))
}

/// Whether `file`, which belongs to the database at `path`, exists.
fn is_there(path: &Path, file: &Path) -> Result<bool, OpenError> {
    match file.metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OpenError::Files { path: path.to_owned(), source }),
    }
}

/// Opens a database read-only, and leaves no new file behind.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    // Without a log, no process has the database open. A normal reader would create a log and an index, and nobody would
    // remove them.
    let how = if is_there(path, &wal_path(path))? { "mode=ro" } else { "mode=ro&immutable=1" };
    let uri = format!("file:{}?{how}", percent_encode(path.as_os_str().as_encoded_bytes(), IN_PATHS));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(uri, flags).and_then(|connection| {
        connection.busy_timeout(LOCK_TIMEOUT)?;
        Ok(connection)
    });
    opened.map_err(|source| OpenError::Database { path: path.to_owned(), source })
}

pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<AppliedMigration>> {
    if !connection.query_row(HAS_HISTORY, [], |row| row.get::<_, bool>(0))? {
        return Ok(Vec::new());
    }
    // Older hosts had no column for contractions.
    let contraction = if connection.query_row(HAS_CONTRACTS, [], |row| row.get(0))? { "contracts" } else { "0" };
    let sql = format!("SELECT name, checksum, applied_at, {contraction} FROM watertight_migrations ORDER BY place");
    let mut statement = connection.prepare(&sql)?;
    let applied = |row: &rusqlite::Row<'_>| {
        Ok(AppliedMigration { name: row.get(0)?, checksum: row.get(1)?, at: row.get(2)?, contraction: row.get(3)? })
    };
    statement.query_map([], applied)?.collect()
}
