//! Marks databases that were created for a generation that isn't published yet.
//!
//! The mark is a file beside the database. It is made durable before the database is created, and removed once the history contains the
//! generation. A crash, or a refused change that could not clean up, can leave a mark for a module that the history doesn't know. No data
//! in such a database was ever acknowledged, so the host removes it. Later builds are then free to have other migrations.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::StateFolder;
use watertight_disk::files::create_new;
use watertight_model::ids::ModuleName;

/// The file extension of a mark.
const MARK: &str = "unpublished";

fn mark_of(state: &Path, module: &ModuleName) -> PathBuf {
    state.join("data").join(format!("{module}.{MARK}"))
}

impl StateFolder {
    /// Durably marks the database of a module as part of no published generation. The database must not exist yet.
    ///
    /// # Errors
    ///
    /// The I/O error if the mark can't be created. The database must not be created then.
    pub(crate) fn mark_unpublished(&self, module: &ModuleName) -> io::Result<()> {
        create_new(&mark_of(self.path(), module))?;
        File::open(self.path().join("data"))?.sync_all()
    }

    /// Whether the database of a module has a mark.
    pub(crate) fn is_marked_unpublished(&self, module: &ModuleName) -> bool {
        Self::is_unpublished(self.path(), module)
    }

    /// Whether the database of a module has a mark, in the state folder at `state`, which this process need not hold.
    pub(crate) fn is_unpublished(state: &Path, module: &ModuleName) -> bool {
        mark_of(state, module).symlink_metadata().is_ok()
    }

    /// Removes the mark of a module's database, because a published generation has the database, or because the database is gone.
    ///
    /// # Errors
    ///
    /// The I/O error if the mark can't be removed. A remaining mark is harmless: the history overrides marks of modules that it knows.
    pub(crate) fn unmark_unpublished(&self, module: &ModuleName) -> io::Result<()> {
        match fs::remove_file(mark_of(self.path(), module)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Returns the modules that have a database without a mark in the state folder. Used for histories of format 1, whose hosts made no marks.
pub(super) fn databases_of_earlier_host(state: &Path) -> io::Result<BTreeSet<ModuleName>> {
    let entries = match fs::read_dir(state.join("data")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        let module = path.file_stem().and_then(|stem| stem.to_str()?.parse::<ModuleName>().ok());
        if let Some(module) = module.filter(|_| path.extension().is_some_and(|extension| extension == "db"))
            && mark_of(state, &module).symlink_metadata().is_err()
        {
            found.insert(module);
        }
    }
    Ok(found)
}
