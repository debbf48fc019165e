//! Changes of files that are made all together or not at all: each is checked before the first is written.
//!
//! A file that exists is never overwritten by a new one. Only edits replace files, and an edit is made of the file's own content.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Changes of files that were not made yet.
#[derive(Debug, Default)]
pub struct StagedFiles {
    created: BTreeMap<PathBuf, String>,
    edited: BTreeMap<PathBuf, String>,
}

/// The reason why staged files can't be written.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Files or folders to create exist, also under names that differ only in case.
    #[error("{} already there, and nothing is overwritten: {}", subject(.0), names(.0))]
    Exists(Vec<PathBuf>),
    /// A file can't be written. What was written before has been taken back.
    #[error("`{}` can't be written", path.display())]
    Unwritable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

fn subject(paths: &[PathBuf]) -> &'static str {
    if paths.len() == 1 { "a file is" } else { "files are" }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

impl StagedFiles {
    /// Stages a file to create.
    pub fn create(&mut self, path: PathBuf, text: String) {
        self.created.insert(path, text);
    }

    /// Stages new content for a file. Creates the file if it doesn't exist.
    pub fn edit(&mut self, path: PathBuf, text: String) {
        self.edited.insert(path, text);
    }

    /// Returns the content of a file as it will be. `None` if it neither is staged nor exists.
    ///
    /// # Errors
    ///
    /// An error of the operating system if the file exists and can't be read as text.
    pub fn read(&self, path: &Path) -> io::Result<Option<String>> {
        if let Some(text) = self.edited.get(path).or_else(|| self.created.get(path)) {
            return Ok(Some(text.clone()));
        }
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the paths of all staged files: those to create, and those to edit.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.created.keys().chain(self.edited.keys()).map(PathBuf::as_path)
    }

    /// Makes all changes. If one fails, takes back those that were made.
    ///
    /// # Errors
    ///
    /// [`StageError::Exists`] before anything is written, and [`StageError::Unwritable`].
    pub fn write(self) -> Result<(), StageError> {
        let taken: Vec<PathBuf> = self.created.keys().filter(|path| is_taken(path)).cloned().collect();
        if !taken.is_empty() {
            return Err(StageError::Exists(taken));
        }
        let mut undo: Vec<(PathBuf, Option<Vec<u8>>)> = Vec::new();
        for (path, text) in self.created.iter().chain(&self.edited) {
            let before = fs::read(path).ok();
            if before.as_deref() == Some(text.as_bytes()) {
                continue;
            }
            undo.push((path.clone(), before));
            let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
            if let Err(source) = made {
                take_back(undo);
                return Err(StageError::Unwritable { path: path.clone(), source });
            }
        }
        Ok(())
    }
}

/// Restores files to the content that they had. Errors are ignored: the error that was the reason is reported.
fn take_back(undo: Vec<(PathBuf, Option<Vec<u8>>)>) {
    for (path, before) in undo.into_iter().rev() {
        match before {
            Some(bytes) => drop(fs::write(&path, bytes)),
            None => {
                let _ = fs::remove_file(&path);
                // Removes the folders that are empty now. The first that is not empty ends it.
                let _ = path.ancestors().skip(1).try_for_each(fs::remove_dir);
            }
        }
    }
}

/// Whether there is a file or folder of this name, also if its name differs in case: some file systems don't tell such names apart.
pub(crate) fn is_taken(path: &Path) -> bool {
    if path.symlink_metadata().is_ok() {
        return true;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_where_something_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("Readme"), "mine").expect("it is writable");
        let mut files = StagedFiles::default();
        files.create(at("new/file"), "new".to_owned());
        files.create(at("README"), "new".to_owned());
        let error = files.write().expect_err("a file of the same name is there");
        assert!(matches!(error, StageError::Exists(paths) if paths == [at("README")]));
        assert!(!at("new").exists());
        assert_eq!(fs::read_to_string(at("Readme")).expect("it is there"), "mine");
    }

    #[test]
    fn a_failure_takes_back_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("edited"), "before").expect("it is writable");
        fs::write(at("file"), "").expect("it is writable");
        let mut files = StagedFiles::default();
        files.create(at("a/b/c"), "new".to_owned());
        files.edit(at("edited"), "after".to_owned());
        // A file is in the place of the folder.
        files.edit(at("file/inside"), "never".to_owned());
        assert!(matches!(files.write(), Err(StageError::Unwritable { .. })));
        assert!(!at("a").exists());
        assert_eq!(fs::read_to_string(at("edited")).expect("it is there"), "before");
    }
}
