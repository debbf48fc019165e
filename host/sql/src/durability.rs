//! What is committed, and what of that is on the disk.
//!
//! Each commit takes the next number before it begins (`issued`), and a sync of the write-ahead log moves `synced` up to the numbers
//! that it covers. Whoever may have seen a commit waits until `synced` has reached it, so that nothing leaves that a power cut could
//! take back.
//!
//! The syncer is a thread of its own: while it syncs one batch the writer runs the transactions of the next, which matters most for
//! transactions that wait for their guest between statements. A batch is whatever has come since the last sync began. Only when
//! nothing is under way and nobody waits does the writer sync by itself: with an `fdatasync` of 100 to 180 µs that took a lone
//! write from 270 to 180 µs, and changed nothing with 64 at once.
//!
//! A failed sync is final. The kernel may have dropped the pages and call the next sync a success, so nothing that is not known to be
//! on the disk can ever be known to be: every later answer is `Storage`, until the database is opened again and SQLite has
//! recovered what is really there. This file must never try a sync again. As final is that a file was removed or replaced: what is written
//! to it then goes with the process.

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
use watertight_disk::failpoint::{Point, crash_point};

/// Where a caller gets its answer.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

/// Why a database takes no more statements, until it is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A sync failed, or the writer did.
    Unsynced,
    /// A file of it was removed or replaced.
    Displaced,
}

#[derive(Debug, Clone, Copy)]
struct State {
    synced: u64,
    failed: Option<Failure>,
}

/// The two numbers, shared by the writer, the syncer and all readers.
#[derive(Debug)]
pub(super) struct Durability {
    issued: AtomicU64,
    state: watch::Sender<State>,
}

impl Durability {
    pub(super) fn new() -> Self {
        Self { issued: AtomicU64::new(0), state: watch::Sender::new(State { synced: 0, failed: None }) }
    }

    /// Takes the next number. To be called before COMMIT: a reader that sees the commit must find its number.
    pub(super) fn issue(&self) -> u64 {
        self.issued.fetch_add(1, SeqCst) + 1
    }

    /// The number of the newest commit that a snapshot taken before now can hold.
    pub(super) fn issued(&self) -> u64 {
        self.issued.load(SeqCst)
    }

    /// What every statement is answered, where the database was given up.
    pub(super) fn failure(&self) -> Option<SqlError> {
        self.state.borrow().failed.map(SqlError::from)
    }

    /// Gives up on the database.
    pub(super) fn fail(&self, why: Failure) {
        self.state.send_modify(|state| {
            state.failed.get_or_insert(why);
        });
    }

    fn reach(&self, number: u64) {
        self.state.send_modify(|state| state.synced = state.synced.max(number));
    }

    /// Waits until everything up to `number` is on the disk.
    pub(super) async fn wait(&self, number: u64, deadline: Instant) -> Result<(), SqlError> {
        let settled = |state: &State| state.failed.is_some() || state.synced >= number;
        let now = *self.state.borrow();
        if !settled(&now) {
            let mut state = self.state.subscribe();
            let waiting = tokio::time::timeout_at(deadline.into(), state.wait_for(settled));
            // Boxed: most that ask need not wait.
            let outcome = Box::pin(waiting).await.map_err(|_| SqlError::Timeout)?;
            outcome.map_err(|_| SqlError::Closed)?;
        }
        self.failure().map_or(Ok(()), Err)
    }
}

/// A transaction that has ended, with the answer that waits for the disk.
pub(super) struct Ended {
    /// Everything up to here must be on the disk before the answer leaves.
    pub(super) number: u64,
    /// Whether it wrote anything by itself.
    pub(super) wrote: bool,
    /// Whether it is a guest's commit that wrote: what the host does for itself is not counted as one.
    pub(super) commits: bool,
    pub(super) result: Result<u64, SqlError>,
    pub(super) reply: Reply<u64>,
}

impl Ended {
    fn answer(self, failure: Option<SqlError>) {
        let result = failure.map_or(self.result, Err);
        // Nobody is there when the caller was dropped.
        let _ = self.reply.send(result);
    }
}

/// Syncs the log for batches of ended transactions.
pub(super) struct Syncer {
    pub(super) wal: File,
    pub(super) files: Arc<Files>,
    pub(super) sync: WalSync,
    pub(super) durability: Arc<Durability>,
    pub(super) counters: Arc<Counters>,
}

/// The writer's way to the syncer. Dropping it ends the syncer's thread once everything is answered.
pub(super) struct Handover {
    syncer: Arc<Syncer>,
    queue: SyncSender<Ended>,
    /// What was put into the queue and is not answered.
    in_flight: Arc<AtomicUsize>,
}

impl Handover {
    /// Starts the syncer's thread. At most `batch` wait for it, and so are covered by one sync.
    pub(super) fn start(syncer: Syncer, batch: usize) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, ended) = sync_channel(batch);
        let handover = Self { syncer: Arc::new(syncer), queue, in_flight: Arc::default() };
        let (syncer, in_flight) = (handover.syncer.clone(), handover.in_flight.clone());
        let work = move || syncer.run(&ended, &in_flight, batch);
        let thread = thread::Builder::new().name("sql-syncer".to_owned()).spawn(work)?;
        Ok((handover, thread))
    }

    /// Has `ended` answered once it is on the disk: on the spot where the writer has `nothing_else` to do and the syncer neither. Else
    /// it waits here only where a whole batch waits already.
    pub(super) fn end(&self, ended: Ended, nothing_else: bool) {
        // Nobody but the writer adds to what is in flight, so numbers stay in order.
        if nothing_else && self.in_flight.load(SeqCst) == 0 {
            self.syncer.settle(&mut vec![ended]);
            return;
        }
        self.in_flight.fetch_add(1, SeqCst);
        // The syncer outlives the writer. Had it died, the reply would be dropped here and its caller see `Closed`.
        let _ = self.queue.send(ended);
    }
}

impl Syncer {
    fn run(&self, ended: &Receiver<Ended>, in_flight: &AtomicUsize, most: usize) {
        let mut batch = Vec::with_capacity(most);
        while let Ok(first) = ended.recv() {
            batch.push(first);
            batch.extend(ended.try_iter().take(most - 1));
            let answered = batch.len();
            self.settle(&mut batch);
            in_flight.fetch_sub(answered, SeqCst);
        }
        // A number that never came belongs to a writer that died: nobody may wait for it.
        if self.durability.state.borrow().synced < self.durability.issued() {
            self.durability.fail(Failure::Unsynced);
        }
    }

    /// Makes a batch durable and answers it.
    fn settle(&self, batch: &mut Vec<Ended>) {
        let commits = batch.iter().filter(|ended| ended.commits).count();
        // Without a write in the batch all before it is synced already: batches come in order.
        if batch.iter().any(|ended| ended.wrote) && self.durability.failure().is_none() {
            self.sync(commits);
        }
        let failure = self.durability.failure();
        if let (Some(last), None) = (batch.last(), &failure) {
            self.durability.reach(last.number);
            crash_point(Point::SqlSynced);
        }
        for ended in batch.drain(..) {
            ended.answer(failure.clone());
        }
    }

    /// Syncs the log, and looks whether it is still where a start finds it.
    fn sync(&self, commits: usize) {
        if let Err(error) = self.sync.run(&self.wal) {
            tracing::error!(%error, "the write-ahead log could not be synced: the database takes no more statements");
            self.durability.fail(Failure::Unsynced);
            return;
        }
        // After the sync: what is removed from here on was there when it was acknowledged.
        if let Err(reason) = self.files.check_after_sync() {
            tracing::error!(%reason, "a file of a database is gone: nothing is acknowledged, and the database takes no more statements");
            self.durability.fail(Failure::Displaced);
            return;
        }
        self.counters.synced(commits);
    }
}
