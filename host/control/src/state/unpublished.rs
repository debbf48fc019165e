//! Databases that were made for a generation which isn't published yet.
//!
//! Such a database has a mark beside it, which is durable before the file is made and goes once the history tells of the generation. So a
//! mark of a module that the history doesn't know, left by a host that was ended in between or by a refusal that could not clean up,
//! says that nothing of what is in the database was ever acknowledged: it is removed, and binds no later build to its migrations.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::StateFolder;
use watertight_disk::files::create_new;
use watertight_model::ids::ModuleName;

/// How the name of a mark ends.
const MARK: &str = "unpublished";

fn mark_of(state: &Path, module: &ModuleName) -> PathBuf {
    state.join("data").join(format!("{module}.{MARK}"))
}

impl StateFolder {
    /// Says, durably, that the database of a module, which isn't there yet, belongs to no published generation.
    ///
    /// # Errors
    ///
    /// Where the mark can't be made: then the database must not be made either.
    pub(crate) fn mark_unpublished(&self, module: &ModuleName) -> io::Result<()> {
        create_new(&mark_of(self.path(), module))?;
        File::open(self.path().join("data"))?.sync_all()
    }

    /// Whether the database of a module has a mark.
    pub(crate) fn is_marked_unpublished(&self, module: &ModuleName) -> bool {
        Self::is_unpublished(self.path(), module)
    }

    /// The same in a folder that this process doesn't have to itself.
    pub(crate) fn is_unpublished(state: &Path, module: &ModuleName) -> bool {
        mark_of(state, module).symlink_metadata().is_ok()
    }

    /// Removes the mark of a module's database: a published generation has it, or it is gone.
    ///
    /// # Errors
    ///
    /// Where it can't be removed. The history decides: a mark of a module that it knows means nothing.
    pub(crate) fn unmark_unpublished(&self, module: &ModuleName) -> io::Result<()> {
        match fs::remove_file(mark_of(self.path(), module)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The modules whose databases are in a state folder and have no mark: those that a host made which wrote histories of format 1.
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
