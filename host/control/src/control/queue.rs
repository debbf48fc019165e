//! Schedules concurrent operations: changes run one at a time, rollbacks overtake them, dry runs and backups run beside them.
//!
//! Each kind has a bounded number of places, and a turn that lets one operation run at a time. Only publishing holds
//! [`Queue::publishing`], and only while it lasts.

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit, TryAcquireError, watch};
use tokio_util::sync::CancellationToken;

use super::ChangeError;

/// The most changes that wait or run. Further ones are refused as busy.
pub(super) const MAX_CHANGES: usize = 16;
/// The most rollbacks that wait or run.
const MAX_ROLLBACKS: usize = 4;
/// The most dry runs that wait or run.
const MAX_PLANS: usize = 16;
/// The most backups that wait or run.
const MAX_BACKUPS: usize = 4;

/// The kind of an operation, which decides what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperationKind {
    /// A swap of one module or an apply of a whole application.
    Change,
    /// A rollback. It overtakes changes.
    Rollback,
    /// A dry run, which only reports what a change would do.
    Plan,
    /// A backup of the running application.
    Backup,
}

/// The queue of one kind of operation: a bounded number of places, and a turn that one operation holds at a time.
struct KindQueue {
    permits: Semaphore,
    most: usize,
    running: Mutex<()>,
}

impl KindQueue {
    fn new(most: usize) -> Self {
        Self { permits: Semaphore::new(most), most, running: Mutex::new(()) }
    }
}

/// The queues of all kinds of operations, and the signals that interrupt waiting and running operations.
pub(super) struct Queue {
    changes: KindQueue,
    rollbacks: KindQueue,
    plans: KindQueue,
    backups: KindQueue,
    /// Held while a generation is published and while the history is written, but never during a compilation or a copy.
    pub(super) publishing: Mutex<()>,
    /// The number of rollbacks made since the start.
    rollbacks_made: watch::Sender<u64>,
    stopping: CancellationToken,
}

/// The reason why an operation is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// A rollback was made after the operation arrived.
    Overtaken,
    /// The host is shutting down.
    Stopping,
}

/// The number of rollbacks that had been made when an operation arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RollbackCount(u64);

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            changes: KindQueue::new(MAX_CHANGES),
            rollbacks: KindQueue::new(MAX_ROLLBACKS),
            plans: KindQueue::new(MAX_PLANS),
            backups: KindQueue::new(MAX_BACKUPS),
            publishing: Mutex::new(()),
            rollbacks_made: watch::Sender::new(0),
            stopping: CancellationToken::new(),
        }
    }

    fn line(&self, kind: OperationKind) -> &KindQueue {
        match kind {
            OperationKind::Change => &self.changes,
            OperationKind::Rollback => &self.rollbacks,
            OperationKind::Plan => &self.plans,
            OperationKind::Backup => &self.backups,
        }
    }

    /// Returns the number of rollbacks made so far.
    pub(super) fn rollback_count(&self) -> RollbackCount {
        RollbackCount(*self.rollbacks_made.borrow())
    }

    /// Takes a place in the queue of a kind of operation. Fails if all places are taken or the host stops.
    pub(super) fn acquire_permit(&self, kind: OperationKind) -> Result<SemaphorePermit<'_>, ChangeError> {
        let line = self.line(kind);
        line.permits.try_acquire().map_err(|error| match error {
            TryAcquireError::NoPermits => ChangeError::Busy(line.most),
            TryAcquireError::Closed => ChangeError::Stopping,
        })
    }

    /// Waits for the turn of a kind of operation. Fails once a change is overtaken or the host stops. `rollbacks_seen` is the count of
    /// rollbacks when the operation arrived.
    pub(super) async fn wait_turn(
        &self,
        kind: OperationKind,
        rollbacks_seen: RollbackCount,
    ) -> Result<MutexGuard<'_, ()>, Interruption> {
        let turn = self.run_unless_interrupted(kind, rollbacks_seen, self.line(kind).running.lock()).await?;
        self.check(kind, rollbacks_seen)?;
        Ok(turn)
    }

    /// Runs `work` until it ends, the change is overtaken, or the host stops. In the last two cases `work` is dropped. `rollbacks_seen` is
    /// the count of rollbacks when the operation arrived.
    pub(super) async fn run_unless_interrupted<T>(
        &self,
        kind: OperationKind,
        rollbacks_seen: RollbackCount,
        work: impl Future<Output = T>,
    ) -> Result<T, Interruption> {
        let mut made = self.rollbacks_made.subscribe();
        let overtaken = async {
            if kind != OperationKind::Change || made.wait_for(|made| *made > rollbacks_seen.0).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(Interruption::Stopping),
            () = overtaken => Err(Interruption::Overtaken),
            done = work => Ok(done),
        }
    }

    /// Checks that an operation may go on. `rollbacks_seen` is the count of rollbacks when the operation arrived.
    pub(super) fn check(&self, kind: OperationKind, rollbacks_seen: RollbackCount) -> Result<(), Interruption> {
        match () {
            () if self.stopping.is_cancelled() => Err(Interruption::Stopping),
            () if kind == OperationKind::Change && self.rollback_count() != rollbacks_seen => {
                Err(Interruption::Overtaken)
            }
            () => Ok(()),
        }
    }

    /// Counts a rollback. All changes that arrived before it and aren't published are overtaken. The caller holds [`Self::publishing`].
    pub(super) fn overtake(&self) {
        self.rollbacks_made.send_modify(|made| *made += 1);
    }

    /// Whether a backup is running.
    pub(super) fn is_backing_up(&self) -> bool {
        self.backups.running.try_lock().is_err()
    }

    /// Refuses new operations, interrupts those that can be interrupted, and waits until all have ended.
    pub(super) async fn close(&self) {
        let lines = [&self.changes, &self.rollbacks, &self.plans, &self.backups];
        lines.iter().for_each(|line| line.permits.close());
        self.stopping.cancel();
        for line in lines {
            drop(line.running.lock().await);
        }
        drop(self.publishing.lock().await);
    }
}
