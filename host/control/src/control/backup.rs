//! Backs up the running application while it serves and changes.
//!
//! The databases are copied first, all as of one moment. Then the current history is added, with the files that it names. If a generation
//! was published between the two, the start after a restore applies its migrations. If that generation has a database that didn't exist
//! when the databases were copied, the backup starts again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Control;
use super::queue::{Interruption, OperationKind};
use crate::backup::{self, BackupError, BackupWriter, Manifest};
use crate::state::{History, StateFolder};
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_model::ids::ModuleName;
use watertight_sql::{Database, copy_closed, copy_together};

/// Greatest number of attempts at one backup. An attempt fails if a module with a new database is published meanwhile.
const TRIES: u32 = 5;

impl Control {
    /// Writes a backup to `target`, an absolute path at which nothing exists, while changes go on. Runs to its end even if the returned
    /// future is dropped, unless `give_up`, which is asked at intervals, returns true.
    ///
    /// # Errors
    ///
    /// [`BackupError`]. Nothing is at `target` then.
    pub async fn back_up(
        self: &Arc<Self>,
        target: PathBuf,
        give_up: impl Fn() -> bool + Send + 'static,
    ) -> Result<Manifest, BackupError> {
        let control = self.clone();
        let work = async move {
            let queue = &control.queue;
            let _place = queue.acquire_permit(OperationKind::Backup).map_err(|_| BackupError::Busy)?;
            let turn = queue.wait_turn(OperationKind::Backup, queue.rollback_count()).await;
            let _turn = turn.map_err(|_: Interruption| BackupError::Stopping)?;
            let shared = control.clone();
            let write = move || {
                let source = Source {
                    state: shared.state.path(),
                    history: &|| Ok((*shared.history()).clone()),
                    open: &|| shared.databases.all(),
                };
                source.write(&target, &give_up)
            };
            tokio::task::spawn_blocking(write).await.unwrap_or(Err(BackupError::Stopping))
        };
        tokio::spawn(work).await.unwrap_or(Err(BackupError::Stopping))
    }
}

/// Writes a backup of a state folder on which no host runs and which this process holds.
///
/// # Errors
///
/// [`BackupError`]. Nothing is at `target` then.
pub fn back_up_stopped(target: &Path, state: &StateFolder) -> Result<Manifest, BackupError> {
    let source = Source { state: state.path(), history: &|| Ok(state.history()?), open: &Vec::new };
    source.write(target, &|| false)
}

/// The source of a backup: a state folder, its history and its open databases.
struct Source<'a> {
    state: &'a Path,
    /// Returns the current history.
    history: &'a dyn Fn() -> Result<History, BackupError>,
    /// Returns the databases that are open now.
    open: &'a dyn Fn() -> Vec<Database>,
}

impl Source<'_> {
    fn write(&self, target: &Path, give_up: &dyn Fn() -> bool) -> Result<Manifest, BackupError> {
        // Fails early, before copying, if the state folder can't be backed up at all.
        backup::application(&(self.history)()?, self.state)?;
        for _ in 0..TRIES {
            let mut unfinished = BackupWriter::begin(target, self.state)?;
            let wanted = self.published_databases()?;
            self.copy(&unfinished, &wanted, give_up)?;
            let history = (self.history)()?;
            if !self.published_databases()?.is_subset(&wanted) {
                tracing::info!(target: "change", "a module with a new database was published during a backup, which begins again");
                continue;
            }
            crash_point(CrashPoint::BackupCopied);
            unfinished.add_history(&history, self.state)?;
            let (app, generation) = backup::application(&history, self.state)?;
            let manifest = unfinished.finish(app, generation)?;
            let files = manifest.files.len();
            tracing::info!(target: "change", %generation, to = %target.display(), files, "a backup was written");
            return Ok(manifest);
        }
        Err(BackupError::KeptChanging)
    }

    /// Returns the modules that have a database, without those whose database belongs to no published generation.
    fn published_databases(&self) -> Result<BTreeSet<ModuleName>, BackupError> {
        let history = (self.history)()?;
        let found = backup::databases(self.state)?.into_keys();
        Ok(found
            .filter(|module| history.ever_had_database(module) || !StateFolder::is_unpublished(self.state, module))
            .collect())
    }

    fn copy(
        &self,
        unfinished: &BackupWriter,
        wanted: &BTreeSet<ModuleName>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), BackupError> {
        let open = (self.open)();
        let mut together = Vec::new();
        for module in wanted {
            let (path, copy) = (StateFolder::database_in(self.state, module), unfinished.database(module));
            match open.iter().find(|database| database.path() == path) {
                Some(database) => together.push((database.clone(), copy)),
                // The module is no longer part of the application, so its database is closed.
                None => copy_closed(&path, &copy, give_up)?,
            }
        }
        Ok(copy_together(&together, give_up)?)
    }
}
