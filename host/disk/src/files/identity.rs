//! The identity of a file, by which the host notices that a file was removed, moved or replaced.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The identity of a file or folder, whatever path leads to it. No other file gets the same identity while the file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// The reason that a path does not lead to the file that it led to before.
#[derive(Debug, thiserror::Error)]
pub enum FileChanged {
    /// The path leads to no file or folder.
    #[error("{} was removed", .0.display())]
    Removed(PathBuf),
    /// The path leads to another file or folder.
    #[error("{} was replaced by another file", .0.display())]
    Replaced(PathBuf),
    /// The path leads to the same file, but the file's content is gone.
    #[error("{} was emptied or overwritten", .0.display())]
    Emptied(PathBuf),
    /// The system can't say whether the path leads to the same file.
    #[error("the system can't say whether {} is still the same file: {source}", .path.display())]
    Unreadable {
        /// The path that the system could not follow.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl FileIdentity {
    /// Returns the identity of the file or folder that `metadata`, read from the file system, describes.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Returns the identity of the file at `path`. A symbolic link at the end of the path is not followed.
    ///
    /// # Errors
    ///
    /// The error of the system where the file's metadata can't be read.
    pub fn at(path: &Path) -> io::Result<Self> {
        path.symlink_metadata().map(|metadata| Self::of(&metadata))
    }

    /// Checks that `path` leads to this file, without a symbolic link at its end. Takes one system call.
    ///
    /// # Errors
    ///
    /// [`FileChanged`] if the path leads elsewhere, or if the system can't say where it leads.
    pub fn check(self, path: &Path) -> Result<(), FileChanged> {
        self.metadata(path).map(drop)
    }

    /// Checks like [`FileIdentity::check`] that `path` leads to this file, and returns what the file system says of the file, such as its
    /// size. Takes one system call.
    ///
    /// # Errors
    ///
    /// The errors of [`FileIdentity::check`].
    pub fn metadata(self, path: &Path) -> Result<Metadata, FileChanged> {
        self.compare(path, path.symlink_metadata())
    }

    /// Checks that `path` leads to this file, and follows a symbolic link at its end: for paths that an operator gave.
    ///
    /// # Errors
    ///
    /// The errors of [`FileIdentity::check`].
    pub fn check_following_links(self, path: &Path) -> Result<(), FileChanged> {
        self.compare(path, path.metadata()).map(drop)
    }

    fn compare(self, path: &Path, found: io::Result<Metadata>) -> Result<Metadata, FileChanged> {
        match found {
            Ok(found) if Self::of(&found) == self => Ok(found),
            Ok(_) => Err(FileChanged::Replaced(path.to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(FileChanged::Removed(path.to_owned()))
            }
            Err(source) => Err(FileChanged::Unreadable { path: path.to_owned(), source }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_removed_moved_or_replaced_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&file, "one").unwrap();
        let _open = fs::File::open(&file).unwrap();
        let identity = FileIdentity::at(&file).unwrap();
        assert!(identity.check(&file).is_ok());
        fs::rename(&file, &other).unwrap();
        assert!(matches!(identity.check(&file), Err(FileChanged::Removed(_))));
        // A path through something that is no longer a folder leads nowhere.
        assert!(matches!(identity.check(&other.join("file")), Err(FileChanged::Removed(_))));
        fs::write(&file, "one").unwrap();
        assert!(matches!(identity.check(&file), Err(FileChanged::Replaced(_))));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        assert!(matches!(identity.check(&file), Err(FileChanged::Replaced(_))), "a link is another file");
        assert!(identity.check_following_links(&file).is_ok());
    }
}
