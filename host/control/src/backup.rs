//! Backups: a folder with everything that lasts of an application, as it was at one moment.
//!
//! ```text
//! BACKUP/backup.json      what is in it: format, application, generation, when, by which host, and each file's digest and size
//! BACKUP/data/NAME.db     the modules' databases
//! BACKUP/history.json     what was published
//! BACKUP/artifacts/       the components of those generations
//! BACKUP/configurations/  their manifests and routes
//! ```
//!
//! It is written aside, in a folder whose name begins with a dot, synced, and renamed: under its own name it is whole or not there. What a
//! host can make again (compiled code) and secrets (`admin.token`, what modules are told) are not in it.

mod restore;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::state::{History, StateError};
use watertight_disk::failpoint::{Point, crash_point};
use watertight_disk::files::{ASIDE, copy_digested, write_durably};
use watertight_model::clock::now_text;
use watertight_model::config::{self, Overrides};
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::Problems;
use watertight_sql::CopyError;

pub use restore::{Restored, restore};

/// The file that says what is in a backup.
pub const MANIFEST: &str = "backup.json";
/// The version of its format.
const FORMAT: u32 = 1;
/// The most that is read of it.
const MAX_MANIFEST: u64 = 1 << 20;
/// What keeps two from writing the same backup; gone once it is whole.
const LOCK: &str = "unfinished";
/// The folders of a backup, and of a state folder.
const FOLDERS: [&str; 3] = ["data", "artifacts", "configurations"];
/// The history's file.
const HISTORY: &str = "history.json";

/// Why nothing was backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is not one that a backup can be written to.
    #[error("a backup can't be written to {}: {reason}", .target.display())]
    Target {
        /// The folder.
        target: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A file or folder can't be read or written.
    #[error("{} can't be used", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The databases could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nothing was published in the state folder.
    #[error("nothing was published in {} yet: there is nothing to back up", .0.display())]
    Nothing(PathBuf),
    /// What is published can't be read.
    #[error("what is published can't be read: {0}")]
    Published(Problems),
    /// Other backups wait.
    #[error("too many backups wait already; try again")]
    Busy,
    /// New modules with databases were published each time it was tried.
    #[error("modules with new databases were published again and again meanwhile; try again")]
    Restless,
    /// The host stops, or failed.
    #[error("the host stops; nothing was written")]
    Stopping,
    /// It is no whole backup, or not of this application.
    #[error("{} is no backup that can be restored: {reason}", .path.display())]
    Spoilt {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The state folder has something in it.
    #[error(
        "the state folder {} isn't empty; with `--replace`, what is there is moved into a folder within it",
        .0.display()
    )]
    NotEmpty(PathBuf),
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The application's name.
    pub app: String,
    /// What was published last, and what a start on the restored state resumes.
    pub generation: GenerationNumber,
    /// When it was taken, RFC 3339.
    pub at: String,
    /// The version of the host that took it.
    pub host: String,
    /// Every file, by its path within the backup.
    pub files: BTreeMap<String, Entry>,
    /// Files of earlier generations that were gone or damaged: to those there is no way back, as there was none before.
    pub left_out: Vec<String>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File { path: path.to_owned(), source }
}

/// A backup that is being written. Dropped before its end, it takes what it has written with it.
#[derive(Debug)]
pub struct Unfinished {
    target: PathBuf,
    aside: PathBuf,
    files: BTreeMap<String, Entry>,
    left_out: Vec<String>,
    _lock: File,
    finished: bool,
}

impl Unfinished {
    /// Begins a backup of what is in `state`, to be at `target`, which must be absolute and not there yet.
    ///
    /// # Errors
    ///
    /// [`BackupError::Target`] and [`BackupError::File`].
    pub fn begin(target: &Path, state: &Path) -> Result<Self, BackupError> {
        let refused = |reason| BackupError::Target { target: target.to_owned(), reason };
        let (Some(parent), Some(name), true) = (target.parent(), target.file_name(), target.is_absolute()) else {
            return Err(refused("it is no absolute path of a new folder"));
        };
        if !parent.is_dir() {
            return Err(refused("the folder that it is to stand in isn't there; make it first"));
        }
        let parent = parent.canonicalize().map_err(file_error(parent))?;
        if parent.starts_with(state.canonicalize().map_err(file_error(state))?) {
            return Err(refused("it is inside of the state folder, and would be lost with it"));
        }
        let target = parent.join(name);
        let refused = |reason| BackupError::Target { target: target.clone(), reason };
        if target.symlink_metadata().is_ok() {
            return Err(refused("it is there already; name another folder"));
        }
        let aside = parent.join(format!(".{}.unfinished", name.to_string_lossy()));
        clear(&aside, &refused)?;
        make_folder(&aside)?;
        let lock = aside.join(LOCK);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock);
        let _lock = open.map_err(file_error(&lock))?;
        _lock.try_lock().map_err(|_| refused("another backup is being written there"))?;
        let unfinished = Self { target, aside, files: BTreeMap::new(), left_out: Vec::new(), _lock, finished: false };
        for folder in FOLDERS {
            make_folder(&unfinished.aside.join(folder))?;
        }
        Ok(unfinished)
    }

    /// Where the copy of a module's database goes.
    pub fn database(&self, module: &ModuleName) -> PathBuf {
        self.aside.join("data").join(format!("{module}.db"))
    }

    /// Adds the history, and all that it tells of, out of the state folder at `state`.
    ///
    /// # Errors
    ///
    /// Where it can't be written, or something of what was published last can't be read; what is gone or damaged of earlier ones is left
    /// out.
    pub fn add_history(&mut self, history: &History, state: &Path) -> Result<(), BackupError> {
        let file = self.aside.join(HISTORY);
        write_durably(&file, &history.to_json(), None).map_err(file_error(&file))?;
        let last = history.last().ok_or_else(|| BackupError::Nothing(state.to_owned()))?;
        let needed = last.files();
        for (name, digest) in history.published().iter().flat_map(|published| published.files()) {
            if self.aside.join(&name).exists() || self.left_out.contains(&name) {
                continue;
            }
            match copy(&state.join(&name), &self.aside.join(&name), Some(digest)) {
                Ok(_) => {}
                Err(Failed::Write(error)) => return Err(error),
                Err(Failed::Read(error)) if needed.contains_key(&name) => return Err(error),
                Err(Failed::Read(error)) => {
                    tracing::warn!(%error, name, "a file of an earlier generation is left out of the backup");
                    self.left_out.push(name);
                }
            }
        }
        Ok(())
    }

    /// Makes what was written last, and gives it its name.
    ///
    /// # Errors
    ///
    /// Where it can't be written, or something has taken its place meanwhile.
    pub fn finish(mut self, app: String, generation: GenerationNumber) -> Result<Manifest, BackupError> {
        for folder in FOLDERS.iter().map(|name| self.aside.join(name)).chain([self.aside.clone()]) {
            for entry in fs::read_dir(&folder).map_err(file_error(&folder))? {
                let path = entry.map_err(file_error(&folder))?.path();
                if path.is_dir() || path.file_name().is_some_and(|name| name == LOCK) {
                    continue;
                }
                let name = path.strip_prefix(&self.aside).expect("it was found there").to_string_lossy().into_owned();
                let entry = measure(&path).map_err(file_error(&path))?;
                self.files.insert(name, entry);
            }
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(file_error(&folder))?;
        }
        let at = now_text();
        let (files, left_out) = (std::mem::take(&mut self.files), std::mem::take(&mut self.left_out));
        let host = env!("CARGO_PKG_VERSION").to_owned();
        let manifest = Manifest { format: FORMAT, app, generation, at, host, files, left_out };
        let file = self.aside.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).expect("names, digests and numbers are JSON");
        fs::remove_file(self.aside.join(LOCK)).map_err(file_error(&self.aside))?;
        write_durably(&file, &text, None).map_err(file_error(&file))?;
        crash_point(Point::BackupWritten);
        rename_new(&self.aside, &self.target).map_err(file_error(&self.target))?;
        self.finished = true;
        let parent = self.target.parent().expect("it was checked");
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(file_error(parent))?;
        Ok(manifest)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // What can't be removed is removed by the next backup to the same place.
            let _ = remove(&self.aside);
        }
    }
}

/// The name of the application that was published last.
///
/// # Errors
///
/// Where nothing was, or it can't be read.
pub fn application(history: &History, state: &Path) -> Result<(String, GenerationNumber), BackupError> {
    let last = history.last().ok_or_else(|| BackupError::Nothing(state.to_owned()))?;
    let files = history.kept().configuration(&last.configuration).map_err(BackupError::Published)?;
    let config = config::parse(&files, &Overrides::default()).map_err(BackupError::Published)?;
    Ok((config.name.to_string(), last.number))
}

/// The databases in a state folder, by module.
///
/// # Errors
///
/// Where the folder can't be read.
pub fn databases(state: &Path) -> Result<BTreeMap<ModuleName, PathBuf>, BackupError> {
    let folder = state.join("data");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(file_error(&folder))? {
        let path = entry.map_err(file_error(&folder))?.path();
        let is_database = path.extension().is_some_and(|extension| extension == "db");
        let module = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (true, Some(module)) = (is_database, module) {
            found.insert(module, path);
        }
    }
    Ok(found)
}

/// Removes what a backup that was ended by force has left at `aside`.
fn clear(aside: &Path, refused: &impl Fn(&'static str) -> BackupError) -> Result<(), BackupError> {
    match aside.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.is_dir() => {}
        result => {
            result.map_err(file_error(aside))?;
            return Err(refused("something else has the name under which it is written"));
        }
    }
    let lock = aside.join(LOCK);
    match File::open(&lock) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused("another backup is being written there")),
            Err(TryLockError::Error(error)) => return Err(file_error(aside)(error)),
        },
        // It ended before it began, or when it was all but done: nothing else makes these files there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_empty = fs::read_dir(aside).map_err(file_error(aside))?.next().is_none();
            if !is_empty && !aside.join(HISTORY).exists() {
                return Err(refused("something else has the name under which it is written"));
            }
        }
        Err(error) => return Err(file_error(&lock)(error)),
    }
    remove(aside).map_err(file_error(aside))
}

/// Removes an unfinished backup: last what it is known by, so that a removal that doesn't end can be taken up again.
fn remove(aside: &Path) -> io::Result<()> {
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for folder in FOLDERS {
        gone(fs::remove_dir_all(aside.join(folder)))?;
    }
    for file in [MANIFEST, HISTORY, LOCK] {
        gone(fs::remove_file(aside.join(file).with_extension(ASIDE)))?;
        gone(fs::remove_file(aside.join(file)))?;
    }
    fs::remove_dir(aside)
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(0o700).create(folder).map_err(file_error(folder))
}

/// Renames where nothing has the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag. Only an empty folder would be replaced then.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => fs::rename(from, to),
        result => Ok(result?),
    }
}

/// Makes a file last, and measures it.
fn measure(path: &Path) -> io::Result<Entry> {
    let file = File::open(path)?;
    file.sync_all()?;
    let (digest, size) = copy_digested(&file, io::sink())?;
    Ok(Entry { digest, size })
}

/// Why a file was not copied.
enum Failed {
    /// It can't be read, or isn't what it should be.
    Read(BackupError),
    /// The copy can't be written.
    Write(BackupError),
}

impl From<Failed> for BackupError {
    fn from(failed: Failed) -> Self {
        let (Failed::Read(error) | Failed::Write(error)) = failed;
        error
    }
}

/// Copies a file durably to where none is; of what has another digest nothing stays.
fn copy(from: &Path, to: &Path, expected: Option<Digest>) -> Result<Entry, Failed> {
    let source = File::open(from).map_err(|error| Failed::Read(file_error(from)(error)))?;
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut new = new.map_err(|error| Failed::Write(file_error(to)(error)))?;
    let copied = copy_digested(&source, &mut new).and_then(|copied| new.sync_all().map(|()| copied));
    let (digest, size) = copied.map_err(|error| {
        let _ = fs::remove_file(to);
        Failed::Write(file_error(to)(error))
    })?;
    if expected.is_some_and(|expected| expected != digest) {
        let _ = fs::remove_file(to);
        let reason = "its bytes have another digest than they should".to_owned();
        return Err(Failed::Read(BackupError::Spoilt { path: from.to_owned(), reason }));
    }
    Ok(Entry { digest, size })
}
