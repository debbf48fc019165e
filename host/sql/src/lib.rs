//! One module's database: an SQLite file with one writer and a few readers.
//!
//! The storage engine behind `watertight:sql`. It knows nothing of Wasm: the capability hands it a guest's statements, and the native
//! benchmark uses it as it is. What it promises:
//!
//! - What was acknowledged survives a power cut. The log is synced before an answer leaves, once for all commits that wait
//!   (`durability`); a read returns nothing that is not synced.
//! - No statement reaches out of the file, changes its schema, or takes part in the host's transactions (`policy`).
//! - No statement runs past its deadline, no wait is without a bound, and no async thread is held for longer than a millisecond
//!   or so (`readers`).
//!
//! It must never open the database file or its `-shm` beside SQLite: closing such a handle would drop SQLite's own locks on it, as POSIX
//! has it. The `-wal` has no locks, and a handle of ours on it is what gets synced.

mod additive;
mod applied;
mod backup;
mod connection;
mod counters;
mod due;
mod durability;
mod error;
mod files;
mod limits;
mod migrate;
mod policy;
mod readers;
mod settings;
mod shown;
mod ticket;
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

use connection::Guarded;
use counters::Counters;
use durability::{Durability, Failure, Handover, Syncer};
use files::{Files, create_private};
use limits::check_input;
use migrate::Rule;
use policy::Role;
use readers::Readers;
use ticket::Ticket;
use watertight_disk::files::Displaced;
use watertight_model::config::SqlLimits;
use watertight_model::migration::Migration;
use writer::{Bound, Job, Writer};

pub use applied::{applied, is_begun};
pub use backup::{CopyError, copy_closed, copy_together};
pub use counters::Counted;
pub use error::{ConstraintKind, MigrateError, OpenError, SqlError, SqlLimit};
pub use files::has_lost_log;
pub use settings::{Settings, WalSync};
pub use shown::shown;
pub use transaction::Transaction;
pub use trial::{CopyTried, MAX_COPY, Occasion, try_migrations, try_on_copy};
pub use value::{Rows, Value};

/// A module's database. Clones are handles of the same one; dropping the last ends its threads.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    /// What statements by this handle may take.
    limits: SqlLimits,
}

struct Inner {
    path: PathBuf,
    settings: Arc<Settings>,
    readers: Arc<Readers>,
    /// The way to the writer; none once closed.
    jobs: Mutex<Option<SyncSender<Job>>>,
    durability: Arc<Durability>,
    files: Arc<Files>,
    counters: Arc<Counters>,
    /// Turns true when the writer has closed its connection.
    gone: watch::Receiver<bool>,
}

impl Database {
    /// Opens the database at `path`, makes it where there is none, and applies the migrations that are due. Blocks, mostly on the
    /// disk: not for an async thread. Once it returns, all that the database holds is on the disk.
    ///
    /// # Errors
    /// [`OpenError`] says which file or migration; nothing of a failed migration stays.
    pub fn open(path: &Path, settings: Settings, migrations: &[Migration]) -> Result<Self, OpenError> {
        let files = |source| OpenError::Files { path: path.to_owned(), source };
        let sqlite = |source| OpenError::Database { path: path.to_owned(), source };
        let identity = create_private(path).map_err(files)?;
        let guarded = Guarded::writer(path, &settings).map_err(sqlite)?;
        migrate::apply(&guarded, migrations, Rule::Any, settings.limits.size, settings.migration).map_err(
            |failure| match failure {
                migrate::Failure::Sqlite(source) => sqlite(source),
                migrate::Failure::Refused(error) => error,
            },
        )?;
        // What a killed process left in the log was never synced, perhaps; this copies it into the database file and syncs that.
        match guarded.raw().wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE) {
            // Another process reads the file; what stays in the log is synced below.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            result => drop(result.map_err(sqlite)?),
        }
        // What the migrations left in it is no commit of a guest's.
        guarded.take_log_pages();
        let (identified, wal) = Files::identify(path, identity).map_err(files)?;
        settings.sync.run(&wal).and_then(|()| sync_folder(path)).map_err(files)?;
        guarded.set_role(Role::Guest);
        let readers = (0..settings.readers.max(1)).map(|_| Guarded::reader(path, &settings));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(sqlite)?;
        Self::start(path, settings, (guarded, readers), (identified, wal)).map_err(files)
    }

    /// Starts the threads.
    fn start(
        path: &Path,
        settings: Settings,
        (guarded, readers): (Guarded, Vec<Guarded>),
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
        let (handover, syncer) = Handover::start(syncer, settings.batch.max(1))?;
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
                tracing::error!("the database's syncer panicked");
            }
            // The last connection to close copies the log into the database file and removes it: by its path, which must be its own.
            if at_the_end.check().is_err() {
                guarded.keep_log();
            }
            drop(guarded);
            // Nobody listens once the last handle is gone.
            let _ = leaving.send(true);
        })?;
        let readers = Readers::new(readers, settings.clone(), durability.clone(), counters.clone());
        let (jobs, limits) = (Mutex::new(Some(jobs)), settings.limits);
        let inner =
            Arc::new(Inner { path: path.to_owned(), settings, readers, jobs, durability, files, counters, gone });
        Ok(Self { inner, limits })
    }

    /// A handle of the same database, whose statements may take what `limits` says.
    pub fn limited(&self, limits: SqlLimits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// Runs one statement that only reads, and returns its rows once all that they show is on the disk.
    ///
    /// # Errors
    /// Any [`SqlError`] but `Constraint`. `Timeout` once `deadline` has passed, whatever it waited for.
    pub async fn query(&self, sql: &str, parameters: Vec<Value>, deadline: Instant) -> Result<Rows, SqlError> {
        check_input(sql, &parameters, self.settings(), &self.limits)?;
        self.inner.readers.query(sql, parameters, &self.limits, deadline).await
    }

    /// Runs one statement that writes, as a transaction of its own; returns how many rows it changed, once that is on the disk.
    ///
    /// # Errors
    /// Any [`SqlError`]. Nothing was changed, but for a `Storage` after a failed sync, of which nobody can know.
    pub async fn execute(&self, sql: &str, parameters: Vec<Value>, deadline: Instant) -> Result<u64, SqlError> {
        check_input(sql, &parameters, self.settings(), &self.limits)?;
        let ticket = Arc::new(Ticket::default());
        let (reply, mut answer) = oneshot::channel();
        let statement = Bound { sql: sql.to_owned(), parameters };
        self.submit(Job::Execute { statement, limits: self.limits, deadline, ticket: ticket.clone(), reply })?;
        let answer = match tokio::time::timeout_at(deadline.into(), &mut answer).await {
            Ok(answer) => answer,
            Err(_) if ticket.give_up() => return Err(SqlError::Timeout),
            // The writer has begun: it keeps the deadline itself, and only it knows how this ends.
            Err(_) => answer.await,
        };
        answer.unwrap_or(Err(SqlError::Closed))
    }

    /// Opens a write transaction, waiting for the writer until `deadline`, which then is the transaction's own.
    ///
    /// # Errors
    /// `Busy` where too many wait already; `Timeout`; `Closed`; `Storage`.
    pub async fn begin(&self, deadline: Instant) -> Result<Transaction, SqlError> {
        let (reply, lease) = oneshot::channel();
        self.submit(Job::Begin { limits: self.limits, deadline, reply })?;
        let lease = tokio::time::timeout_at(deadline.into(), lease).await.map_err(|_| SqlError::Timeout)?;
        Ok(Transaction::new(lease.unwrap_or(Err(SqlError::Closed))?, self.clone(), deadline))
    }

    /// Applies the migrations that are due while guests are served: only such as change nothing for a build that doesn't know them.
    /// Returns how many were applied, once they are on the disk. They wait for the writer as long as they may run themselves: `allowed`.
    ///
    /// # Errors
    /// [`MigrateError::Refused`] says which migration and why, and nothing of any stays; [`MigrateError::Failed`] as
    /// [`Database::execute`].
    pub async fn migrate(&self, migrations: &[Migration], allowed: Duration) -> Result<u64, MigrateError> {
        let ticket = Arc::new(Ticket::default());
        let (refused, refusal) = oneshot::channel();
        let (reply, mut answer) = oneshot::channel();
        let migrations = migrations.to_owned();
        let size = self.limits.size;
        self.submit(Job::Migrate { migrations, size, allowed, ticket: ticket.clone(), refused, reply })?;
        let answer = match tokio::time::timeout(allowed, &mut answer).await {
            Ok(answer) => answer,
            Err(_) if ticket.give_up() => return Err(SqlError::Timeout.into()),
            // The writer has begun, and stops in time: only it knows how this ends.
            Err(_) => answer.await,
        };
        let applied = answer.unwrap_or(Err(SqlError::Closed))?;
        match refusal.await {
            Ok(error) => Err(MigrateError::Refused(error)),
            Err(_) => Ok(applied),
        }
    }

    /// Waits until everything that was committed before now is on the disk.
    ///
    /// # Errors
    /// `Timeout` where that takes longer than until `deadline`; `Storage` where a sync failed.
    pub async fn settle(&self, deadline: Instant) -> Result<(), SqlError> {
        self.inner.durability.wait(self.inner.durability.issued(), deadline).await
    }

    /// Checks that the paths of the database's files lead to them. Where they don't, it takes no more statements from now on: what it
    /// would acknowledge could not last. Fine where it was closed: its files may be removed then. Looks at the disk, for microseconds.
    ///
    /// # Errors
    /// [`Displaced`] names the file.
    pub fn check_files(&self) -> Result<(), Displaced> {
        let checked = self.inner.files.check();
        if checked.is_err() && self.is_open() {
            self.inner.durability.fail(Failure::Displaced);
            return checked;
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes no further statement, lets those end that wait or run, and returns once the files are closed. Every later call on any
    /// handle answers `Closed`. A transaction that is still open has until its own deadline.
    pub async fn close(&self) {
        self.inner.close();
        // An error means that the writer's thread is gone, which is what we wait for.
        let _ = self.inner.gone.clone().wait_for(|gone| *gone).await;
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counted {
        self.inner.counters.now()
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The write-ahead log: the file that is synced.
    pub fn wal_path(&self) -> PathBuf {
        wal_path(&self.inner.path)
    }

    /// What statements by this handle may take.
    pub fn limits(&self) -> &SqlLimits {
        &self.limits
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Puts a job into the writer's queue.
    fn submit(&self, job: Job) -> Result<(), SqlError> {
        let jobs = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = jobs.as_ref() else { return Err(SqlError::Closed) };
        let queue = self.inner.counters.writer_queue();
        // Counted before it is there, so that the writer never counts down first.
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
        // Readers first, so that the writer's connection is the last: only one that writes leaves no log behind.
        self.readers.close();
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Removes the database at `path`, which nobody has open, if there is one.
///
/// # Errors
/// Where a file of it can't be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    // The log first: without its database it means nothing, and with another one it would be taken for that one's.
    for file in [wal_path(path), index_path(path), path.to_owned()] {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// `PATH-wal`, as SQLite names it.
fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// `PATH-shm`, as SQLite names the index of the log.
fn index_path(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes the names of the database's files durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
