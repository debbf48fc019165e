//! Copies the database between the transactions of its guests, so that all copies of a backup are of one moment.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};

use super::super::barrier::{CopyJob, Phase, STEP, open_target};
use super::{Job, RunningWriter};

/// How long a writer whose copy is nearly complete waits for a job before it checks the phase.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

impl RunningWriter<'_> {
    /// Copies the database, and serves waiting jobs meanwhile.
    pub(super) fn copy(&mut self, copy: &CopyJob, jobs: &Receiver<Job>) {
        let outcome = self.try_copy(copy, jobs);
        if outcome.is_err() {
            // A partial copy is useless. The caller removes it if it can't be removed here.
            let _ = std::fs::remove_file(&copy.target);
        }
        copy.barrier.end(self.writer.guarded.path(), outcome);
    }

    fn try_copy(&mut self, copy: &CopyJob, jobs: &Receiver<Job>) -> Result<(), String> {
        let sqlite = |error: rusqlite::Error| error.to_string();
        let mut target = open_target(&copy.target)?;
        let backup = Backup::new(self.writer.guarded.raw(), &mut target).map_err(sqlite)?;
        let mut near = false;
        loop {
            if let Some(error) = self.writer.durability.failure() {
                return Err(format!("{error}; what the database holds is known only after a restart of the host"));
            }
            // A step of zero pages counts the remaining ones. SQLite keeps copied pages up to date. The rollback of a
            // large transaction makes SQLite restart the copy.
            let left = match backup.step(0).map_err(sqlite)? {
                StepResult::More => backup.progress().remaining,
                StepResult::Done => return Err("it shrank while it was copied".to_owned()),
                _ => return Err("another process has locked it".to_owned()),
            };
            if (left <= STEP) != near {
                near = !near;
                copy.barrier.near(near);
            }
            let phase = match copy.barrier.phase() {
                Phase::Pause if near => copy.barrier.hold(),
                phase => phase,
            };
            match phase {
                Phase::GiveUp => return Err("the copy was given up".to_owned()),
                Phase::Finish => {
                    return match backup.step(-1).map_err(sqlite)? {
                        StepResult::Done => Ok(()),
                        _ => Err("another process has locked it".to_owned()),
                    };
                }
                Phase::Copy | Phase::Pause => {}
            }
            let job = if near {
                jobs.recv_timeout(POLL_INTERVAL)
            } else {
                // The last page is never copied here: the copy would be complete, and SQLite would no longer keep it up
                // to date.
                backup.step(STEP.min(left - 1)).map_err(sqlite)?;
                jobs.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            };
            match job {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("it was closed".to_owned()),
            }
        }
    }
}
