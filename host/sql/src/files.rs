//! The files of an open database: their identities, and checks that their paths still lead to them and that none was
//! emptied.
//!
//! A commit to a removed or replaced file is lost when the process ends. So is a commit to a log that was emptied:
//! without the log's header, SQLite ignores its content. So the files are checked before each batch is acknowledged, and
//! the host checks idle databases.

mod events;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::{index_path, wal_path};
use events::FileEvents;
use watertight_disk::files::{FileChanged, FileIdentity, open_regular};

/// The length of a database file's header, in bytes. A file in use is never shorter.
const HEAD: u64 = 100;
/// The first four bytes of a write-ahead log that is not empty, without the last bit.
const LOG_MAGIC: u32 = 0x377f_0682;

/// The database file, its write-ahead log, and the log's index.
#[derive(Debug)]
pub(super) struct Files {
    database: (PathBuf, FileIdentity),
    log: (PathBuf, FileIdentity),
    index: (PathBuf, FileIdentity),
    wal: File,
    /// The kernel's events for the files. `None` if the kernel refused to watch them.
    events: Option<FileEvents>,
    /// Odd if the write-ahead log must have content, because the writer has committed since it last emptied the log.
    /// The number changes each time the log is emptied.
    state: AtomicU64,
}

impl Files {
    /// Identifies the files of the database at `path`, which SQLite has open. `database` is the identity of the
    /// database file from before SQLite opened it. Also returns a handle of the write-ahead log, for syncing it.
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
            // The watch begins before the first check of the files.
            events: FileEvents::watch(path).inspect_err(|error| unwatched(path, error)).ok(),
            state: AtomicU64::new(0),
        };
        files.check().map_err(io::Error::other)?;
        Ok((files, wal))
    }

    /// Records that the write-ahead log has content. Only the writer calls this, after a commit.
    pub(super) fn mark_log_filled(&self) {
        self.state.fetch_or(1, SeqCst);
    }

    /// Records that the write-ahead log is about to be emptied. Only the writer calls this.
    pub(super) fn mark_log_emptied(&self) {
        self.state.store((self.state.load(SeqCst) | 1) + 1, SeqCst);
    }

    /// Checks that every path leads to its file, and that the database file and its write-ahead log have their headers.
    /// Makes four system calls, none of which waits for the disk.
    pub(super) fn check(&self) -> Result<(), FileChanged> {
        self.check_paths()?;
        self.check_log()
    }

    /// Checks the database's files after a sync. Makes two short system calls if nothing happened to the files. Checks
    /// the paths too if something may have happened, or if the kernel sends no events.
    pub(super) fn check_after_sync(&self) -> Result<(), FileChanged> {
        match &self.events {
            Some(events) => events.check_if_changed(|| self.check_paths())?,
            None => self.check_paths()?,
        }
        self.check_log()
    }

    fn check_paths(&self) -> Result<(), FileChanged> {
        let (path, identity) = &self.database;
        if identity.metadata(path)?.len() < HEAD {
            return Err(FileChanged::Emptied(path.clone()));
        }
        for (path, identity) in [&self.log, &self.index] {
            identity.check(path)?;
        }
        Ok(())
    }

    fn check_log(&self) -> Result<(), FileChanged> {
        let path = &self.log.0;
        let state = self.state.load(SeqCst);
        let mut magic = [0; 4];
        let has_head = match self.wal.read_at(&mut magic, 0) {
            Ok(0) => state.is_multiple_of(2),
            Ok(_) => u32::from_be_bytes(magic) & !1 == LOG_MAGIC,
            Err(source) => return Err(FileChanged::Unreadable { path: path.clone(), source }),
        };
        // The writer may have emptied the log meanwhile.
        if has_head || self.state.load(SeqCst) != state { Ok(()) } else { Err(FileChanged::Emptied(path.clone())) }
    }
}

fn unwatched(path: &Path, error: &io::Error) {
    let database = path.display();
    tracing::debug!(target: "state", %database, %error, "the kernel can't watch the files of a database: they are checked after each sync");
}

/// Whether the database at `path` was in use when its process ended, and its write-ahead log has disappeared since.
/// Then the last commits are lost. SQLite creates the log before its index and removes it after the index, so an index
/// without a log means this.
pub fn has_lost_log(path: &Path) -> bool {
    index_path(path).exists() && matches!(wal_path(path).try_exists(), Ok(false))
}

/// Creates the file of a database if it is missing, readable by the host's user only. SQLite gives its other files the
/// same mode. Returns the file's identity.
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
        let reason = "it is not a regular file; symbolic links are not followed here";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(FileIdentity::of(&metadata))
}
