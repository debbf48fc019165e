//! Writes generated bindings into a module's folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Removes all files of `folder` that aren't in `written`, and folders that become empty.
pub(super) fn remove_others(folder: &Path, written: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, written)?;
            // Fails, as intended, if the folder isn't empty.
            let _ = fs::remove_dir(&path);
        } else if !written.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
