//! One module's database: an SQLite file with one writing connection and several reading ones.
//!
//! This crate is the storage engine behind `watertight:sql`. It does not know Wasm: the runtime's capability `sql` passes
//! a guest's statements to it, and the native benchmark uses it directly. It guarantees:
//!
//! - Acknowledged writes survive a power cut. SQLite's write-ahead log is synced before an answer leaves, once for all
//!   waiting commits (`durability`). A read returns only synced data.
//! - No statement reaches outside the file, changes its schema, or takes part in the host's transactions (`policy`).
//! - No statement runs past its deadline, every wait is bounded, and no async thread is blocked for longer than about a
//!   millisecond (`readers`).
//!
//! This crate must never open the database file or its `-shm` file beside SQLite: by the rules of POSIX, closing such a
//! handle would release SQLite's own locks on the file. The `-wal` file has no locks, and a separate handle of it is what
//! gets synced.

mod additive;
mod applied;
mod backup;
mod barrier;
mod connection;
mod counters;
mod deadline;
mod durability;
mod error;
mod files;
mod limits;
mod migrate;
mod policy;
mod readers;
mod settings;
mod redact;
mod claim;
mod transaction;
mod trial;
mod value;
mod writer;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::wal::CheckpointMode;
use tokio::sync::{oneshot, watch};

use claim::JobClaim;
use connection::GuardedConnection;
use counters::Counters;
use durability::{Durability, FinalFailure, SyncQueue, Syncer};
use files::{Files, create_private};
use limits::check_input;
use migrate::MigrationRule;
use policy::Role;
use readers::Readers;
use watertight_disk::files::FileChanged;
use watertight_model::config::SqlLimits;
use watertight_model::migration::Migration;
use writer::{BoundStatement, Job, Writer};

pub use applied::{applied_migrations, is_used};
pub use backup::{copy_closed, copy_together};
pub use barrier::CopyError;
pub use counters::CounterValues;
pub use error::{ConstraintKind, MigrateError, OpenError, SqlError, SqlLimit};
pub use files::has_lost_log;
pub use redact::redact_statement;
pub use settings::{Settings, WalSync};
pub use transaction::Transaction;
pub use trial::{CopyTrial, MAX_COPY, MigrationOccasion, try_migrations, try_on_copy};
pub use value::{Rows, Value};

/// A module's database. Clones are handles of one database. Dropping the last handle ends the database's threads.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    /// The limits of every statement that is run through this handle.
    limits: SqlLimits,
}

struct Inner {
    path: PathBuf,
    settings: Arc<Settings>,
    readers: Arc<Readers>,
    /// The queue of jobs for the database's writing thread. `None` once the database is closed.
    jobs: Mutex<Option<SyncSender<Job>>>,
    durability: Arc<Durability>,
    files: Arc<Files>,
    counters: Arc<Counters>,
    /// Becomes true when the writing thread has closed its connection.
    closed: watch::Receiver<bool>,
}

impl Database {
    /// Opens the database at `path`, creates it if it is missing, and applies the pending migrations.
    ///
    /// The call blocks, mostly on the disk, so it must not run on an async thread. When it returns, everything in the
    /// database is on the disk.
    ///
    /// # Errors
    /// Returns [`OpenError`], which names the file or the migration. A failed migration leaves no trace.
    pub fn open(path: &Path, settings: Settings, migrations: &[Migration]) -> Result<Self, OpenError> {
        let files = |source| OpenError::Files { path: path.to_owned(), source };
        let sqlite = |source| OpenError::Database { path: path.to_owned(), source };
        let identity = create_private(path).map_err(files)?;
        let guarded = GuardedConnection::writer(path, &settings).map_err(sqlite)?;
        migrate::apply(&guarded, migrations, MigrationRule::Any, settings.limits.size, settings.migration).map_err(
            |failure| match failure {
                migrate::MigrationFailure::Sqlite(source) => sqlite(source),
                migrate::MigrationFailure::Refused(error) => error,
            },
        )?;
        // A killed process may have left unsynced commits in the log. The checkpoint copies them into the database file
        // and syncs it.
        match guarded.raw().wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE) {
            // Another process reads the file. The part that stays in the log is synced below.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            result => drop(result.map_err(sqlite)?),
        }
        // The pages that the migrations wrote are not a guest's commit.
        guarded.take_log_pages();
        let (identified, wal) = Files::identify(path, identity).map_err(files)?;
        settings.sync.run(&wal).and_then(|()| sync_folder(path)).map_err(files)?;
        guarded.set_role(Role::Guest);
        let readers = (0..settings.readers.max(1)).map(|_| GuardedConnection::reader(path, &settings));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(sqlite)?;
        Self::start(path, settings, (guarded, readers), (identified, wal)).map_err(files)
    }

    /// Starts the database's two threads: the writer, which runs transactions, and the syncer, which syncs the
    /// write-ahead log and answers.
    fn start(
        path: &Path,
        settings: Settings,
        (guarded, readers): (GuardedConnection, Vec<GuardedConnection>),
        (files, wal): (Files, File),
    ) -> io::Result<Self> {
        let files = Arc::new(files);
        let settings = Arc::new(settings);
        let durability = Arc::new(Durability::new());
        let counters = Arc::new(Counters::default());
        let (jobs, waiting) = sync_channel(settings.writer_queue.max(1));
        let (leaving, gone) = watch::channel(false);

        let syncer = Syncer {
            wal,
            files: files.clone(),
            sync: settings.sync.clone(),
            durability: durability.clone(),
            counters: counters.clone(),
        };
        let (handover, syncer) = SyncQueue::start(syncer, settings.batch.max(1))?;
        let writer = Writer {
            guarded,
            settings: settings.clone(),
            durability: durability.clone(),
            counters: counters.clone(),
            handover,
            files: files.clone(),
            readers: readers.iter().map(|reader| reader.watch().clone()).collect(),
        };
        let at_the_end = files.clone();
        thread::Builder::new().name("sql-writer".to_owned()).spawn(move || {
            writer.run(&waiting);
            let Writer { guarded, handover, .. } = writer;
            drop(handover);
            if syncer.join().is_err() {
                tracing::error!(
                    "the thread that syncs a database panicked: the last commits are possibly not on the disk"
                );
            }
            // The last connection to close copies the log into the database file and removes the log. Both are found by
            // path, so the paths must still lead to this database's files.
            if at_the_end.check().is_err() {
                guarded.keep_log();
            }
            drop(guarded);
            // There is no receiver once the last handle is gone.
            let _ = leaving.send(true);
        })?;
        let readers = Readers::new(readers, settings.clone(), durability.clone(), counters.clone());
        let (jobs, limits) = (Mutex::new(Some(jobs)), settings.limits);
        let inner = Arc::new(Inner {
            path: path.to_owned(),
            settings,
            readers,
            jobs,
            durability,
            files,
            counters,
            closed: gone,
        });
        Ok(Self { inner, limits })
    }

    /// Returns a handle of this database whose statements have the given limits.
    pub fn with_limits(&self, limits: SqlLimits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// Runs one read-only statement, and returns its rows once all data in them is on the disk.
    ///
    /// # Errors
    /// Any [`SqlError`] except `Constraint`. `Timeout` if `deadline` passes, also during a wait.
    pub async fn query(&self, sql: &str, parameters: Vec<Value>, deadline: Instant) -> Result<Rows, SqlError> {
        check_input(sql, &parameters, self.settings(), &self.limits)?;
        self.inner.readers.query(sql, parameters, &self.limits, deadline).await
    }

    /// Runs one writing statement in a transaction of its own. Returns the number of changed rows once the change is on
    /// the disk.
    ///
    /// # Errors
    /// Any [`SqlError`]. Nothing was changed then, with one exception: a `Storage` after a failed sync leaves it
    /// unknown whether the change was made.
    pub async fn execute(&self, sql: &str, parameters: Vec<Value>, deadline: Instant) -> Result<u64, SqlError> {
        check_input(sql, &parameters, self.settings(), &self.limits)?;
        let ticket = Arc::new(JobClaim::default());
        let (reply, mut answer) = oneshot::channel();
        let statement = BoundStatement { sql: sql.to_owned(), parameters };
        self.submit(Job::Execute { statement, limits: self.limits, deadline, claim: ticket.clone(), reply })?;
        let answer = match tokio::time::timeout_at(deadline.into(), &mut answer).await {
            Ok(answer) => answer,
            Err(_) if ticket.abandon() => return Err(SqlError::Timeout),
            // The writer has begun. It keeps the deadline, and only it knows the outcome.
            Err(_) => answer.await,
        };
        answer.unwrap_or(Err(SqlError::Closed))
    }

    /// Opens a write transaction as soon as the writing thread is free. `deadline` bounds this wait, and the
    /// transaction after it.
    ///
    /// # Errors
    /// `Busy` if the writer's queue is full; `Timeout`; `Closed`; `Storage`.
    pub async fn begin(&self, deadline: Instant) -> Result<Transaction, SqlError> {
        let (reply, lease) = oneshot::channel();
        self.submit(Job::Begin { limits: self.limits, deadline, reply })?;
        let lease = tokio::time::timeout_at(deadline.into(), lease).await.map_err(|_| SqlError::Timeout)?;
        Ok(Transaction::new(lease.unwrap_or(Err(SqlError::Closed))?, self.clone(), deadline))
    }

    /// Opens a write transaction as [`begin`](Self::begin) does, and waits until all that it can read of earlier commits is on the disk. What
    /// it reads of others may be revealed before it ends. The wait keeps the writing thread from the next transaction.
    ///
    /// # Errors
    /// As [`begin`](Self::begin) and [`wait_until_synced`](Self::wait_until_synced).
    pub async fn begin_synced(&self, deadline: Instant) -> Result<Transaction, SqlError> {
        let transaction = self.begin(deadline).await?;
        // The transaction has the writer, so nothing is committed after this.
        self.wait_until_synced(deadline).await?;
        Ok(transaction)
    }

    /// Applies the pending migrations while guests are served. Only additive migrations are accepted: those that change
    /// nothing for a build that does not know them. Returns the number of applied migrations once they are on the disk.
    ///
    /// `allowed` is the longest wait for the writing thread, and then again the longest time that the migrations may
    /// take.
    ///
    /// # Errors
    /// [`MigrateError::Refused`] names the migration and the reason; no migration of the list stays applied.
    /// [`MigrateError::Failed`] has an error of [`Database::execute`].
    pub async fn migrate(&self, migrations: &[Migration], allowed: Duration) -> Result<u64, MigrateError> {
        let ticket = Arc::new(JobClaim::default());
        let (refused, refusal) = oneshot::channel();
        let (reply, mut answer) = oneshot::channel();
        let migrations = migrations.to_owned();
        let size = self.limits.size;
        self.submit(Job::Migrate { migrations, size, allowed, claim: ticket.clone(), refused, reply })?;
        let answer = match tokio::time::timeout(allowed, &mut answer).await {
            Ok(answer) => answer,
            Err(_) if ticket.abandon() => return Err(SqlError::Timeout.into()),
            // The writer has begun and stops in time. Only it knows the outcome.
            Err(_) => answer.await,
        };
        let applied = answer.unwrap_or(Err(SqlError::Closed))?;
        match refusal.await {
            Ok(error) => Err(MigrateError::Refused(error)),
            Err(_) => Ok(applied),
        }
    }

    /// Waits until everything that was committed before this call is on the disk.
    ///
    /// # Errors
    /// `Timeout` if `deadline` passes; `Storage` if a sync failed.
    pub async fn wait_until_synced(&self, deadline: Instant) -> Result<(), SqlError> {
        self.inner.durability.wait(self.inner.durability.issued(), deadline).await
    }

    /// Checks that the paths of the database's files still lead to the open files.
    ///
    /// If they do not, the database accepts no more statements, because acknowledged writes would be lost. A closed
    /// database always passes: its files may be removed. The check makes a few system calls and takes microseconds.
    ///
    /// # Errors
    /// [`FileChanged`] names the file.
    pub fn check_files(&self) -> Result<(), FileChanged> {
        let checked = self.inner.files.check();
        if checked.is_err() && self.is_open() {
            self.inner.durability.fail(FinalFailure::Displaced);
            return checked;
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes the database: it accepts no more statements, finishes the waiting and running ones, and returns once the
    /// files are closed. Later calls on any handle answer `Closed`. An open transaction may go on until its deadline.
    pub async fn close(&self) {
        self.inner.close();
        // An error means that the writer's thread has ended, which is the goal.
        let _ = self.inner.closed.clone().wait_for(|gone| *gone).await;
    }

    /// Returns the database's counters.
    pub fn counters(&self) -> CounterValues {
        self.inner.counters.now()
    }

    /// The path of the database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The path of SQLite's write-ahead log of this database.
    pub fn wal_path(&self) -> PathBuf {
        wal_path(&self.inner.path)
    }

    /// The limits of every statement that is run through this handle.
    pub fn limits(&self) -> &SqlLimits {
        &self.limits
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Puts a job into the queue of the database's writing thread.
    fn submit(&self, job: Job) -> Result<(), SqlError> {
        let jobs = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = jobs.as_ref() else { return Err(SqlError::Closed) };
        let queue = self.inner.counters.writer_queue();
        // The job is counted before it is queued, so that the writer never decrements first.
        queue.fetch_add(1, SeqCst);
        jobs.try_send(job).map_err(|error| {
            queue.fetch_sub(1, SeqCst);
            match error {
                TrySendError::Full(_) => SqlError::Busy,
                TrySendError::Disconnected(_) => SqlError::Closed,
            }
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) {
        // The readers close first, so that the writer's connection is the last. Only a writing connection removes the log
        // when it closes.
        self.readers.close();
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Removes the files of the database at `path`, if there are any. No process may have the database open.
///
/// # Errors
/// Returns an error if one of the files can't be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    // The log goes first. SQLite would apply a leftover log to the next database at this path.
    for file in [wal_path(path), index_path(path), path.to_owned()] {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The path of SQLite's write-ahead log of the database at `path`: `PATH-wal`. SQLite chooses the name.
fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// The path of the index of SQLite's write-ahead log, of the database at `path`: `PATH-shm`. SQLite chooses the name.
fn index_path(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Syncs the folder of the database at `path`, so that the names of the database's files are durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
