//! The barrier by which the writers of several databases copy them as of one moment.
//!
//! The writers use it from their threads; the caller that wants the copies uses it from its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::files::create_private;

/// Greatest number of pages that are copied between two jobs of the writer: 256 KiB, which takes well below a
/// millisecond.
pub(super) const STEP: i32 = 64;
/// Longest pause of a writer. It ends a pause whose caller has disappeared.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest duration of a copy. A module that keeps rolling back large transactions makes SQLite restart the copy each
/// time.
pub(super) const MAX_COPY_TIME: Duration = Duration::from_secs(60 * 60);

/// The reason why databases could not be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A database could not be read, or its copy could not be written.
    #[error("the database `{}` could not be copied: {reason}", .path.display())]
    Failed {
        /// The path of the database.
        path: PathBuf,
        /// SQLite's message.
        reason: String,
    },
    /// Transactions ran so long that the writers never paused together.
    #[error("there was no moment without a running transaction; try again when fewer long transactions run")]
    NoCommonPause,
    /// The copy took longer than an hour.
    #[error("the databases could not be copied within {} minutes", MAX_COPY_TIME.as_secs() / 60)]
    TooSlow,
    /// The caller asked to stop.
    #[error("the databases were not copied, because the host is shutting down")]
    Stopped,
}

/// What all writers that take part in a copy must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Copy, and serve waiting jobs.
    Copy,
    /// Pause between two transactions.
    Pause,
    /// Copy the remaining pages, because all writers have paused.
    Finish,
    /// Stop copying.
    GiveUp,
}

/// How far the copies of several databases are, as numbers of copies and writers.
#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    /// Copies of which at most [`STEP`] pages are missing.
    pub(super) near: usize,
    /// Writers that have paused.
    pub(super) held: usize,
    /// Copies that are complete.
    pub(super) whole: usize,
    /// Writers that have stopped copying.
    ended: usize,
    failed: Option<CopyError>,
}

/// The shared state by which the writers and the caller agree on the moment of the copies.
#[derive(Debug)]
pub(super) struct CopyBarrier {
    state: Mutex<State>,
    changed: Condvar,
}

impl CopyBarrier {
    pub(super) fn new() -> Self {
        let state = State { phase: Phase::Copy, near: 0, held: 0, whole: 0, ended: 0, failed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Tells the writers to stop copying, and waits up to `patience` until `writers` of them have stopped. A writer that takes longer stops
    /// too, only later.
    pub(super) fn give_up(&self, writers: usize, patience: Duration) {
        self.set(Phase::GiveUp);
        drop(self.changed.wait_timeout_while(self.lock(), patience, |state| state.ended < writers));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves the numbers and the phase valid, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Records that one more copy lacks at most [`STEP`] pages (`is` is true), or that one no longer does.
    pub(super) fn near(&self, is: bool) {
        let mut state = self.lock();
        if is {
            state.near += 1;
        } else {
            state.near -= 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Pauses a writer until the phase changes, and returns the new phase. Returns `GiveUp` after [`PAUSE_TIMEOUT`].
    pub(super) fn hold(&self) -> Phase {
        let mut state = self.lock();
        state.held += 1;
        self.changed.notify_all();
        let while_held = |state: &mut State| state.phase == Phase::Pause;
        let (mut state, late) =
            self.changed.wait_timeout_while(state, PAUSE_TIMEOUT, while_held).unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
        if late.timed_out() { Phase::GiveUp } else { state.phase }
    }

    /// Records that the writer of the database at `path` has stopped copying. An `outcome` that is an error, the
    /// reason, stops all other writers too.
    pub(super) fn end(&self, path: &Path, outcome: Result<(), String>) {
        let mut state = self.lock();
        state.ended += 1;
        match outcome {
            Ok(()) => state.whole += 1,
            Err(reason) => {
                // The first error is the cause. Later errors follow from it.
                state.failed.get_or_insert(CopyError::Failed { path: path.to_owned(), reason });
                state.phase = Phase::GiveUp;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until `done` holds for the state of the copies, a copy fails, or the time `until` has come. Returns
    /// whether `done` holds.
    pub(super) fn wait(&self, until: Instant, done: impl Fn(&State) -> bool) -> Result<bool, CopyError> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if done(&state) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A copy that a writer must make.
pub(super) struct CopyJob {
    /// The path of the copy. The file does not exist yet.
    pub(super) target: PathBuf,
    pub(super) barrier: Arc<CopyBarrier>,
}

/// Creates the file of a copy. Nothing depends on the file before it is complete and synced, so SQLite writes it without
/// a journal and without syncs.
pub(super) fn open_target(target: &Path) -> Result<Connection, String> {
    create_private(target).map_err(|error| format!("the file of the copy can't be created: {error}"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(target, flags).and_then(|target| {
        target.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
        target.pragma_update(None, "synchronous", "off")?;
        Ok(target)
    });
    opened.map_err(|error| error.to_string())
}
