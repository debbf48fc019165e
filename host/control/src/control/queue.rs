//! Who may do what at once: changes one after the other, rollbacks ahead of them, dry runs and backups beside them.
//!
//! Each kind has a bounded number of places, and a turn of its own where only one may be in work. Only what publishes takes
//! [`Queue::publishing`], and only for as long as that takes.

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit, TryAcquireError, watch};
use tokio_util::sync::CancellationToken;

use super::ChangeError;

/// Changes that wait or are in work; the next is told to come back.
pub(super) const MAX_CHANGES: usize = 16;
/// Rollbacks that wait or are in work.
const MAX_ROLLBACKS: usize = 4;
/// Dry runs that wait or are in work.
const MAX_PLANS: usize = 16;
/// Backups that wait or are in work.
const MAX_BACKUPS: usize = 4;

/// What is asked for, as far as it concerns who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A swap or an apply.
    Change,
    /// A rollback: it overtakes changes.
    Rollback,
    /// A change of which only the plan is asked for.
    Plan,
    /// A backup.
    Backup,
}

/// A bounded number of places, and a turn.
struct Line {
    places: Semaphore,
    most: usize,
    turn: Mutex<()>,
}

impl Line {
    fn new(most: usize) -> Self {
        Self { places: Semaphore::new(most), most, turn: Mutex::new(()) }
    }
}

/// The lines, and what overtakes them.
pub(super) struct Queue {
    changes: Line,
    rollbacks: Line,
    plans: Line,
    backups: Line,
    /// Held while a generation is published and while the history is written: never while anything is compiled or copied.
    pub(super) publishing: Mutex<()>,
    /// How many rollbacks were made.
    rollbacks_made: watch::Sender<u64>,
    stopping: CancellationToken,
}

/// Why something does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// A rollback was made since it arrived.
    Overtaken,
    /// The host stops.
    Stopping,
}

/// The number of rollbacks that were made when something arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            changes: Line::new(MAX_CHANGES),
            rollbacks: Line::new(MAX_ROLLBACKS),
            plans: Line::new(MAX_PLANS),
            backups: Line::new(MAX_BACKUPS),
            publishing: Mutex::new(()),
            rollbacks_made: watch::Sender::new(0),
            stopping: CancellationToken::new(),
        }
    }

    fn line(&self, kind: Kind) -> &Line {
        match kind {
            Kind::Change => &self.changes,
            Kind::Rollback => &self.rollbacks,
            Kind::Plan => &self.plans,
            Kind::Backup => &self.backups,
        }
    }

    /// What was overtaken by now.
    pub(super) fn seen(&self) -> Seen {
        Seen(*self.rollbacks_made.borrow())
    }

    /// A place among those of a kind, if there is one.
    pub(super) fn enter(&self, kind: Kind) -> Result<SemaphorePermit<'_>, ChangeError> {
        let line = self.line(kind);
        line.places.try_acquire().map_err(|error| match error {
            TryAcquireError::NoPermits => ChangeError::Busy(line.most),
            TryAcquireError::Closed => ChangeError::Stopping,
        })
    }

    /// Waits for the turn. A change that is overtaken, and whatever waits when the host stops, waits no longer.
    pub(super) async fn turn(&self, kind: Kind, seen: Seen) -> Result<MutexGuard<'_, ()>, Halt> {
        let turn = self.unless_halted(kind, seen, self.line(kind).turn.lock()).await?;
        self.check(kind, seen)?;
        Ok(turn)
    }

    /// Does `work` unless it is halted before it ends: then it is dropped.
    pub(super) async fn unless_halted<T>(
        &self,
        kind: Kind,
        seen: Seen,
        work: impl Future<Output = T>,
    ) -> Result<T, Halt> {
        let mut made = self.rollbacks_made.subscribe();
        let overtaken = async {
            if kind != Kind::Change || made.wait_for(|made| *made > seen.0).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(Halt::Stopping),
            () = overtaken => Err(Halt::Overtaken),
            done = work => Ok(done),
        }
    }

    /// Whether something that arrived when `seen` was may go on.
    pub(super) fn check(&self, kind: Kind, seen: Seen) -> Result<(), Halt> {
        match () {
            () if self.stopping.is_cancelled() => Err(Halt::Stopping),
            () if kind == Kind::Change && self.seen() != seen => Err(Halt::Overtaken),
            () => Ok(()),
        }
    }

    /// Says that a rollback was made: all changes that arrived before and aren't published are overtaken. To be called while
    /// [`Self::publishing`] is held.
    pub(super) fn overtake(&self) {
        self.rollbacks_made.send_modify(|made| *made += 1);
    }

    /// Whether a backup is in work.
    pub(super) fn is_backing_up(&self) -> bool {
        self.backups.turn.try_lock().is_err()
    }

    /// Lets nothing in any more, and has what is in work end as soon as it can; returns once it has.
    pub(super) async fn close(&self) {
        let lines = [&self.changes, &self.rollbacks, &self.plans, &self.backups];
        lines.iter().for_each(|line| line.places.close());
        self.stopping.cancel();
        for line in lines {
            drop(line.turn.lock().await);
        }
        drop(self.publishing.lock().await);
    }
}
