//! Copies of databases, taken while they are written to: all of one moment.
//!
//! Each database's own writer copies it, a few pages between two transactions, by its own connection: so SQLite repeats in the copy what
//! is written meanwhile, and no reader keeps the log from being emptied. Once all copies are nearly whole, all writers stop between two
//! transactions, and the rest is copied while none of them writes. What the copies hold together is what a killed host would have left at
//! that moment.
//!
//! A writer that stops waits for others whose transactions still run; and such a transaction may wait for this very writer. So nobody
//! stops for longer than a moment: where not all do, all go on, and it is tried again a little later.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::Database;
use super::applied::open_to_read;
use super::files::create_private;
use super::writer::Job;

/// Pages that are copied between two jobs of the writer: 256 KiB, well below a millisecond.
pub(super) const STEP: i32 = 64;
/// Pages that are copied at once of a database that nobody has open.
const LARGE_STEP: i32 = 1_024;
/// How long is waited where another process has such a database locked.
const PAUSE: Duration = Duration::from_millis(50);
/// How long writers stop for one another at first, and at most: each further try doubles it. Less than half the lease of a transaction, so
/// that none that waits for a writer which has stopped runs out of it.
const FIRST_HOLD: Duration = Duration::from_millis(10);
const LAST_HOLD: Duration = Duration::from_millis(40);
/// The pause between two tries, in lengths of the first of them: four fifths of the time, writers go on.
const PAUSES: u32 = 4;
/// How long it is tried. A moment is found where transactions end, so this is twice what a request may take by default.
const TRYING: Duration = Duration::from_secs(60);
/// How long a writer stops where whoever asked for it is gone.
const HOLD_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether to go on.
const GLANCE: Duration = Duration::from_millis(50);
/// How long the end of those that copy is waited for where it is given up.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// How long copying may take: a module that rolls back large transactions without end makes it begin anew each time.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Why databases could not be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// One of them, or its copy, failed.
    #[error("the database `{}` could not be copied: {reason}", .path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// Transactions ran so long that the databases had no moment in common.
    #[error("there was no moment at which no transaction ran; try again when there are fewer long ones")]
    NoMoment,
    /// It took longer than an hour.
    #[error("the databases could not be copied within {} minutes", LONGEST.as_secs() / 60)]
    TooSlow,
    /// Whoever asked for it wants it no more.
    #[error("the host stops")]
    Stopped,
}

/// What the writers of several databases are to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Copy, and serve who waits.
    Copy,
    /// Stop between two transactions.
    Hold,
    /// Copy the rest: all have stopped.
    Finish,
    /// Leave it.
    GiveUp,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Copies that are whole but for a few pages.
    near: usize,
    /// Writers that have stopped.
    held: usize,
    /// Copies that are whole.
    whole: usize,
    /// Writers that are at it no longer.
    ended: usize,
    failed: Option<CopyError>,
}

/// The moment that all copies are to be of: where their writers and whoever asked for them agree on it.
#[derive(Debug)]
pub(super) struct Moment {
    state: Mutex<State>,
    changed: Condvar,
}

impl Moment {
    fn new() -> Self {
        let state = State { phase: Phase::Copy, near: 0, held: 0, whole: 0, ended: 0, failed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers and a phase: whole wherever a panic might strike.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// A copy has become nearly whole, or is so no longer.
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

    /// Stops a writer until it is known how to go on.
    pub(super) fn hold(&self) -> Phase {
        let mut state = self.lock();
        state.held += 1;
        self.changed.notify_all();
        let while_held = |state: &mut State| state.phase == Phase::Hold;
        let (mut state, late) =
            self.changed.wait_timeout_while(state, HOLD_PATIENCE, while_held).unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
        if late.timed_out() { Phase::GiveUp } else { state.phase }
    }

    /// A copy has ended.
    pub(super) fn end(&self, path: &Path, outcome: Result<(), String>) {
        let mut state = self.lock();
        state.ended += 1;
        match outcome {
            Ok(()) => state.whole += 1,
            Err(reason) => {
                // The first is the cause; what others say follows from it.
                state.failed.get_or_insert(CopyError::Failed { path: path.to_owned(), reason });
                state.phase = Phase::GiveUp;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until `done`, a failure, or `until`; says whether it is done.
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

/// A copy that a writer is to make.
pub(super) struct Copy {
    /// Its file, which isn't there yet.
    pub(super) target: PathBuf,
    pub(super) moment: Arc<Moment>,
}

/// Copies open databases, each to the file beside it, which must not be there yet: all as they are at one moment, within this call.
/// Their modules are served meanwhile. Blocks. The copies are not synced.
///
/// # Errors
///
/// [`CopyError`]; the files that were begun are left to the caller. `give_up` is asked now and then.
pub fn copy_together(databases: &[(Database, PathBuf)], give_up: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let moment = Arc::new(Moment::new());
    let mut asked = 0;
    let copied = agree(databases, &moment, &mut asked, give_up);
    if copied.is_err() {
        // Those that copy still stop at their next look, between two transactions.
        moment.set(Phase::GiveUp);
        let state = moment.lock();
        // Where one takes longer it stops all the same, only later.
        drop(moment.changed.wait_timeout_while(state, LAST_PATIENCE, |state| state.ended < asked));
    }
    copied
}

fn agree(
    databases: &[(Database, PathBuf)],
    moment: &Arc<Moment>,
    asked: &mut usize,
    give_up: &dyn Fn() -> bool,
) -> Result<(), CopyError> {
    for (database, target) in databases {
        let copy = Copy { target: target.clone(), moment: moment.clone() };
        let failed =
            |error: super::SqlError| CopyError::Failed { path: database.path().to_owned(), reason: error.to_string() };
        database.submit(Job::Copy(copy)).map_err(failed)?;
        *asked += 1;
    }
    let latest = Instant::now() + LONGEST;
    let members = databases.len();
    let (mut hold, mut tried) = (FIRST_HOLD, None);
    loop {
        while !moment.wait(Instant::now() + GLANCE, |state| state.near == members)? {
            check(give_up, latest)?;
        }
        moment.set(Phase::Hold);
        if moment.wait(Instant::now() + hold, |state| state.held == members)? {
            moment.set(Phase::Finish);
            while !moment.wait(Instant::now() + GLANCE, |state| state.whole == members)? {
                check(give_up, latest)?;
            }
            return Ok(());
        }
        moment.set(Phase::Copy);
        check(give_up, latest)?;
        if tried.get_or_insert_with(Instant::now).elapsed() >= TRYING {
            return Err(CopyError::NoMoment);
        }
        std::thread::sleep(hold * PAUSES);
        hold = LAST_HOLD.min(hold * 2);
    }
}

fn check(give_up: &dyn Fn() -> bool, latest: Instant) -> Result<(), CopyError> {
    match () {
        () if give_up() => Err(CopyError::Stopped),
        () if Instant::now() >= latest => Err(CopyError::TooSlow),
        () => Ok(()),
    }
}

/// Copies a database that nobody has open to a file that isn't there yet. Blocks. The copy is not synced.
///
/// # Errors
///
/// As [`copy_together`].
pub fn copy_closed(path: &Path, target: &Path, give_up: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let failed = |reason: String| CopyError::Failed { path: path.to_owned(), reason };
    let sqlite = |error: rusqlite::Error| failed(error.to_string());
    let source = open_to_read(path).map_err(|error| failed(watertight_model::problem::with_causes(&error)))?;
    let mut target = open_target(target).map_err(failed)?;
    let backup = Backup::new(&source, &mut target).map_err(sqlite)?;
    let latest = Instant::now() + LONGEST;
    loop {
        match backup.step(LARGE_STEP).map_err(sqlite)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(PAUSE),
        }
        check(give_up, latest)?;
    }
}

/// Makes the file of a copy. It takes part in nobody's promise until it is whole and synced, so SQLite needn't care for it.
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
