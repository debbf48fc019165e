//! The single writer of a database: a thread that runs transactions one after the other.
//!
//! The writer begins, runs and commits transactions. It hands ended ones to the [syncer](super::durability), which
//! answers them. The writer does not wait for the disk while jobs wait for it.
//!
//! A transaction whose statements come from a guest one by one holds the writer on a lease. It is rolled back after the
//! lease's length without a statement, or at its deadline.
//!
//! The writer copies SQLite's write-ahead log into the database file between transactions. Only the writer knows a
//! moment without writes, at which the log can be emptied even under constant load.

mod copy;
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Statement;
use rusqlite::wal::CheckpointMode;
use tokio::sync::oneshot;

use super::barrier::CopyJob;
use super::claim::JobClaim;
use super::connection::{ConnectionMonitor, GuardedConnection, StatementKind, WRITER_LOCK_TIMEOUT};
use super::counters::Counters;
use super::deadline::StatementDeadline;
use super::durability::{Durability, EndedTransaction, FinalFailure, Reply, SyncQueue};
use super::error::{OpenError, SqlError, SqlLimit, is_failed_sync};
use super::files::Files;
use super::migrate::{self, MigrationRule};
use super::settings::Settings;
use super::value::{Rows, Value};
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_model::config::SqlLimits;
use watertight_model::migration::Migration;

use log::Log;

/// The length of the write-ahead log, in pages, from which it is copied into the database file. SQLite's default is the
/// same.
const CHECKPOINT_PAGES: u32 = 1_000;
/// The length of the write-ahead log, in pages, from which the writer waits for readers, so that the log can restart.
const CROWDED_PAGES: u32 = 16 * CHECKPOINT_PAGES;

/// How often long reads are stopped so that the write-ahead log can be emptied, and how long the writer waits for their
/// end each time. A read that begins before all of the log was copied blocks the emptying too; later reads do not.
const STOPS: u32 = 5;
const STOP_TIMEOUT: Duration = Duration::from_millis(200);

/// A job for the database's writing thread.
pub(super) enum Job {
    /// Run one statement as a transaction of its own.
    Execute {
        /// The statement with its parameters.
        statement: BoundStatement,
        /// The statement's limits.
        limits: SqlLimits,
        /// When the statement must end.
        deadline: Instant,
        /// Decides whether the caller or the writer owns the job.
        claim: Arc<JobClaim>,
        /// The channel for the answer.
        reply: Reply<u64>,
    },
    /// Open a transaction that its caller feeds with statements.
    Begin {
        /// The limits of each statement.
        limits: SqlLimits,
        /// When the transaction must end.
        deadline: Instant,
        /// The channel for the lease.
        reply: Reply<Lease>,
    },
    /// Apply the pending migrations while guests are served.
    Migrate {
        /// All migrations of the module, in order.
        migrations: Vec<Migration>,
        /// The most bytes that the database may have.
        size: u64,
        /// How long the migrations may take.
        allowed: Duration,
        /// Decides whether the caller or the writer owns the job.
        claim: Arc<JobClaim>,
        /// The channel for a refusal. Dropped without a value if there is none.
        refused: oneshot::Sender<OpenError>,
        /// The channel for the outcome, which is sent once it is on the disk.
        reply: Reply<u64>,
    },
    /// Copy the whole database, and serve other jobs meanwhile.
    Copy(CopyJob),
}

/// A statement with its parameters.
pub(super) struct BoundStatement {
    /// The statement's text.
    pub(super) sql: String,
    /// The statement's parameters.
    pub(super) parameters: Vec<Value>,
}

/// A caller's right to use the writer for one transaction. Dropping it rolls the transaction back.
pub(super) struct Lease {
    /// The channel for the transaction's requests to the writer. It holds one at a time.
    pub(super) requests: SyncSender<TransactionRequest>,
    /// How the lease ended, once the writer takes no more requests.
    pub(super) end: Arc<LeaseOutcome>,
}

/// A request of an open transaction.
pub(super) enum TransactionRequest {
    /// Run a statement and return its rows.
    Query(BoundStatement, Reply<Rows>),
    /// Run a statement and return the number of changed rows.
    Execute(BoundStatement, Reply<u64>),
    /// Commit the transaction.
    Commit(Reply<u64>),
}

/// How a lease ended. A caller reads it once the writer takes no more requests.
#[derive(Debug, Default)]
pub(super) struct LeaseOutcome(AtomicU8);

impl LeaseOutcome {
    const TIMED_OUT: u8 = 1;

    /// The error that further statements of the transaction return.
    pub(super) fn error(&self) -> SqlError {
        if self.0.load(SeqCst) == Self::TIMED_OUT { SqlError::Timeout } else { SqlError::Closed }
    }

    fn time_out(&self) {
        self.0.store(Self::TIMED_OUT, SeqCst);
    }
}

/// The writer's connection and the state that it shares with other threads.
pub(super) struct Writer {
    pub(super) guarded: GuardedConnection,
    pub(super) settings: Arc<Settings>,
    pub(super) durability: Arc<Durability>,
    pub(super) counters: Arc<Counters>,
    pub(super) handover: SyncQueue,
    pub(super) files: Arc<Files>,
    /// The handles by which the writer stops reads on the reading connections.
    pub(super) readers: Vec<Arc<ConnectionMonitor>>,
}

impl Writer {
    /// Runs jobs until the last handle of the database is gone and the queue is empty.
    pub(super) fn run(&self, jobs: &Receiver<Job>) {
        let turn = self.guarded.as_host(|| RunningWriter::new(self));
        match turn {
            Ok(mut turn) => {
                while let Ok(job) = jobs.recv() {
                    match job {
                        Job::Copy(copy) => {
                            self.counters.writer_queue().fetch_sub(1, SeqCst);
                            turn.copy(&copy, jobs);
                        }
                        job => turn.take(job),
                    }
                }
            }
            Err(error) => tracing::error!(%error, "a database's writing thread can't start: every write fails"),
        }
    }
}

/// The running writer, with the prepared statements that begin and end transactions.
struct RunningWriter<'w> {
    writer: &'w Writer,
    begin: Statement<'w>,
    commit: Statement<'w>,
    rollback: Statement<'w>,
    log: Log,
}

impl<'w> RunningWriter<'w> {
    fn new(writer: &'w Writer) -> rusqlite::Result<Self> {
        // These statements bypass the cache, where a guest's text could find them.
        let connection = writer.guarded.raw();
        Ok(Self {
            writer,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            rollback: connection.prepare("ROLLBACK")?,
            log: Log { pages: 0, next_checkpoint: CHECKPOINT_PAGES, blocked_by: None },
        })
    }

    /// Runs a job from the queue. Then copies the write-ahead log into the database file, if the log is long enough.
    fn take(&mut self, job: Job) {
        self.writer.counters.writer_queue().fetch_sub(1, SeqCst);
        self.job(job);
        self.checkpoint_if_needed();
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Execute { statement, limits, deadline, claim: ticket, reply } => {
                // A dropped caller, or one that gave up, wants no change any more.
                if !reply.is_closed() && ticket.claim() {
                    self.execute(&statement, &limits, deadline, reply);
                }
            }
            Job::Begin { limits, deadline, reply } => {
                if !reply.is_closed() {
                    self.run_transaction(&limits, deadline, reply);
                }
            }
            Job::Migrate { migrations, size, allowed, claim: ticket, refused, reply } => {
                if !reply.is_closed() && ticket.claim() {
                    self.migrate(&migrations, size, allowed, refused, reply);
                }
            }
            Job::Copy(copy) => {
                copy.barrier.end(self.writer.guarded.path(), Err("another copy of it is being made".to_owned()));
            }
        }
    }

    fn migrate(
        &mut self,
        migrations: &[Migration],
        size: u64,
        allowed: Duration,
        refused: oneshot::Sender<OpenError>,
        reply: Reply<u64>,
    ) {
        if let Some(error) = self.writer.durability.failure() {
            let _ = reply.send(Err(error));
            return;
        }
        let number = self.writer.durability.issue();
        let guarded = &self.writer.guarded;
        let outcome = guarded.as_host(|| migrate::apply(guarded, migrations, MigrationRule::Additive, size, allowed));
        let result = match outcome {
            Ok(applied) => Ok(applied),
            Err(migrate::MigrationFailure::Refused(error)) => {
                // The caller may have been dropped.
                let _ = refused.send(error);
                Ok(0)
            }
            Err(migrate::MigrationFailure::Sqlite(error)) => {
                if is_failed_sync(&error) {
                    self.writer.durability.fail(FinalFailure::Unsynced);
                }
                Err(self.writer.guarded.translate(&error))
            }
        };
        // The migrations' pages are in the log like those of any commit.
        let pages = self.writer.guarded.take_log_pages();
        self.record_log_length(pages);
        self.end(EndedTransaction { number, wrote: pages > 0, commits: false, result, reply });
    }

    fn execute(&mut self, statement: &BoundStatement, limits: &SqlLimits, deadline: Instant, reply: Reply<u64>) {
        let outcome = self.begin(limits, deadline).and_then(|()| {
            let (guarded, due) = (&self.writer.guarded, StatementDeadline::new(deadline, limits));
            guarded.watch().arm(due.at);
            due.explain_timeout(guarded.execute(&statement.sql, &statement.parameters))
        });
        match outcome {
            Ok(changed) => self.commit(changed, reply),
            Err(error) => {
                self.roll_back();
                // An error may reveal data, such as that a row exists. That data must be on the disk before the error is
                // sent.
                self.end(EndedTransaction {
                    number: self.writer.durability.issued(),
                    wrote: false,
                    commits: false,
                    result: Err(error),
                    reply,
                });
            }
        }
    }

    /// Begins a transaction and serves it until it ends.
    fn run_transaction(&mut self, limits: &SqlLimits, deadline: Instant, reply: Reply<Lease>) {
        if let Err(error) = self.begin(limits, deadline) {
            let _ = reply.send(Err(error));
            return;
        }
        let (requests, asked) = sync_channel(1);
        let end = Arc::new(LeaseOutcome::default());
        // If the caller was dropped, so is the request channel, and serving ends at once.
        let _ = reply.send(Ok(Lease { requests, end: end.clone() }));
        self.serve(limits, deadline, &asked, &end);
        self.roll_back();
    }

    fn serve(
        &mut self,
        limits: &SqlLimits,
        deadline: Instant,
        asked: &Receiver<TransactionRequest>,
        end: &LeaseOutcome,
    ) {
        let mut open = true;
        while open {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = match asked.recv_timeout(left.min(self.writer.settings.lease)) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => return end.time_out(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let due = StatementDeadline::new(deadline, limits);
            self.writer.guarded.watch().arm(due.at);
            open = match request {
                TransactionRequest::Commit(reply) => return self.commit(0, reply),
                TransactionRequest::Query(BoundStatement { sql, parameters }, reply) => {
                    self.step(end, reply, |guarded| {
                        due.explain_timeout(guarded.query(&sql, &parameters, StatementKind::Any, limits, || {}))
                    })
                }
                TransactionRequest::Execute(BoundStatement { sql, parameters }, reply) => {
                    self.step(end, reply, |guarded| due.explain_timeout(guarded.execute(&sql, &parameters)))
                }
            };
        }
    }

    /// Runs one statement of a transaction. Returns whether the transaction is still open.
    fn step<T>(
        &mut self,
        end: &LeaseOutcome,
        reply: Reply<T>,
        work: impl FnOnce(&GuardedConnection) -> Result<T, SqlError>,
    ) -> bool {
        let guarded = &self.writer.guarded;
        let changes = guarded.total_changes();
        let result = work(guarded);
        let open = match result {
            Ok(_) => true,
            Err(SqlError::Timeout | SqlError::Limit(SqlLimit::Time(_))) => {
                end.time_out();
                false
            }
            // Some failures end the transaction within SQLite (`OR ROLLBACK`, a full disk). Others leave a part of the
            // failed statement behind (`OR FAIL`, a RETURNING that is too large), which only a rollback of the whole
            // transaction removes.
            Err(_) => !guarded.is_idle() && guarded.total_changes() == changes,
        };
        if !open {
            self.roll_back();
        }
        let _ = reply.send(result);
        open
    }

    fn begin(&mut self, limits: &SqlLimits, deadline: Instant) -> Result<(), SqlError> {
        if let Some(error) = self.writer.durability.failure() {
            return Err(error);
        }
        if Instant::now() >= deadline {
            return Err(SqlError::Timeout);
        }
        if self.log.blocked_by.is_some() {
            self.empty_log(Duration::ZERO);
            if let Some(error) = &self.log.blocked_by {
                return Err(error.clone());
            }
        }
        let guarded = &self.writer.guarded;
        let begun = guarded.as_host(|| guarded.set_size(limits.size).and_then(|()| self.begin.execute([])));
        begun.map(drop).map_err(|error| guarded.translate(&error))
    }

    /// Commits the open transaction. The syncer sends `changed`, the number of changed rows, once the commit is on the
    /// disk.
    fn commit(&mut self, changed: u64, reply: Reply<u64>) {
        crash_point(CrashPoint::SqlBeforeCommit);
        let number = self.writer.durability.issue();
        let outcome = self.writer.guarded.as_host(|| self.commit.execute([]));
        let pages = self.writer.guarded.take_log_pages();
        let result = match outcome {
            Ok(_) => {
                crash_point(CrashPoint::SqlCommitted);
                self.record_log_length(pages);
                Ok(changed)
            }
            Err(error) => {
                // A deferred foreign key has no row, or the disk failed.
                if is_failed_sync(&error) {
                    self.writer.durability.fail(FinalFailure::Unsynced);
                }
                let said = self.writer.guarded.translate(&error);
                self.roll_back();
                Err(said)
            }
        };
        self.end(EndedTransaction { number, wrote: pages > 0, commits: pages > 0, result, reply });
    }

    /// Rolls back the open transaction, if there is one.
    fn roll_back(&mut self) {
        if self.writer.guarded.is_idle() {
            return;
        }
        self.writer.counters.rolled_back();
        if let Err(error) = self.writer.guarded.as_host(|| self.rollback.execute([])) {
            // The connection can't be brought to a known state, so nothing further may be written through it.
            tracing::error!(%error, "a transaction could not be rolled back: the database accepts no statements until a restart");
            self.writer.durability.fail(FinalFailure::Unsynced);
        }
    }

    fn end(&self, ended: EndedTransaction) {
        let nobody_waits = self.writer.counters.writer_queue().load(SeqCst) == 0;
        self.writer.handover.submit(ended, nobody_waits);
    }

    /// Records the write-ahead log's length after a commit, in pages. 0 means that the commit wrote nothing.
    fn record_log_length(&mut self, pages: u32) {
        if pages > 0 {
            self.log.record(pages);
            self.writer.files.mark_log_filled();
        }
    }

    /// Copies the write-ahead log into the database file if it is long enough. Must not run within a transaction.
    fn checkpoint_if_needed(&mut self) {
        if self.writer.durability.failure().is_some() {
            return;
        }
        // A rolled-back transaction extends the file too, and no commit reports that length.
        let overgrown = self.writer.guarded.watch().take_overgrown();
        if overgrown || self.log.bytes() >= self.writer.settings.max_log_bytes {
            self.empty_log(WRITER_LOCK_TIMEOUT);
        } else if self.log.pages >= self.log.next_checkpoint {
            let crowded = self.log.pages >= CROWDED_PAGES;
            let done = self.checkpoint(if crowded { CheckpointMode::RESTART } else { CheckpointMode::PASSIVE });
            // If readers blocked the checkpoint, the next attempt waits for more commits.
            let pause = if crowded && done.is_err() { CROWDED_PAGES / 4 } else { CHECKPOINT_PAGES / 4 };
            self.log.next_checkpoint = self.log.pages + pause;
        }
    }

    /// Empties the write-ahead log, which has reached its greatest length. Waits for readers for up to `patience`, then
    /// stops long reads. If that fails, all writes are refused until the log can be emptied.
    fn empty_log(&mut self, patience: Duration) {
        let connection = self.writer.guarded.raw();
        let wait = |patience| {
            if let Err(error) = connection.busy_timeout(patience) {
                tracing::error!(%error, "SQLite's lock timeout can't be set on the writing connection of a database");
            }
        };
        wait(patience);
        self.writer.files.mark_log_emptied();
        let mut done = self.checkpoint(CheckpointMode::TRUNCATE);
        for _ in 0..STOPS {
            if done != Err(SqlError::Busy) || patience.is_zero() {
                break;
            }
            let stopped = self.writer.readers.iter().filter(|reader| reader.stop_if_long()).count();
            let bytes = self.log.bytes();
            tracing::warn!(
                bytes,
                stopped,
                "the write-ahead log has reached its longest length: long reads that keep it from being emptied are stopped"
            );
            wait(STOP_TIMEOUT);
            done = self.checkpoint(CheckpointMode::TRUNCATE);
        }
        wait(WRITER_LOCK_TIMEOUT);
        match done {
            Ok(()) => self.log = Log { pages: 0, next_checkpoint: CHECKPOINT_PAGES, blocked_by: None },
            Err(error) => {
                if self.log.blocked_by.is_none() {
                    tracing::error!(%error, bytes = self.log.bytes(), "the write-ahead log can't be emptied: writes are refused until it can");
                }
                self.log.blocked_by = Some(error);
            }
        }
    }

    fn checkpoint(&self, mode: CheckpointMode) -> Result<(), SqlError> {
        match self.writer.guarded.raw().wal_checkpoint_v2(None::<&str>, mode) {
            Ok(_) => {
                self.writer.counters.checkpointed();
                Ok(())
            }
            Err(error) => {
                if is_failed_sync(&error) {
                    self.writer.durability.fail(FinalFailure::Unsynced);
                }
                // Usually readers held on for longer than the writer waits. The next checkpoint tries again.
                tracing::debug!(%error, "the write-ahead log could not be copied into the database file");
                Err(self.writer.guarded.translate(&error))
            }
        }
    }
}
