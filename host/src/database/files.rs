//! The files of an open database: which they are, and whether their paths still lead to them.
//!
//! A commit into a file that was removed, or that another took the place of, is lost with the process. So no batch is acknowledged before
//! that was looked at, and a database that does nothing is looked at by the host.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{beside, wal_path};
use crate::files::{Displaced, FileIdentity, open_regular};

/// The database file, its write-ahead log and the index of that.
#[derive(Debug)]
pub(super) struct Files([(PathBuf, FileIdentity); 3]);

impl Files {
    /// Identifies the files of the database at `path`, which SQLite has open: the file itself was `database` before it was opened. Returns
    /// a handle of the log too, for syncing.
    pub(super) fn identify(path: &Path, database: FileIdentity) -> io::Result<(Self, File)> {
        let (log, index) = (wal_path(path), beside(path, "-shm"));
        let wal = open_regular(&log, OpenOptions::new().read(true))?;
        let of_log = FileIdentity::of(&wal.metadata()?);
        let of_index = FileIdentity::at(&index)?;
        let files = Self([(path.to_owned(), database), (log, of_log), (index, of_index)]);
        files.check().map_err(io::Error::other)?;
        Ok((files, wal))
    }

    /// Checks that every path leads to its file. Three system calls, none of which waits for the disk.
    pub(super) fn check(&self) -> Result<(), Displaced> {
        self.0.iter().try_for_each(|(path, identity)| identity.check(path))
    }
}

/// Makes the file of a database, if there is none, readable to the host's user only. SQLite gives its other files the same mode.
/// Returns which file it is.
pub(super) fn create_private(path: &Path) -> io::Result<FileIdentity> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => drop(result?),
    }
    let metadata = path.symlink_metadata()?;
    if !metadata.is_file() {
        let reason = "it is no regular file, and no link is followed here";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(FileIdentity::of(&metadata))
}
