//! The files of an open database: which they are, whether their paths still lead to them, and whether somebody has emptied one.
//!
//! A commit into a file that was removed, or that another took the place of, is lost with the process. So is one into a log that was emptied:
//! without its head, SQLite passes by all that stands in it. So no batch is acknowledged before that was looked at, and a database that
//! does nothing is looked at by the host.

mod events;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::{index_path, wal_path};
use events::FileEvents;
use watertight_disk::files::{Displaced, FileIdentity, open_regular};

/// The length of a database file's head. A file that is in use is never shorter.
const HEAD: u64 = 100;
/// What a log that holds anything begins with, apart from the last bit.
const LOG_MAGIC: u32 = 0x377f_0682;

/// The database file, its write-ahead log and the index of that.
#[derive(Debug)]
pub(super) struct Files {
    database: (PathBuf, FileIdentity),
    log: (PathBuf, FileIdentity),
    index: (PathBuf, FileIdentity),
    wal: File,
    /// There unless the kernel refused to watch.
    events: Option<FileEvents>,
    /// Odd where the writer has left something in the log; even where it is empty, perhaps. Another number each time that it is emptied.
    state: AtomicU64,
}

impl Files {
    /// Identifies the files of the database at `path`, which SQLite has open: the file itself was `database` before it was opened. Returns
    /// a handle of the log too, for syncing.
    pub(super) fn identify(path: &Path, database: FileIdentity) -> io::Result<(Self, File)> {
        let (log, index) = (wal_path(path), index_path(path));
        let wal = open_regular(&log, OpenOptions::new().read(true))?;
        let of_log = FileIdentity::of(&wal.metadata()?);
        let of_index = FileIdentity::at(&index)?;
        let files = Self {
            database: (path.to_owned(), database),
            log: (log, of_log),
            index: (index, of_index),
            wal: wal.try_clone()?,
            // From before the files are looked at for the first time.
            events: FileEvents::watch(path).inspect_err(|error| unwatched(path, error)).ok(),
            state: AtomicU64::new(0),
        };
        files.check().map_err(io::Error::other)?;
        Ok((files, wal))
    }

    /// Notes that there is something in the log. For the writer alone, after a commit.
    pub(super) fn log_filled(&self) {
        self.state.fetch_or(1, SeqCst);
    }

    /// Notes that the log is about to be emptied. For the writer alone.
    pub(super) fn log_emptied(&self) {
        self.state.store((self.state.load(SeqCst) | 1) + 1, SeqCst);
    }

    /// Checks that every path leads to its file, and that the database and its log have their heads. Four system calls, none of which waits
    /// for the disk.
    pub(super) fn check(&self) -> Result<(), Displaced> {
        let (path, identity) = &self.database;
        if identity.metadata(path)?.len() < HEAD {
            return Err(Displaced::Emptied(path.clone()));
        }
        for (path, identity) in [&self.log, &self.index] {
            identity.check(path)?;
        }
        self.check_log()
    }

    /// The same, to be called after each sync: two short system calls where nothing happened to the files, and all of [`Self::check`] where
    /// something may have, or where the kernel doesn't tell.
    pub(super) fn check_after_sync(&self) -> Result<(), Displaced> {
        match &self.events {
            Some(events) => events.if_any(|| self.check()).and_then(|()| self.check_log()),
            None => self.check(),
        }
    }

    fn check_log(&self) -> Result<(), Displaced> {
        let path = &self.log.0;
        let state = self.state.load(SeqCst);
        let mut magic = [0; 4];
        let has_head = match self.wal.read_at(&mut magic, 0) {
            Ok(0) => state.is_multiple_of(2),
            Ok(_) => u32::from_be_bytes(magic) & !1 == LOG_MAGIC,
            Err(source) => return Err(Displaced::Unknown { path: path.clone(), source }),
        };
        // The writer may have emptied it meanwhile.
        if has_head || self.state.load(SeqCst) != state { Ok(()) } else { Err(Displaced::Emptied(path.clone())) }
    }
}

fn unwatched(path: &Path, error: &io::Error) {
    let database = path.display();
    tracing::debug!(target: "state", %database, %error, "the kernel doesn't watch a database: its files are looked at after each sync");
}

/// Whether the database at `path` was in use when its process ended, and its log is gone since: SQLite makes the log before its index, and
/// removes it after that. What was committed last is gone with it.
pub fn has_lost_log(path: &Path) -> bool {
    index_path(path).exists() && matches!(wal_path(path).try_exists(), Ok(false))
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
