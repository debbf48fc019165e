//! Backups: folders with everything durable of an application, as of one moment.
//!
//! ```text
//! BACKUP/backup.json      the manifest: format, application, generation, time, host version, digest and size of each file
//! BACKUP/data/NAME.db     the database of module NAME
//! BACKUP/history.json     the history of published generations
//! BACKUP/artifacts/       the components of those generations
//! BACKUP/configurations/  the manifests and routes of those generations
//! ```
//!
//! A backup is written to a hidden folder, synced, and renamed, so a folder with the backup's own name is always complete. A backup
//! leaves out what a host can rebuild (compiled code) and secrets (`admin.token`, the modules' variables and secrets).

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
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_disk::files::{TEMPORARY_EXTENSION, copy_with_digest, write_durably};
use watertight_model::clock::now_text;
use watertight_model::config::{self, Overrides};
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::{Problems, with_causes};
use watertight_sql::CopyError;

pub use restore::{RestoreReport, restore};

/// The name of the file that describes the contents of a backup.
pub const MANIFEST: &str = "backup.json";
/// The version of the backup format.
const FORMAT: u32 = 1;
/// The most bytes that are read of a backup's manifest.
const MAX_MANIFEST: u64 = 1 << 20;
/// The name of the lock file that keeps two processes from writing the same backup. It is removed once the backup is complete.
const LOCK: &str = "unfinished";
/// The folders that both a backup and a state folder have.
const FOLDERS: [&str; 3] = ["data", "artifacts", "configurations"];
/// The name of the file with the history, both in a backup and in a state folder.
const HISTORY: &str = "history.json";

/// The reason why a backup or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A backup can't be written to the given path.
    #[error("a backup can't be written to {}: {reason}", .target.display())]
    Target {
        /// The folder to write the backup to.
        target: PathBuf,
        /// What is wrong with the target.
        reason: &'static str,
    },
    /// A file or folder can't be read or written.
    #[error("{} can't be used", .path.display())]
    File {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The databases could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state folder has no published generation.
    #[error("nothing was published in {} yet: there is nothing to back up", .0.display())]
    NothingPublished(PathBuf),
    /// The manifest and routes of the published generation can't be read.
    #[error("the manifest or routes of the last published generation can't be read: {0}")]
    Published(Problems),
    /// The limit of waiting backups is reached.
    #[error("too many backups are waiting already; try again")]
    Busy,
    /// A module with a new database was published during each attempt.
    #[error("a module with a new database was published during each attempt to back up; try again")]
    KeptChanging,
    /// The host stops, or the thread that wrote the backup failed.
    #[error("the host is stopping; no backup was written")]
    Stopping,
    /// The backup is damaged, incomplete, or of another application.
    #[error("{} is not a backup that can be restored: {reason}", .path.display())]
    Damaged {
        /// The damaged file, or the folder of the backup.
        path: PathBuf,
        /// What is wrong with the file or folder.
        reason: String,
    },
    /// The state folder is not empty.
    #[error(
        "the state folder {} isn't empty; `--replace` moves its contents into a folder inside it",
        .0.display()
    )]
    NotEmpty(PathBuf),
}

/// The manifest of a backup: what the backup contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The name of the application.
    pub app: String,
    /// The generation that was published last. A host that starts on the restored state folder runs it again.
    pub generation: GenerationNumber,
    /// The time of the backup, in RFC 3339.
    pub at: String,
    /// The version of the host that wrote the backup.
    pub host: String,
    /// Every file, by its path relative to the backup.
    pub files: BTreeMap<String, BackupFile>,
    /// Files of earlier generations that were missing or damaged, so that the backup lacks them. A rollback to those generations was
    /// impossible before the backup, too.
    pub left_out: Vec<String>,
}

/// The digest and size of one file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// The digest of the file's bytes.
    pub digest: Digest,
    /// The size of the file in bytes.
    pub size: u64,
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File { path: path.to_owned(), source }
}

/// A backup that is being written. Dropping it before [`Self::finish`] removes what it has written.
#[derive(Debug)]
pub struct BackupWriter {
    target: PathBuf,
    aside: PathBuf,
    files: BTreeMap<String, BackupFile>,
    left_out: Vec<String>,
    _lock: File,
    finished: bool,
}

impl BackupWriter {
    /// Starts a backup of the state folder `state`. `target` must be an absolute path at which nothing exists.
    ///
    /// # Errors
    ///
    /// [`BackupError::Target`] if a backup can't be written to `target`, and [`BackupError::File`] if a file or folder can't be created.
    pub fn begin(target: &Path, state: &Path) -> Result<Self, BackupError> {
        let refused = |reason| BackupError::Target { target: target.to_owned(), reason };
        let (Some(parent), Some(name), true) = (target.parent(), target.file_name(), target.is_absolute()) else {
            return Err(refused("it is not the absolute path of a new folder"));
        };
        if !parent.is_dir() {
            return Err(refused("its parent folder doesn't exist; create it first"));
        }
        let parent = parent.canonicalize().map_err(file_error(parent))?;
        if parent.starts_with(state.canonicalize().map_err(file_error(state))?) {
            return Err(refused("it is inside the state folder, and would be lost with it"));
        }
        let target = parent.join(name);
        let refused = |reason| BackupError::Target { target: target.clone(), reason };
        if target.symlink_metadata().is_ok() {
            return Err(refused("it exists already; name another folder"));
        }
        let aside = parent.join(format!(".{}.unfinished", name.to_string_lossy()));
        remove_interrupted(&aside, &refused)?;
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

    /// The path for the copy of a module's database.
    pub fn database(&self, module: &ModuleName) -> PathBuf {
        self.aside.join("data").join(format!("{module}.db"))
    }

    /// Adds the history and all components and configurations that it names, read from the state folder `state`. Skips files of earlier
    /// generations that are missing or damaged.
    ///
    /// # Errors
    ///
    /// A [`BackupError`] if a file can't be written, or if a file of the last published generation can't be read.
    pub fn add_history(&mut self, history: &History, state: &Path) -> Result<(), BackupError> {
        let file = self.aside.join(HISTORY);
        write_durably(&file, &history.to_json(), None).map_err(file_error(&file))?;
        let last = history.last().ok_or_else(|| BackupError::NothingPublished(state.to_owned()))?;
        let needed = last.files();
        for (name, digest) in history.published().iter().flat_map(|published| published.files()) {
            if self.aside.join(&name).exists() || self.left_out.contains(&name) {
                continue;
            }
            match copy(&state.join(&name), &self.aside.join(&name), Some(digest)) {
                Ok(_) => {}
                Err(CopyFailure::Write(error)) => return Err(error),
                Err(CopyFailure::Read(error)) if needed.contains_key(&name) => return Err(error),
                Err(CopyFailure::Read(error)) => {
                    let error = with_causes(&error);
                    tracing::warn!(%error, name, "a file of an earlier generation is left out of the backup");
                    self.left_out.push(name);
                }
            }
        }
        Ok(())
    }

    /// Writes the manifest, syncs everything, and renames the backup to its target.
    ///
    /// # Errors
    ///
    /// [`BackupError::File`] if a file can't be written, or if something else appeared at the target meanwhile.
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
        crash_point(CrashPoint::BackupWritten);
        rename_new(&self.aside, &self.target).map_err(file_error(&self.target))?;
        self.finished = true;
        let parent = self.target.parent().expect("it was checked");
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(file_error(parent))?;
        Ok(manifest)
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.finished {
            // The next backup to the same target removes what remains.
            let _ = remove_unfinished(&self.aside);
        }
    }
}

/// Returns the name of the application that was published last, and its generation.
///
/// # Errors
///
/// [`BackupError::NothingPublished`] if nothing was published, and [`BackupError::Published`] if the configuration can't be read.
pub fn application(history: &History, state: &Path) -> Result<(String, GenerationNumber), BackupError> {
    let last = history.last().ok_or_else(|| BackupError::NothingPublished(state.to_owned()))?;
    let files = history.files().configuration(&last.configuration).map_err(BackupError::Published)?;
    // Only the name is read, so it doesn't matter which capabilities the host has.
    let partial = config::parse_partial(&files, &Overrides::default()).map_err(BackupError::Published)?;
    Ok((partial.config.name.to_string(), last.number))
}

/// Returns the database files in a state folder, by module.
///
/// # Errors
///
/// [`BackupError::File`] if the folder can't be read.
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

/// Removes what an interrupted backup left at `aside`.
fn remove_interrupted(aside: &Path, refused: &impl Fn(&'static str) -> BackupError) -> Result<(), BackupError> {
    match aside.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.is_dir() => {}
        result => {
            result.map_err(file_error(aside))?;
            return Err(refused("the name of its temporary folder is in use by something else"));
        }
    }
    let lock = aside.join(LOCK);
    match File::open(&lock) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused("another backup is being written there")),
            Err(TryLockError::Error(error)) => return Err(file_error(aside)(error)),
        },
        // The earlier backup crashed before it created the lock file, or after it removed it. Only a backup leaves an empty folder or one
        // with a history under this name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_empty = fs::read_dir(aside).map_err(file_error(aside))?.next().is_none();
            if !is_empty && !aside.join(HISTORY).exists() {
                return Err(refused("the name of its temporary folder is in use by something else"));
            }
        }
        Err(error) => return Err(file_error(&lock)(error)),
    }
    remove_unfinished(aside).map_err(file_error(aside))
}

/// Removes an unfinished backup. Its identifying files go last, so that a later call can continue an interrupted removal.
fn remove_unfinished(aside: &Path) -> io::Result<()> {
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for folder in FOLDERS {
        gone(fs::remove_dir_all(aside.join(folder)))?;
    }
    for file in [MANIFEST, HISTORY, LOCK] {
        gone(fs::remove_file(aside.join(file).with_extension(TEMPORARY_EXTENSION)))?;
        gone(fs::remove_file(aside.join(file)))?;
    }
    fs::remove_dir(aside)
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(0o700).create(folder).map_err(file_error(folder))
}

/// Renames a folder, unless something exists at the new path.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems don't support the flag. A plain rename replaces only an empty folder.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => fs::rename(from, to),
        result => Ok(result?),
    }
}

/// Syncs a file, and returns its digest and size.
fn measure(path: &Path) -> io::Result<BackupFile> {
    let file = File::open(path)?;
    file.sync_all()?;
    let (digest, size) = copy_with_digest(&file, io::sink())?;
    Ok(BackupFile { digest, size })
}

/// The reason why a file of a backup was not copied.
enum CopyFailure {
    /// The source can't be read, or has another digest than expected.
    Read(BackupError),
    /// The copy can't be written.
    Write(BackupError),
}

impl From<CopyFailure> for BackupError {
    fn from(failed: CopyFailure) -> Self {
        let (CopyFailure::Read(error) | CopyFailure::Write(error)) = failed;
        error
    }
}

/// Copies a file durably to a path at which nothing exists. Removes the copy if its digest is not `expected`.
fn copy(from: &Path, to: &Path, expected: Option<Digest>) -> Result<BackupFile, CopyFailure> {
    let source = File::open(from).map_err(|error| CopyFailure::Read(file_error(from)(error)))?;
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut new = new.map_err(|error| CopyFailure::Write(file_error(to)(error)))?;
    let copied = copy_with_digest(&source, &mut new).and_then(|copied| new.sync_all().map(|()| copied));
    let (digest, size) = copied.map_err(|error| {
        let _ = fs::remove_file(to);
        CopyFailure::Write(file_error(to)(error))
    })?;
    if expected.is_some_and(|expected| expected != digest) {
        let _ = fs::remove_file(to);
        let reason = "its contents don't match the recorded digest".to_owned();
        return Err(CopyFailure::Read(BackupError::Damaged { path: from.to_owned(), reason }));
    }
    Ok(BackupFile { digest, size })
}
