//! The folder in which the tools of languages are installed, once for each user.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::BuildError;
use watertight_model::ids::Digest;

/// The number of digits of a digest that tell folders apart.
const DIGITS: usize = 12;

/// Returns the folder for tools: in the user's cache, or the workspace's `target` if the user has none.
pub(super) fn folder(workspace: &Path) -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    user.map_or_else(|| workspace.join("target"), |cache| cache.join("watertight"))
}

/// Makes `folder` by `install` unless it has `program`, a file or folder in it. `install` gets another folder, which is renamed when it is
/// complete. Concurrent builds wait until one has installed.
///
/// A missing program in a folder that is there is one that something else removed, such as the Python to which a virtual environment links.
pub(super) fn once(
    folder: &Path,
    program: &str,
    install: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error| BuildError::unwritable(&path, error)
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(unwritable(parent))?;
    }
    let lock = folder.with_added_extension("lock");
    let _held = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(unwritable(&lock))?;
    if folder.join(program).exists() {
        return Ok(());
    }
    let aside = folder.with_added_extension("part");
    remove(&aside).and_then(|()| fs::create_dir_all(&aside)).map_err(unwritable(&aside))?;
    install(&aside)?;
    // Without the program in it, the folder would be installed by every build anew.
    let made = aside.join(program);
    fs::metadata(&made).map_err(|error| BuildError::unreadable(&made, error))?;
    remove(folder).and_then(|()| fs::rename(&aside, folder)).map_err(unwritable(folder))
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
