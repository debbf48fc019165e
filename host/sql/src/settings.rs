//! The bounds of one database, each with its reason.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use watertight_model::config::SqlLimits;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The bounds of one database: every queue, wait and size has one here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of read connections, and so of simultaneous reads. 4: each costs three file handles and up to 2 MiB of
    /// page cache, and a point query holds one for about 10 µs.
    pub readers: usize,
    /// The most reads that wait for a connection. A further one is answered [`SqlError::Busy`](super::SqlError::Busy).
    /// 1,024, like the writer's queue.
    pub read_queue: usize,
    /// The most writes and transactions that wait for the writer. A further one is answered `Busy`. 1,024: the default
    /// number of requests in flight. A compartment runs 256 calls at once, and there are two compartments while a
    /// generation drains.
    pub writer_queue: usize,
    /// The most transactions that wait for a sync, and so the most that one sync covers. 1,024: no less than
    /// `writer_queue`, so that one sync can serve a whole queue.
    pub batch: usize,
    /// How long a transaction may hold the writer between two statements. 100 ms, as the contract `watertight:sql`
    /// promises.
    pub lease: Duration,
    /// How long a read runs on the calling thread before it is restarted on a thread of its own. 1 ms: a hundred times
    /// the duration of a point query, and an acceptable delay on an async thread.
    pub inline_budget: Duration,
    /// The longest text of one statement, in bytes. 64 KiB.
    pub max_statement_bytes: usize,
    /// The largest value, in bytes: a parameter, a value in a row, or a value between functions of a statement. 4 MiB.
    pub max_value_bytes: usize,
    /// The length of the write-ahead log at which it must be emptied, in bytes. Reads that prevent the emptying are
    /// stopped. If that does not help, writes are answered `Busy`. 256 MiB: a saturated writer produces that in some
    /// seconds, and a start reads it once.
    pub max_log_bytes: u64,
    /// The most bytes that one transaction may add to the write-ahead log beyond `max_log_bytes`. A transaction that adds more
    /// is rolled back with an error. The check runs every 1,000 instructions of SQLite, so a statement that writes large
    /// values may exceed the bound a little. 256 MiB.
    pub max_transaction_bytes: u64,
    /// The limits of statements that are run through a handle without limits of its own
    /// ([`Database::with_limits`](super::Database::with_limits)).
    pub limits: SqlLimits,
    /// The number of prepared statements in each connection's cache. 128: more than a module has.
    pub cached_statements: usize,
    /// The time for all pending migrations while nobody waits for the database: at a start, and for a new module. 10
    /// minutes: enough to rebuild a table of some 100 million rows.
    pub migration: Duration,
    /// How the write-ahead log is synced.
    pub sync: WalSync,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            readers: 4,
            read_queue: 1024,
            writer_queue: 1024,
            batch: 1024,
            lease: Duration::from_millis(100),
            inline_budget: Duration::from_millis(1),
            max_statement_bytes: 64 * KIB,
            max_value_bytes: 4 * MIB,
            max_log_bytes: 256 * MIB as u64,
            max_transaction_bytes: 256 * MIB as u64,
            limits: SqlLimits::default(),
            cached_statements: 128,
            migration: Duration::from_secs(600),
            sync: WalSync::default(),
        }
    }
}

/// The function that makes the write-ahead log durable. Only `fdatasync` is correct in production. Tests use others to
/// observe the order of events, to delay, or to fail.
#[derive(Clone)]
pub struct WalSync(Arc<SyncFn>);

type SyncFn = dyn Fn(&File) -> io::Result<()> + Send + Sync;

impl WalSync {
    /// Creates a replacement of [`File::sync_data`] for tests.
    pub fn with(sync: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(sync))
    }

    pub(super) fn run(&self, wal: &File) -> io::Result<()> {
        (self.0)(wal)
    }
}

impl Default for WalSync {
    fn default() -> Self {
        Self::with(File::sync_data)
    }
}

impl fmt::Debug for WalSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalSync")
    }
}
