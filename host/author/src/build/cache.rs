//! The user's cache folder, in which the tools of languages are installed once for all workspaces.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::BuildError;
use watertight_model::ids::Digest;

/// The number of digits of a digest that tell folders of the cache apart.
const DIGITS: usize = 12;

/// Returns the cache folder of the user, or the workspace's `target` folder if the user has none.
pub(super) fn folder(workspace: &Path) -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    user.map_or_else(|| workspace.join("target"), |cache| cache.join("watertight"))
}

/// Waits until no other build installs into `folder`, and returns the lock on it. Creates the parent folder if it is missing.
pub(super) fn lock(folder: &Path) -> Result<File, BuildError> {
    let lock = folder.with_added_extension("lock");
    let parent = lock.parent().map_or(Ok(()), fs::create_dir_all);
    let held = parent.and_then(|()| File::create(&lock)).and_then(|file| file.lock().map(|()| file));
    held.map_err(|error| BuildError::unwritable(&lock, error))
}

/// Removes a folder and all its contents. It may be missing.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns the beginning of a digest, for the name of a folder.
pub(super) fn short(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").chars().take(DIGITS).collect()
}
