//! Finds the files that become part of a Python component, and copies them to where the interpreter reads them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::project::Project;
use crate::cache::remove;
use crate::error::BuildError;
use watertight_model::ids::Digest;

/// The folders and files directly in a module's folder that are no code of the component.
const NOT_CODE: [&str; 9] =
    ["bindings", "wit", "migrations", "tests", "test", "target", "build", "dist", super::project::PINNED];

/// The extensions of native code, which can't run in a component.
const NATIVE: [&str; 4] = ["so", "pyd", "dylib", "dll"];

/// The maximum number of bytes of all files of one folder.
const MAX_BYTES: u64 = 64 << 20;

/// The code in one folder.
pub(super) struct Tree {
    folder: PathBuf,
    /// The files by their paths in the folder, with digests.
    pub(super) files: BTreeMap<PathBuf, Digest>,
}

/// Reads the code of a module: its own folder first, then the folders of `path`.
pub(super) fn read(folder: &Path, project: &Project) -> Result<Vec<Tree>, BuildError> {
    let folders = std::iter::once(folder).chain(project.folders.iter().map(PathBuf::as_path));
    folders.map(|folder| Tree::read(folder, &NOT_CODE)).collect()
}

/// Copies each tree to a folder of its own in `target`, and returns the folders. Removes what stood there.
pub(super) fn copy(trees: &[Tree], target: &Path) -> Result<Vec<PathBuf>, BuildError> {
    remove(target).map_err(|error| BuildError::unwritable(target, error))?;
    let folders: Vec<PathBuf> = (0..trees.len()).map(|index| target.join(index.to_string())).collect();
    for (tree, folder) in trees.iter().zip(&folders) {
        copy_into(tree, folder)?;
    }
    Ok(folders)
}

/// Copies the files of a tree into a folder.
pub(super) fn copy_into(tree: &Tree, folder: &Path) -> Result<(), BuildError> {
    let unwritable = |error| BuildError::unwritable(folder, error);
    fs::create_dir_all(folder).map_err(unwritable)?;
    for path in tree.files.keys() {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(unwritable)?;
        }
        fs::copy(tree.folder.join(path), &target).map_err(unwritable)?;
    }
    Ok(())
}

impl Tree {
    /// Reads the files of a folder, without those directly in it that `skipped` names.
    pub(super) fn read(folder: &Path, skipped: &[&str]) -> Result<Self, BuildError> {
        let mut tree = Self { folder: folder.to_owned(), files: BTreeMap::new() };
        let mut bytes = 0;
        tree.collect(folder, skipped, &mut bytes).map_err(|error| BuildError::unreadable(folder, error))?;
        let wrong = |message: String| Err(BuildError::Manifest { path: folder.join("pyproject.toml"), message });
        let is_native = |path: &&PathBuf| path.extension().is_some_and(|found| NATIVE.iter().any(|one| found == *one));
        if let Some(native) = tree.files.keys().find(is_native) {
            return wrong(format!("`{}` is native code, which can't run in a component", native.display()));
        }
        if bytes > MAX_BYTES {
            return wrong(format!("the files in `{}` are larger than {} MiB", folder.display(), MAX_BYTES >> 20));
        }
        Ok(tree)
    }

    fn collect(&mut self, folder: &Path, skipped: &[&str], bytes: &mut u64) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || name == "__pycache__" || skipped.contains(&&*name) {
                continue;
            }
            if path.is_dir() {
                // A virtual environment holds the author's tools.
                if !path.join("pyvenv.cfg").exists() {
                    self.collect(&path, &[], bytes)?;
                }
            } else if let Ok(relative) = path.strip_prefix(&self.folder) {
                *bytes += fs::metadata(&path)?.len();
                if *bytes > MAX_BYTES {
                    return Ok(());
                }
                self.files.insert(relative.to_owned(), Digest::of(&fs::read(&path)?));
            }
        }
        Ok(())
    }
}
