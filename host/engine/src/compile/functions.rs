//! A cache of compiled functions, so that a new build of one module compiles only what is new in it, and not the whole
//! compartment.
//!
//! Cranelift's incremental cache looks a function up by a hash of everything that its code depends on: the function
//! before compilation, the processor and the settings. The cache is an SQLite file in the folder for compiled code, which
//! no other user can reach. Each function is checked against its digest, because it becomes native code. The cache only
//! saves time: if it fails, the function is compiled.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use wasmtime::CacheStore;

/// The file name of the function cache, in the folder for compiled code.
const FILE: &str = "functions.sqlite";
/// The largest size of the function cache, in bytes. Beyond that, the least recently used half is removed. A JavaScript engine takes 60 MB.
const MAX_CACHE_BYTES: i64 = 256 << 20;
/// The precision with which the last use of a cached function is recorded, in seconds. Each record rewrites the function's code.
const USED_WITHIN: i64 = 24 * 60 * 60;
/// The longest wait for another process of this user that writes to the function cache. Compiling again takes no longer than waiting.
const BUSY: Duration = Duration::from_millis(100);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS function (\
    key BLOB PRIMARY KEY NOT NULL, code BLOB NOT NULL, digest BLOB NOT NULL, used INTEGER NOT NULL) STRICT";

/// The function cache, open for one compilation.
pub(super) struct FunctionCache {
    folder: PathBuf,
    open: Mutex<OpenCache>,
}

struct OpenCache {
    connection: Connection,
    /// Whether a part of the cache's file was found to be damaged.
    damaged: bool,
    /// The time at which the cache was opened, in seconds since 1970.
    now: i64,
    made: Vec<(Vec<u8>, Vec<u8>)>,
    /// The keys of functions that were found and whose recorded last use is too old.
    stale: Vec<Vec<u8>>,
}

impl std::fmt::Debug for FunctionCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Functions")
    }
}

impl FunctionCache {
    /// Opens the function cache in `folder`. Replaces a file that is not a database. Returns `None` if that fails too.
    pub(super) fn open(folder: &Path) -> Option<Arc<Self>> {
        let file = folder.join(FILE);
        let connection = connect(&file).or_else(|error| {
            if is_damaged(&error) {
                remove(folder);
            }
            connect(&file)
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let open = OpenCache { connection: connection.ok()?, damaged: false, now, made: Vec::new(), stale: Vec::new() };
        Some(Arc::new(Self { folder: folder.to_owned(), open: Mutex::new(open) }))
    }

    /// Saves the functions that were compiled since the cache was opened. If its file is damaged or the disk is full, the cache is removed,
    /// and the next compilation creates a new one.
    pub(super) fn save(&self) {
        let mut open = self.lock();
        // If another process is writing, nothing is saved, and the next component merely takes longer.
        let useless = write(&mut open).is_err_and(|error| is_damaged(&error) || is_full(&error));
        if open.damaged || useless {
            remove(&self.folder);
        }
    }

    /// Removes the cache's file. Its disk space is released when this value is dropped.
    pub(super) fn delete(&self) {
        remove(&self.folder);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenCache> {
        // A panic leaves the state valid, so a poisoned lock is safe to use.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(open: &mut OpenCache) -> rusqlite::Result<()> {
    let OpenCache { connection, now, made, stale, .. } = open;
    let transaction = connection.transaction()?;
    {
        let mut insert =
            transaction.prepare("INSERT OR REPLACE INTO function (key, code, digest, used) VALUES (?, ?, ?, ?)")?;
        for (key, code) in made.drain(..) {
            insert.execute(params![key, code, digest(&key, &code), *now])?;
        }
        let mut touch = transaction.prepare("UPDATE function SET used = ? WHERE key = ?")?;
        for key in stale.drain(..) {
            touch.execute(params![*now, key])?;
        }
    }
    prune(&transaction, MAX_CACHE_BYTES)?;
    transaction.commit()
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut open = self.lock();
        let found = find(&open.connection, key);
        if found.as_ref().is_err_and(is_damaged) {
            open.damaged = true;
        }
        let (code, kept, used) = found.ok()??;
        if used.saturating_add(USED_WITHIN) < open.now {
            open.stale.push(key.to_owned());
        }
        drop(open);
        (digest(key, &code) == *kept).then_some(Cow::Owned(code))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.lock().made.push((key.to_owned(), value));
        true
    }
}

/// The code of a cached function, the code's digest, and the time of its last use.
type CachedFunction = (Vec<u8>, Vec<u8>, i64);

fn find(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<CachedFunction>> {
    let mut find = connection.prepare_cached("SELECT code, digest, used FROM function WHERE key = ?")?;
    find.query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
}

/// Removes the files of the function cache from `folder`. If that fails, they are useless but harmless.
fn remove(folder: &Path) {
    for name in [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm")] {
        let _ = std::fs::remove_file(folder.join(name));
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A crash of the machine may lose or damage entries. Their digests reveal that.
    connection.pragma_update(None, "synchronous", "off")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Removes the least recently used half of the cached functions if their file has more than `kept` bytes.
fn prune(connection: &Connection, kept: i64) -> rusqlite::Result<()> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let used = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
    if used > kept {
        connection.execute(
            "DELETE FROM function WHERE key IN \
             (SELECT key FROM function ORDER BY used LIMIT (SELECT (count(*) + 1) / 2 FROM function))",
            [],
        )?;
    }
    Ok(())
}

fn digest(key: &[u8], code: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(code).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[7; 32];

    fn folder_with(code: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let functions = FunctionCache::open(folder.path()).unwrap();
        assert_eq!(functions.get(KEY), None);
        functions.insert(KEY, code.to_owned());
        functions.save();
        folder
    }

    #[test]
    fn what_was_kept_is_found_and_what_is_spoilt_is_not() {
        let folder = folder_with(b"code");
        let functions = FunctionCache::open(folder.path()).unwrap();
        assert_eq!(functions.get(KEY).as_deref(), Some(&b"code"[..]));
        assert_eq!(functions.get(&[8; 32]), None);
        functions.lock().connection.execute("UPDATE function SET code = ?", [b"Code"]).unwrap();
        assert_eq!(functions.get(KEY), None);
        // Compiling again replaces the damaged code.
        functions.insert(KEY, b"new".to_vec());
        functions.save();
        assert_eq!(functions.get(KEY).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_file_that_is_no_database_is_begun_anew() {
        let folder = folder_with(b"code");
        std::fs::write(folder.path().join(FILE), [0xAB; 9000]).unwrap();
        let functions = FunctionCache::open(folder.path()).unwrap();
        assert_eq!(functions.get(KEY), None);
        functions.insert(KEY, b"new".to_vec());
        functions.save();
        assert_eq!(FunctionCache::open(folder.path()).unwrap().get(KEY).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_file_of_which_a_part_is_spoilt_is_begun_anew() {
        let folder = folder_with(&[1; 100_000]);
        let file = folder.path().join(FILE);
        // Damages everything except the first page, which identifies the file as a database.
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[4096..].fill(0xAB);
        std::fs::write(&file, bytes).unwrap();
        for _ in 0..2 {
            let functions = FunctionCache::open(folder.path()).unwrap();
            functions.get(KEY);
            functions.insert(KEY, b"new".to_vec());
            functions.save();
        }
        assert_eq!(FunctionCache::open(folder.path()).unwrap().get(KEY).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn on_a_full_disk_it_gives_back_what_it_took() {
        let folder = folder_with(b"code");
        let functions = FunctionCache::open(folder.path()).unwrap();
        functions.lock().connection.pragma_update(None, "max_page_count", 6).unwrap();
        functions.insert(&[8; 32], vec![1; 100_000]);
        functions.save();
        drop(functions);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let functions = FunctionCache::open(folder.path()).unwrap();
        for number in 0..10_u8 {
            functions.lock().now = if number % 2 == 0 { 1_000 } else { 2_000 };
            functions.insert(&[number; 32], vec![number; 10_000]);
            functions.save();
        }
        // One of the older functions is used again.
        functions.lock().now = 1_000 + 2 * USED_WITHIN;
        assert!(functions.get(&[0; 32]).is_some());
        functions.save();
        let open = functions.lock();
        prune(&open.connection, 200_000).unwrap();
        let count =
            || open.connection.query_row("SELECT count(*) FROM function", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count(), 10);
        prune(&open.connection, 100_000).unwrap();
        assert_eq!(count(), 5);
        drop(open);
        let found: Vec<u8> = (0..10).filter(|number| functions.get(&[*number; 32]).is_some()).collect();
        assert!(found.contains(&0) && found.iter().filter(|number| *number % 2 == 1).count() == 4, "{found:?}");
    }
}
