//! One SQLite connection, configured so that a guest's statement stays within its permissions and its time.
//!
//! All methods block, and a connection belongs to one thread at a time. The statements of guests are cached by their
//! text. The host's own statements must never be prepared through that cache, or a guest could run one by writing the
//! same text.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{CachedStatement, Connection, OpenFlags};

use super::error::{SqlError, SqlLimit, is_out_of_pages, is_too_big, translate};
use super::limits::limit;
use super::policy::{self, Denial, Role};
use super::settings::Settings;
use super::value::{Rows, Value};
use super::wal_path;
use watertight_model::config::SqlLimits;

/// Instructions of SQLite's virtual machine between two checks of a statement's deadline: about 10 µs.
const PROGRESS_STEPS: i32 = 1_000;
/// How long the writing connection waits for SQLite's lock on the file. Only an operator's `sqlite3` may write beside
/// it.
pub(super) const WRITER_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a reading connection waits for SQLite's lock, on an async thread. In WAL mode a lock occurs only while
/// another process recovers the write-ahead log.
const READER_LOCK_TIMEOUT: Duration = Duration::from_millis(5);
/// The shortest interval between two checks of the write-ahead log's length while a statement writes, in nanoseconds.
/// The file grows by megabytes in that time.
const LOG_CHECK_INTERVAL: u64 = Duration::from_micros(200).as_nanos() as u64;
/// The size of each connection's page cache, in KiB.
const CACHE_KIB: i32 = 2_048;
/// The length, in bytes, to which SQLite shortens an overgrown write-ahead log when it writes the log from the
/// beginning again.
const LOG_KEPT: i32 = 64 * 1024 * 1024;
/// The page size of a new database. SQLite's default is the same.
const PAGE_BYTES: i64 = 4_096;
/// Least number of free bytes with which a disk does not count as full.
const DISK_LEFT: u64 = 1024 * 1024;
const NEVER: u64 = u64::MAX;

/// The kinds of SQL statements that a method accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatementKind {
    /// Only statements that change nothing.
    Reads,
    /// Only statements that may change something.
    Writes,
    /// All statements.
    Any,
}

/// The state of a connection that SQLite's callbacks use while a statement runs.
#[derive(Debug)]
pub(super) struct ConnectionMonitor {
    epoch: Instant,
    /// When the running statement must stop, in nanoseconds since `epoch`.
    stop_at: AtomicU64,
    role: AtomicU8,
    /// The reason of the last denial by SQLite's authorizer callback. `None` once it was taken.
    denied: Mutex<Option<Denial>>,
    /// The length of the write-ahead log after the last commit that wrote, in pages. 0 once the number was taken.
    log_pages: AtomicU32,
    /// The path of the write-ahead log, and the greatest length in bytes to which a guest's transaction may extend it.
    /// Set for the writing connection only.
    log: Option<(PathBuf, u64)>,
    /// When the length of the write-ahead log was last checked, in nanoseconds since `epoch`.
    log_seen: AtomicU64,
    /// Whether the write-ahead log exceeded the length in `log`.
    overgrown: AtomicBool,
    /// Whether the running statement is a read on a thread of its own.
    long: AtomicBool,
}

impl ConnectionMonitor {
    fn new(log: Option<(PathBuf, u64)>) -> Self {
        Self {
            log,
            log_seen: AtomicU64::new(0),
            overgrown: AtomicBool::new(false),
            long: AtomicBool::new(false),
            epoch: Instant::now(),
            stop_at: AtomicU64::new(NEVER),
            role: AtomicU8::new(Role::Host as u8),
            denied: Mutex::new(None),
            log_pages: AtomicU32::new(0),
        }
    }

    /// Sets the deadline of the next statement.
    pub(super) fn arm(&self, deadline: Instant) {
        let nanos = deadline.saturating_duration_since(self.epoch).as_nanos();
        self.stop_at.store(u64::try_from(nanos).unwrap_or(NEVER), Relaxed);
    }

    /// Removes the deadline, so that the next statement runs until it ends.
    pub(super) fn disarm(&self) {
        self.stop_at.store(NEVER, Relaxed);
    }

    /// Stops the running statement at its next check of the deadline.
    pub(super) fn stop(&self) {
        self.stop_at.store(0, Relaxed);
    }

    /// Records whether the running read has a thread of its own.
    pub(super) fn set_long(&self, long: bool) {
        self.long.store(long, Relaxed);
    }

    /// Stops the running statement if it is a read on a thread of its own. Returns whether it is.
    pub(super) fn stop_if_long(&self) -> bool {
        let long = self.long.load(Relaxed);
        if long {
            self.stop();
        }
        long
    }

    /// Whether a transaction has made the write-ahead log longer than allowed since the last call.
    pub(super) fn take_overgrown(&self) -> bool {
        self.overgrown.swap(false, Relaxed)
    }

    fn is_over(&self) -> bool {
        let stop_at = self.stop_at.load(Relaxed);
        if stop_at == NEVER {
            return false;
        }
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(NEVER);
        now >= stop_at || self.overgrows(now)
    }

    /// Whether the write-ahead log is longer than allowed. `now` is in nanoseconds since `epoch`. SQLite writes changes
    /// to the log before the commit, except for those that fit into the page cache.
    fn overgrows(&self, now: u64) -> bool {
        let Some((log, most)) = &self.log else { return false };
        if now < self.log_seen.load(Relaxed).saturating_add(LOG_CHECK_INTERVAL) {
            return false;
        }
        self.log_seen.store(now, Relaxed);
        let over = log.metadata().is_ok_and(|file| file.len() > *most);
        if over {
            self.overgrown.store(true, Relaxed);
        }
        over
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        match policy::check(Role::from_u8(self.role.load(Relaxed)), context) {
            Ok(()) => Authorization::Allow,
            Err(denial) => {
                *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(denial);
                Authorization::Deny
            }
        }
    }
}

/// The reason why a statement failed, before it is translated to a [`SqlError`].
enum Failure {
    Sqlite(rusqlite::Error),
    Own(SqlError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

fn syntax(text: impl Into<String>) -> Failure {
    Failure::Own(SqlError::Syntax(text.into()))
}

/// An SQLite connection that keeps guests' statements within their limits, permissions and deadlines. It begins in
/// [`Role::Host`].
pub(super) struct GuardedConnection {
    connection: Connection,
    monitor: Arc<ConnectionMonitor>,
    path: PathBuf,
    max_value: usize,
    max_transaction: u64,
    /// The most bytes that the database may have. `None` for a read-only connection.
    size: Cell<Option<u64>>,
}

impl GuardedConnection {
    /// Opens the writing connection, and creates the database if it is missing.
    pub(super) fn writer(path: &Path, settings: &Settings) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(WRITER_LOCK_TIMEOUT)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(rusqlite::Error::InvalidQuery);
        }
        // With NORMAL, a commit writes the log and does not sync it. The syncer does that.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
        // The writer checkpoints between transactions instead. This pragma also clears the hook that is set below.
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        let most = settings.max_log_bytes.saturating_add(settings.max_transaction_bytes);
        let mut guarded = Self::guard(connection, path, settings, Some((wal_path(path), most)))?;
        guarded.set_size(settings.limits.size)?;
        let watch = guarded.monitor.clone();
        guarded.connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            watch.log_pages.store(pages.unsigned_abs(), Relaxed);
            Ok(())
        }))?;
        Ok(guarded)
    }

    /// Opens an empty database in memory. It exists as long as the connection.
    pub(super) fn in_memory(settings: &Settings) -> rusqlite::Result<Self> {
        let guarded = Self::guard(Connection::open_in_memory()?, Path::new(":memory:"), settings, None)?;
        guarded.set_size(settings.limits.size)?;
        Ok(guarded)
    }

    /// Opens a read-only connection for guests.
    pub(super) fn reader(path: &Path, settings: &Settings) -> rusqlite::Result<Self> {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(READER_LOCK_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        let guarded = Self::guard(connection, path, settings, None)?;
        guarded.set_role(Role::Guest);
        Ok(guarded)
    }

    fn guard(
        mut connection: Connection,
        path: &Path,
        settings: &Settings,
        log: Option<(PathBuf, u64)>,
    ) -> rusqlite::Result<Self> {
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        for (config, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
            // Query plans must not depend on parameters: otherwise binding one makes SQLite prepare a cached statement
            // again (it is built with STAT4), which costs several times as much as running a point query.
            (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        ] {
            connection.set_db_config(config, on)?;
        }
        limit(&connection, settings)?;
        // Loading extensions from SQL is off in a new connection. The authorizer also denies the function.
        connection.set_prepared_statement_cache_capacity(settings.cached_statements);
        let watch = Arc::new(ConnectionMonitor::new(log));
        let progress = watch.clone();
        connection.progress_handler(PROGRESS_STEPS, Some(move || progress.is_over()))?;
        let authorizer = watch.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| authorizer.authorize(&context)))?;
        let (max_value, max_transaction) = (settings.max_value_bytes, settings.max_transaction_bytes);
        Ok(Self {
            connection,
            monitor: watch,
            path: path.to_owned(),
            max_value,
            max_transaction,
            size: Cell::new(None),
        })
    }

    /// The underlying connection, for the host's work while no guest's statement runs.
    pub(super) fn raw(&self) -> &Connection {
        &self.connection
    }

    /// The path of the database file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The state by which other threads can stop this connection's statements.
    pub(super) fn watch(&self) -> &Arc<ConnectionMonitor> {
        &self.monitor
    }

    /// Makes SQLite leave the write-ahead log as it is when the connection is closed. Otherwise the last connection to
    /// close copies the log into the database file.
    pub(super) fn keep_log(&self) {
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::error!(
                %error,
                "SQLite can't be told to keep the write-ahead log at the close: closing can change files of another database"
            );
        }
    }

    /// Whether no transaction is open. SQLite ends a transaction by itself on some errors.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// The number of rows changed since the connection was opened.
    pub(super) fn total_changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// The length of the write-ahead log in pages if something was committed since the last call, otherwise 0.
    pub(super) fn take_log_pages(&self) -> u32 {
        self.monitor.log_pages.swap(0, Relaxed)
    }

    /// The size of the database in bytes, as this connection sees it.
    pub(super) fn bytes(&self) -> rusqlite::Result<u64> {
        let read = |pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        Ok(read("page_size")?.unsigned_abs().saturating_mul(read("page_count")?.unsigned_abs()))
    }

    /// Sets the most bytes that the database may have. A larger database keeps its size. Not for a read-only connection.
    pub(super) fn set_size(&self, bytes: u64) -> rusqlite::Result<()> {
        if self.size.get() != Some(bytes) {
            let page: i64 = self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page;
            self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            self.size.set(Some(bytes));
        }
        Ok(())
    }

    /// Sets the role in which later statements are prepared.
    pub(super) fn set_role(&self, role: Role) {
        self.monitor.role.store(role as u8, Relaxed);
    }

    /// Takes the reason of the last denial by the authorizer. `None` if it denied nothing since the last call.
    pub(super) fn take_denial(&self) -> Option<Denial> {
        self.monitor.denied.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs the host's own `work` between statements of guests, without restrictions and without a deadline.
    pub(super) fn as_host<T>(&self, work: impl FnOnce() -> T) -> T {
        self.monitor.disarm();
        self.set_role(Role::Host);
        let result = work();
        self.set_role(Role::Guest);
        result
    }

    /// Runs one statement of a guest and collects its rows. Calls `begun` when SQLite has chosen the snapshot that the
    /// statement reads.
    pub(super) fn query(
        &self,
        sql: &str,
        parameters: &[Value],
        access: StatementKind,
        limits: &SqlLimits,
        begun: impl FnOnce(),
    ) -> Result<Rows, SqlError> {
        self.try_query(sql, parameters, access, limits, begun).map_err(|failure| self.explain(failure))
    }

    /// Runs one writing statement of a guest. Returns the number of changed rows.
    pub(super) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64, SqlError> {
        self.try_execute(sql, parameters).map_err(|failure| self.explain(failure))
    }

    fn try_query(
        &self,
        sql: &str,
        parameters: &[Value],
        access: StatementKind,
        limits: &SqlLimits,
        begun: impl FnOnce(),
    ) -> Result<Rows, Failure> {
        let mut statement = self.prepare(sql, parameters, access)?;
        let columns = statement.column_count();
        let mut cursor = statement.raw_query();
        let mut rows = Vec::new();
        let too_many = || Failure::Own(SqlLimit::Rows(limits.rows).into());
        let too_large = || Failure::Own(SqlLimit::Bytes(limits.bytes).into());
        let mut left = limits.bytes;
        let mut next = cursor.next();
        begun();
        while let Some(row) = next? {
            if rows.len() >= limits.rows as usize {
                return Err(too_many());
            }
            let mut values = Vec::with_capacity(columns);
            for index in 0..columns {
                let value = Value::copied(row.get_ref(index)?).ok_or_else(|| {
                    let column = row.as_ref().column_name(index).unwrap_or_default();
                    syntax(format!("the text in column `{column}` is not UTF-8: cast it to a blob"))
                })?;
                left = left.checked_sub(value.weight() as u64).ok_or_else(too_large)?;
                values.push(value);
            }
            rows.push(values);
            next = cursor.next();
        }
        drop(cursor);
        Ok(rows)
    }

    fn try_execute(&self, sql: &str, parameters: &[Value]) -> Result<u64, Failure> {
        let mut statement = self.prepare(sql, parameters, StatementKind::Writes)?;
        let mut cursor = statement.raw_query();
        // The rows of a RETURNING are discarded. SQLite makes every change before it returns the first row.
        while cursor.next()?.is_some() {}
        drop(cursor);
        drop(statement);
        Ok(self.connection.changes())
    }

    fn prepare(&self, sql: &str, parameters: &[Value], access: StatementKind) -> Result<CachedStatement<'_>, Failure> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let reads = statement.readonly();
        // Other statements without columns and changes are denied, so this text holds no statement at all.
        if reads && statement.column_count() == 0 {
            return Err(syntax("the SQL text contains no statement"));
        }
        match access {
            StatementKind::Reads if !reads => {
                return Err(syntax("outside a transaction `query` takes a statement that only reads"));
            }
            StatementKind::Writes if reads => return Err(syntax("`execute` takes a statement that writes")),
            _ => {}
        }
        let takes = statement.parameter_count();
        if takes != parameters.len() {
            return Err(syntax(format!("the statement takes {takes} parameters, and {} were given", parameters.len())));
        }
        for (index, value) in parameters.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value)?;
        }
        Ok(statement)
    }

    fn explain(&self, failure: Failure) -> SqlError {
        match failure {
            Failure::Own(error) => error,
            Failure::Sqlite(error) => match self.translate(&error) {
                // The flag stays set, so that the writer also empties the log.
                SqlError::Timeout if self.monitor.overgrown.load(Relaxed) => {
                    SqlLimit::Transaction(self.max_transaction).into()
                }
                error => error,
            },
        }
    }

    /// Translates SQLite's error into a [`SqlError`].
    pub(super) fn translate(&self, error: &rusqlite::Error) -> SqlError {
        match self.size.get() {
            _ if is_too_big(error) => SqlLimit::Value(self.max_value).into(),
            Some(size) if is_out_of_pages(error) && !self.is_disk_full() => SqlLimit::Size(size).into(),
            _ => translate(error, self.take_denial().map(|denial| denial.reason)),
        }
    }

    /// Whether the disk is full. SQLite has one code for a full disk and for a database at its size limit.
    fn is_disk_full(&self) -> bool {
        let Some(disk) = self.connection.path().and_then(|path| rustix::fs::statvfs(path).ok()) else { return true };
        disk.f_bavail.saturating_mul(disk.f_frsize) < DISK_LEFT
    }
}
