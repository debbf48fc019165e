//! Which file a path leads to, so that one that was removed, moved or replaced is noticed.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or folder, whatever path leads to it. As long as somebody has it open, no other gets the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Why a path no longer leads to the file that it led to.
#[derive(Debug, thiserror::Error)]
pub enum Displaced {
    /// Nothing is there.
    #[error("{} was removed", .0.display())]
    Removed(PathBuf),
    /// Another file is there.
    #[error("{} was replaced by another file", .0.display())]
    Replaced(PathBuf),
    /// The file is there, and what was in it is not.
    #[error("{} was emptied or overwritten", .0.display())]
    Emptied(PathBuf),
    /// Nobody can say what is there.
    #[error("{} can't be looked at: {source}", .path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl FileIdentity {
    /// The identity in a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The identity of what is at `path`; a link at its end is not followed.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn at(path: &Path) -> io::Result<Self> {
        path.symlink_metadata().map(|metadata| Self::of(&metadata))
    }

    /// Checks that `path` leads to this file, without a link at its end. One system call.
    ///
    /// # Errors
    ///
    /// [`Displaced`] where it doesn't, or where that can't be known.
    pub fn check(self, path: &Path) -> Result<(), Displaced> {
        self.metadata(path).map(drop)
    }

    /// The same, and what the system says of the file. One system call.
    ///
    /// # Errors
    ///
    /// As [`FileIdentity::check`].
    pub fn metadata(self, path: &Path) -> Result<Metadata, Displaced> {
        self.compare(path, path.symlink_metadata())
    }

    /// The same for a path whose end may be a link, such as the one that an operator gave.
    ///
    /// # Errors
    ///
    /// As [`FileIdentity::check`].
    pub fn check_followed(self, path: &Path) -> Result<(), Displaced> {
        self.compare(path, path.metadata()).map(drop)
    }

    fn compare(self, path: &Path, found: io::Result<Metadata>) -> Result<Metadata, Displaced> {
        match found {
            Ok(found) if Self::of(&found) == self => Ok(found),
            Ok(_) => Err(Displaced::Replaced(path.to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(Displaced::Removed(path.to_owned()))
            }
            Err(source) => Err(Displaced::Unknown { path: path.to_owned(), source }),
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
        assert!(matches!(identity.check(&file), Err(Displaced::Removed(_))));
        // A path through something that is no folder any more leads nowhere.
        assert!(matches!(identity.check(&other.join("file")), Err(Displaced::Removed(_))));
        fs::write(&file, "one").unwrap();
        assert!(matches!(identity.check(&file), Err(Displaced::Replaced(_))));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        assert!(matches!(identity.check(&file), Err(Displaced::Replaced(_))), "a link is another file");
        assert!(identity.check_followed(&file).is_ok());
    }
}
