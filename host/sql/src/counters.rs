//! Counters of a database for metrics and tests. Counting never waits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The counters of an open database, which its threads share.
#[derive(Debug, Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    syncs: AtomicU64,
    largest_batch: AtomicU64,
    rollbacks: AtomicU64,
    checkpoints: AtomicU64,
    inline_reads: AtomicU64,
    long_reads: AtomicU64,
    writer_queue: AtomicUsize,
    read_queue: AtomicUsize,
}

/// The values of the counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Committed transactions that wrote something.
    pub commits: u64,
    /// Syncs of the write-ahead log before answers.
    pub syncs: u64,
    /// The most commits that one sync covered.
    pub largest_batch: u64,
    /// Transactions that were rolled back for any reason.
    pub rollbacks: u64,
    /// Checkpoints: copies of the write-ahead log into the database file.
    pub checkpoints: u64,
    /// Reads that ended on the calling thread.
    pub inline_reads: u64,
    /// Reads that were restarted on a thread of their own.
    pub long_reads: u64,
    /// Writes and transactions that wait for the writer now.
    pub writer_queue: usize,
    /// Reads that wait for a connection now.
    pub read_queue: usize,
}

impl Counters {
    pub(super) fn synced(&self, writes: usize) {
        let writes = writes as u64;
        self.commits.fetch_add(writes, Relaxed);
        self.syncs.fetch_add(1, Relaxed);
        self.largest_batch.fetch_max(writes, Relaxed);
    }

    pub(super) fn rolled_back(&self) {
        self.rollbacks.fetch_add(1, Relaxed);
    }

    pub(super) fn checkpointed(&self) {
        self.checkpoints.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self, inline: bool) {
        let counter = if inline { &self.inline_reads } else { &self.long_reads };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn writer_queue(&self) -> &AtomicUsize {
        &self.writer_queue
    }

    pub(super) fn read_queue(&self) -> &AtomicUsize {
        &self.read_queue
    }

    pub(super) fn now(&self) -> CounterValues {
        CounterValues {
            commits: self.commits.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            largest_batch: self.largest_batch.load(Relaxed),
            rollbacks: self.rollbacks.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            inline_reads: self.inline_reads.load(Relaxed),
            long_reads: self.long_reads.load(Relaxed),
            writer_queue: self.writer_queue.load(Relaxed),
            read_queue: self.read_queue.load(Relaxed),
        }
    }
}
