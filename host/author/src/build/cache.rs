//! The folder in which the tools of languages are installed, once for each user.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::BuildError;

/// Returns the folder for tools: in the user's cache, or the workspace's `target` if the user has none.
pub(super) fn folder(workspace: &Path) -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    user.map_or_else(|| workspace.join("target"), |cache| cache.join("watertight"))
}

/// Makes `folder` by `install` if it doesn't exist. `install` gets another folder, which is renamed when it is complete. Concurrent builds
/// wait until one has installed.
pub(super) fn once(folder: &Path, install: impl FnOnce(&Path) -> Result<(), BuildError>) -> Result<(), BuildError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error| BuildError::unwritable(&path, error)
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(unwritable(parent))?;
    }
    let lock = folder.with_added_extension("lock");
    let _held = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(unwritable(&lock))?;
    if folder.is_dir() {
        return Ok(());
    }
    let aside = folder.with_added_extension("part");
    remove(&aside).and_then(|()| fs::create_dir_all(&aside)).map_err(unwritable(&aside))?;
    install(&aside)?;
    fs::rename(&aside, folder).map_err(unwritable(folder))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
