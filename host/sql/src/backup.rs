//! Copies databases of one moment while modules write to them.
//!
//! The writer of each database copies it through its own connection, a few pages between two transactions. So SQLite
//! repeats later writes in the copy, and no reader keeps the log from being emptied. When all copies are nearly complete,
//! all writers pause between two transactions, and the remaining pages are copied. The copies together hold what a killed
//! host would have left at that moment.
//!
//! A paused writer waits for writers whose transactions still run, and such a transaction may wait for the paused writer.
//! So every pause is short. If the writers do not all pause in time, all go on, and the attempt is repeated later.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::Database;
use super::applied::open_to_read;
use super::files::create_private;
use super::writer::Job;

/// Pages that are copied between two jobs of the writer: 256 KiB, which takes well below a millisecond.
pub(super) const STEP: i32 = 64;
/// Pages that are copied in one step from a database that nobody has open.
const LARGE_STEP: i32 = 1_024;
/// How long a copy waits before it retries a database that another process has locked.
const PAUSE: Duration = Duration::from_millis(50);
/// The first and the longest pause of the writers. Each further attempt doubles the pause. The longest is less than half
/// of a transaction's lease, so that no transaction that waits for a paused writer loses its lease.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);
/// The wait between two attempts, as a multiple of the pause. With 4, writers run for four fifths of the time.
const PAUSES: u32 = 4;
/// How long attempts are repeated. Attempts succeed where transactions end, so this is twice the default deadline of a
/// request.
const RETRY_PERIOD: Duration = Duration::from_secs(60);
/// How long a writer pauses if the caller of the copy has disappeared.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval at which the caller checks whether to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a failed copy waits for its writers to stop copying.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// The longest duration of a copy. A module that keeps rolling back large transactions makes SQLite restart the copy each
/// time.
const MAX_COPY_TIME: Duration = Duration::from_secs(60 * 60);

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
    #[error("the host stops")]
    Stopped,
}

/// What the writers of several databases must do now.
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

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Copies that are complete except for a few pages.
    near: usize,
    /// Writers that have paused.
    held: usize,
    /// Copies that are complete.
    whole: usize,
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
    fn new() -> Self {
        let state = State { phase: Phase::Copy, near: 0, held: 0, whole: 0, ended: 0, failed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves the numbers and the phase valid, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Records that a copy has become nearly complete, or no longer is.
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

    /// Pauses a writer until the phase changes. Returns the new phase.
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

    /// Records that a writer has stopped copying.
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

    /// Waits until `done` holds, a copy fails, or `until` passes. Returns whether `done` holds.
    fn wait(&self, until: Instant, done: impl Fn(&State) -> bool) -> Result<bool, CopyError> {
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

/// Copies open databases, each to the path beside it. All copies are of one moment within this call.
///
/// The target files must not exist. The databases stay in use meanwhile. The call blocks and checks `give_up` regularly.
/// The copies are not synced.
///
/// # Errors
///
/// Returns [`CopyError`]. The caller removes the files that were begun.
pub fn copy_together(databases: &[(Database, PathBuf)], give_up: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let moment = Arc::new(CopyBarrier::new());
    let mut asked = 0;
    let copied = copy_at_one_moment(databases, &moment, &mut asked, give_up);
    if copied.is_err() {
        // Writers that still copy stop at their next check between two transactions.
        moment.set(Phase::GiveUp);
        let state = moment.lock();
        // A writer that takes longer than this wait stops too, only later.
        drop(moment.changed.wait_timeout_while(state, LAST_PATIENCE, |state| state.ended < asked));
    }
    copied
}

fn copy_at_one_moment(
    databases: &[(Database, PathBuf)],
    barrier: &Arc<CopyBarrier>,
    asked: &mut usize,
    give_up: &dyn Fn() -> bool,
) -> Result<(), CopyError> {
    for (database, target) in databases {
        let copy = CopyJob { target: target.clone(), barrier: barrier.clone() };
        let failed =
            |error: super::SqlError| CopyError::Failed { path: database.path().to_owned(), reason: error.to_string() };
        database.submit(Job::Copy(copy)).map_err(failed)?;
        *asked += 1;
    }
    let latest = Instant::now() + MAX_COPY_TIME;
    let members = databases.len();
    let (mut hold, mut tried) = (FIRST_PAUSE, None);
    loop {
        while !barrier.wait(Instant::now() + POLL_INTERVAL, |state| state.near == members)? {
            check(give_up, latest)?;
        }
        barrier.set(Phase::Pause);
        if barrier.wait(Instant::now() + hold, |state| state.held == members)? {
            barrier.set(Phase::Finish);
            while !barrier.wait(Instant::now() + POLL_INTERVAL, |state| state.whole == members)? {
                check(give_up, latest)?;
            }
            return Ok(());
        }
        barrier.set(Phase::Copy);
        check(give_up, latest)?;
        if tried.get_or_insert_with(Instant::now).elapsed() >= RETRY_PERIOD {
            return Err(CopyError::NoCommonPause);
        }
        std::thread::sleep(hold * PAUSES);
        hold = LONGEST_PAUSE.min(hold * 2);
    }
}

fn check(give_up: &dyn Fn() -> bool, latest: Instant) -> Result<(), CopyError> {
    match () {
        () if give_up() => Err(CopyError::Stopped),
        () if Instant::now() >= latest => Err(CopyError::TooSlow),
        () => Ok(()),
    }
}

/// Copies a database that nobody has open to a file that does not exist yet. Blocks. The copy is not synced.
///
/// # Errors
///
/// Returns [`CopyError`], like [`copy_together`].
pub fn copy_closed(path: &Path, target: &Path, give_up: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let failed = |reason: String| CopyError::Failed { path: path.to_owned(), reason };
    let sqlite = |error: rusqlite::Error| failed(error.to_string());
    let source = open_to_read(path).map_err(|error| failed(watertight_model::problem::with_causes(&error)))?;
    let mut target = open_target(target).map_err(failed)?;
    let backup = Backup::new(&source, &mut target).map_err(sqlite)?;
    let latest = Instant::now() + MAX_COPY_TIME;
    loop {
        match backup.step(LARGE_STEP).map_err(sqlite)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(PAUSE),
        }
        check(give_up, latest)?;
    }
}

/// Creates the file of a copy. Nothing depends on the file before it is complete and synced, so SQLite writes it without
/// a journal and without syncs.
pub(super) fn open_target(target: &Path) -> Result<Connection, String> {
    create_private(target).map_err(|error| format!("its copy can't be made: {error}"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(target, flags).and_then(|target| {
        target.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
        target.pragma_update(None, "synchronous", "off")?;
        Ok(target)
    });
    opened.map_err(|error| error.to_string())
}
