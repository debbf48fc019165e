//! Tracks which commits have happened, and which of them are on the disk.
//!
//! Each commit takes the next number before it begins (`issued`). A sync of the write-ahead log moves `synced` up to the
//! numbers that it covers. Whoever may have seen a commit waits until `synced` has reached its number, so that no answer
//! reveals data that a power cut could remove.
//!
//! The syncer is a separate thread. While it syncs one batch, the writer runs the transactions of the next. This matters
//! most for transactions that wait for their guest between statements. A batch is everything that has arrived since the
//! last sync began. Only if nothing is under way and nobody waits does the writer sync by itself. With an `fdatasync` of
//! 100 to 180 µs, this reduced a single write from 270 to 180 µs, and changed nothing with 64 writes at once.
//!
//! A failed sync is final. The kernel may have dropped the pages and report success for the next sync, so unsynced data
//! can never be known to be on the disk. Every later answer is `Storage`, until the database is opened again and SQLite
//! has recovered what is on the disk. This file must never retry a sync. A removed or replaced file is final too: what is
//! written to it disappears with the process.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::counters::Counters;
use super::error::SqlError;
use super::files::Files;
use super::settings::WalSync;
use watertight_disk::failpoint::{CrashPoint, crash_point};

/// The channel through which a caller gets the answer to its statement.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

/// The reason why a database accepts no more statements until it is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinalFailure {
    /// The write-ahead log could not be synced, or the writer failed.
    Unsynced,
    /// A file of the database was removed or replaced.
    Displaced,
}

#[derive(Debug, Clone, Copy)]
struct State {
    synced: u64,
    failed: Option<FinalFailure>,
}

/// The numbers of the newest commit and of the newest commit on the disk, shared by the writer, the syncer and all
/// readers.
#[derive(Debug)]
pub(super) struct Durability {
    issued: AtomicU64,
    state: watch::Sender<State>,
}

impl Durability {
    pub(super) fn new() -> Self {
        Self { issued: AtomicU64::new(0), state: watch::Sender::new(State { synced: 0, failed: None }) }
    }

    /// Takes the next commit's number. The writer must call this before COMMIT, so that a reader that sees the commit
    /// finds its number.
    pub(super) fn issue(&self) -> u64 {
        self.issued.fetch_add(1, SeqCst) + 1
    }

    /// The number of the newest commit that a snapshot taken before this call may contain.
    pub(super) fn issued(&self) -> u64 {
        self.issued.load(SeqCst)
    }

    /// The error that every statement gets after a final failure. `None` while the database works.
    pub(super) fn failure(&self) -> Option<SqlError> {
        self.state.borrow().failed.map(SqlError::from)
    }

    /// Records a final failure of the database. Only the first one counts.
    pub(super) fn fail(&self, why: FinalFailure) {
        self.state.send_modify(|state| {
            state.failed.get_or_insert(why);
        });
    }

    fn mark_synced(&self, number: u64) {
        self.state.send_modify(|state| state.synced = state.synced.max(number));
    }

    /// Waits until every commit up to `number` is on the disk.
    pub(super) async fn wait(&self, number: u64, deadline: Instant) -> Result<(), SqlError> {
        let settled = |state: &State| state.failed.is_some() || state.synced >= number;
        let now = *self.state.borrow();
        if !settled(&now) {
            let mut state = self.state.subscribe();
            let waiting = tokio::time::timeout_at(deadline.into(), state.wait_for(settled));
            // The wait is boxed, because most callers do not wait.
            let outcome = Box::pin(waiting).await.map_err(|_| SqlError::Timeout)?;
            outcome.map_err(|_| SqlError::Closed)?;
        }
        self.failure().map_or(Ok(()), Err)
    }
}

/// An ended transaction, with the answer that waits for the disk.
pub(super) struct EndedTransaction {
    /// Every commit up to this number must be on the disk before the answer leaves.
    pub(super) number: u64,
    /// Whether the transaction wrote anything.
    pub(super) wrote: bool,
    /// Whether the transaction counts as a commit: a guest's transaction that wrote.
    pub(super) commits: bool,
    pub(super) result: Result<u64, SqlError>,
    pub(super) reply: Reply<u64>,
}

impl EndedTransaction {
    fn answer(self, failure: Option<SqlError>) {
        let result = failure.map_or(self.result, Err);
        // The caller may have been dropped.
        let _ = self.reply.send(result);
    }
}

/// Syncs SQLite's write-ahead log once for each batch of ended transactions, and answers them.
pub(super) struct Syncer {
    pub(super) wal: File,
    pub(super) files: Arc<Files>,
    pub(super) sync: WalSync,
    pub(super) durability: Arc<Durability>,
    pub(super) counters: Arc<Counters>,
}

/// The queue through which the writer hands ended transactions to the syncer. Dropping it ends the syncer's thread once
/// everything is answered.
pub(super) struct SyncQueue {
    syncer: Arc<Syncer>,
    queue: SyncSender<EndedTransaction>,
    /// The number of ended transactions that were queued and are not answered yet.
    in_flight: Arc<AtomicUsize>,
}

impl SyncQueue {
    /// Starts the syncer's thread. At most `batch` transactions wait for it, and so one sync covers at most that many.
    pub(super) fn start(syncer: Syncer, batch: usize) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, ended) = sync_channel(batch);
        let handover = Self { syncer: Arc::new(syncer), queue, in_flight: Arc::default() };
        let (syncer, in_flight) = (handover.syncer.clone(), handover.in_flight.clone());
        let work = move || syncer.run(&ended, &in_flight, batch);
        let thread = thread::Builder::new().name("sql-syncer".to_owned()).spawn(work)?;
        Ok((handover, thread))
    }

    /// Answers `ended` once it is on the disk. If the writer has `nothing_else` to do and the syncer is idle, the
    /// writer's thread does this at once. Otherwise `ended` is queued, and the call blocks only if a whole batch is
    /// queued already.
    pub(super) fn submit(&self, ended: EndedTransaction, nothing_else: bool) {
        // Only the writer adds to what is in flight, so the numbers stay in order.
        if nothing_else && self.in_flight.load(SeqCst) == 0 {
            self.syncer.sync_and_answer(&mut vec![ended]);
            return;
        }
        self.in_flight.fetch_add(1, SeqCst);
        // The syncer outlives the writer. If it had died, the reply would be dropped here and its caller would get
        // `Closed`.
        let _ = self.queue.send(ended);
    }
}

impl Syncer {
    fn run(&self, ended: &Receiver<EndedTransaction>, in_flight: &AtomicUsize, most: usize) {
        let mut batch = Vec::with_capacity(most);
        while let Ok(first) = ended.recv() {
            batch.push(first);
            batch.extend(ended.try_iter().take(most - 1));
            let answered = batch.len();
            self.sync_and_answer(&mut batch);
            in_flight.fetch_sub(answered, SeqCst);
        }
        // A number that never arrived belongs to a writer that died. Nobody may wait for it.
        if self.durability.state.borrow().synced < self.durability.issued() {
            self.durability.fail(FinalFailure::Unsynced);
        }
    }

    /// Makes a batch of ended transactions durable and answers it.
    fn sync_and_answer(&self, batch: &mut Vec<EndedTransaction>) {
        let commits = batch.iter().filter(|ended| ended.commits).count();
        // Batches arrive in order. Without a write in this batch, everything before it is synced already.
        if batch.iter().any(|ended| ended.wrote) && self.durability.failure().is_none() {
            self.sync(commits);
        }
        let failure = self.durability.failure();
        if let (Some(last), None) = (batch.last(), &failure) {
            self.durability.mark_synced(last.number);
            crash_point(CrashPoint::SqlSynced);
        }
        for ended in batch.drain(..) {
            ended.answer(failure.clone());
        }
    }

    /// Syncs the write-ahead log, and checks that no file of the database was removed or replaced. `commits` is the
    /// number of commits in the batch.
    fn sync(&self, commits: usize) {
        if let Err(error) = self.sync.run(&self.wal) {
            tracing::error!(%error, "the write-ahead log could not be synced: the database accepts no more statements");
            self.durability.fail(FinalFailure::Unsynced);
            return;
        }
        // The check follows the sync: a file that is removed later was present when the commits were acknowledged.
        if let Err(reason) = self.files.check_after_sync() {
            tracing::error!(%reason, "a file of a database was removed or replaced: nothing is acknowledged, and the database accepts no more statements");
            self.durability.fail(FinalFailure::Displaced);
            return;
        }
        self.counters.synced(commits);
    }
}
