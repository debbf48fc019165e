//! Backing up what runs, while it serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Control;
use crate::backup::{self, BackupError, Manifest, Unfinished};
use crate::database::{Database, copy_closed, copy_together};
use crate::failpoint::{Point, crash_point};
use crate::state::{History, StateFolder};

impl Control {
    /// Writes a backup to `target`, an absolute path that nothing has yet. It is a change in work: nothing is swapped or applied until it
    /// ends, so its history is that of the generation that it is of. Goes on whether or not anybody waits, until `give_up` says so.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; nothing is at `target` then.
    pub async fn back_up(
        self: &Arc<Self>,
        target: PathBuf,
        give_up: impl Fn() -> bool + Send + 'static,
    ) -> Result<Manifest, BackupError> {
        let control = self.clone();
        let work = async move {
            let _place = control.changes.try_acquire().map_err(|_| BackupError::Busy)?;
            let _running = control.running.lock().await;
            if control.changes.is_closed() {
                return Err(BackupError::Stopping);
            }
            let (history, shared) = (control.history(), control.clone());
            let write = move || {
                let open = shared.databases.all();
                write(&target, shared.state.path(), &history, &open, &give_up)
            };
            tokio::task::spawn_blocking(write).await.unwrap_or(Err(BackupError::Stopping))
        };
        tokio::spawn(work).await.unwrap_or(Err(BackupError::Stopping))
    }
}

/// Writes a backup of a state folder that no host has, while this process has it.
///
/// # Errors
///
/// As [`Control::back_up`].
pub fn back_up_stopped(target: &Path, state: &StateFolder) -> Result<Manifest, BackupError> {
    write(target, state.path(), &state.history()?, &[], &|| false)
}

fn write(
    target: &Path,
    state: &Path,
    history: &History,
    open: &[Database],
    give_up: &dyn Fn() -> bool,
) -> Result<Manifest, BackupError> {
    let (app, generation) = backup::application(history, state)?;
    let mut unfinished = Unfinished::begin(target, state)?;
    unfinished.add_history(history, state)?;
    let mut together = Vec::new();
    for (module, path) in backup::databases(state)? {
        let copy = unfinished.database(&module);
        match open.iter().find(|database| database.path() == path) {
            Some(database) => together.push((database.clone(), copy)),
            // Of a module that is no longer in the application.
            None => copy_closed(&path, &copy, give_up)?,
        }
    }
    copy_together(&together, give_up)?;
    crash_point(Point::BackupCopied);
    let manifest = unfinished.finish(app, generation)?;
    tracing::info!(target: "change", %generation, to = %target.display(), files = manifest.files.len(), "backed up");
    Ok(manifest)
}
