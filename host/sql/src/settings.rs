//! The numbers that bound one database, each with where it comes from.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use watertight_model::config::SqlLimits;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bounds of one database. Every queue, wait and size has one here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Read connections: how many reads run at once. 4: each costs three file handles and up to 2 MiB of page cache, and a point
    /// query holds one for some 10 µs.
    pub readers: usize,
    /// Reads that may wait for a connection; one more is answered [`SqlError::Busy`](super::SqlError::Busy). 1,024, as the
    /// writer's.
    pub read_queue: usize,
    /// Writes and transactions that may wait for the writer; one more is answered `Busy`. 1,024: as many as requests are in flight by
    /// default. A compartment runs 256 calls at once, and while a generation drains there are two of them.
    pub writer_queue: usize,
    /// Transactions that may wait for a sync, and so the most that one sync covers. 1,024: no less than `writer_queue`, so that one
    /// sync can serve a whole queue.
    pub batch: usize,
    /// How long a transaction may hold the writer without a statement. 100 ms, as the contract `watertight:sql` promises.
    pub lease: Duration,
    /// How long a read runs on the calling thread before it is begun again on a thread of its own. 1 ms: a hundred times a point
    /// query, and what an async thread can spare.
    pub inline_budget: Duration,
    /// Bytes of one statement's text. 64 KiB.
    pub max_statement_bytes: usize,
    /// Bytes of one value, as a parameter, in a table's row, or between functions of a statement. 4 MiB.
    pub max_value_bytes: usize,
    /// Bytes of the write-ahead log at which it must be emptied: reads that keep it from being are stopped, and where that doesn't help,
    /// writes are answered `Busy`. 256 MiB: a saturated writer makes that in some seconds, and a start reads it once.
    pub max_log_bytes: u64,
    /// Bytes that one transaction may add to the log's file beyond that; one that adds more is rolled back, and told so. It is looked
    /// at every 1,000 instructions of SQLite, so a statement that writes large values gets some further. 256 MiB.
    pub max_transaction_bytes: u64,
    /// What holds for a handle that has no limits of its own ([`Database::limited`](super::Database::limited)).
    pub limits: SqlLimits,
    /// Prepared statements that each connection keeps. 128: more than a module has.
    pub cached_statements: usize,
    /// How long all migrations that are due may take where nobody waits for the database: at a start, and for a module that is new. 10
    /// minutes: a table of some 100 million rows is built anew in that.
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

/// How the write-ahead log is made durable. Nothing but `fdatasync` is right outside tests, which use another to watch the order of
/// events, to be slow, or to fail.
#[derive(Clone)]
pub struct WalSync(Arc<SyncFn>);

type SyncFn = dyn Fn(&File) -> io::Result<()> + Send + Sync;

impl WalSync {
    /// For tests: calls `sync` in place of [`File::sync_data`].
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
