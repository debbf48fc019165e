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
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};

use super::Database;
use super::applied::open_to_read;
use super::barrier::{CopyBarrier, CopyError, CopyJob, MAX_COPY_TIME, Phase, open_target};
use super::writer::Job;

/// Greatest number of pages that are copied in one step from a database that nobody has open.
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
/// The interval at which the caller checks whether to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a failed copy waits for its writers to stop copying.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Copies each open database of the list to the path beside it in the list. All copies are of one moment within this
/// call.
///
/// The target files must not exist. The databases stay in use meanwhile. The call blocks, and stops soon after
/// `give_up` returns true. The copies are not synced.
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
        moment.give_up(asked, LAST_PATIENCE);
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

/// Copies a database that nobody has open, from `path` to `target`, a file that does not exist yet. Blocks, and stops
/// soon after `give_up` returns true. The copy is not synced.
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
