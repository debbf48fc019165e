//! Restores a backup: checks it completely, copies it into the state folder beside the existing contents, and renames it into place.
//!
//! A marker file in the state folder says that the renaming is in progress, and no host starts on such a folder. An interrupted restore
//! thus leaves either the old state, or one that must be restored again. A restore moves existing contents aside and never deletes them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use super::{BackupError, BackupFile, FOLDERS, FORMAT, HISTORY, MANIFEST, MAX_MANIFEST, Manifest, copy, file_error};
use crate::state::{RESTORING, StateFolder};
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_disk::files::{copy_with_digest, write_durably};
use watertight_model::clock::now_text;
use watertight_model::ids::{Digest, ModuleName};
use watertight_model::problem::with_causes;

/// The name of the folder inside the state folder into which a backup is copied.
const COPIED: &str = "restore.tmp";

/// The result of a restore.
#[derive(Debug)]
pub struct RestoreReport {
    /// The manifest of the restored backup.
    pub manifest: Manifest,
    /// The folder that holds the previous contents of the state folder; `None` if it was empty.
    pub moved_to: Option<PathBuf>,
}

/// Restores the backup at `from` into the state folder at `state`, which is created if it is missing. With `replace`, existing contents are
/// moved into a new folder inside it. Without, the state folder must be empty apart from the admin token and compiled code, which stay.
/// If `app` is given, the backup must be of the application with that name.
///
/// # Errors
///
/// [`BackupError`]. The state is unchanged, unless renaming a file failed: then no host starts on the folder until a restore succeeds.
pub fn restore(from: &Path, state: &Path, app: Option<&str>, replace: bool) -> Result<RestoreReport, BackupError> {
    let manifest = check(from, app)?;
    let folder = StateFolder::open_for_restore(state)?;
    let state = folder.path();
    let unfinished = state.join(RESTORING).exists();
    let there = existing_names(state)?;
    // After an interrupted restore, the contents are the copy itself or contents that were to be moved aside.
    if !there.is_empty() && !replace && !unfinished {
        return Err(BackupError::NotEmpty(state.to_owned()));
    }
    let copied = state.join(COPIED);
    if copied.symlink_metadata().is_ok() {
        fs::remove_dir_all(&copied).map_err(file_error(&copied))?;
    }
    if let Err(error) = copy_all(from, &manifest, &copied) {
        let _ = fs::remove_dir_all(&copied);
        return Err(error);
    }
    crash_point(CrashPoint::RestoreCopied);
    let moved = (!there.is_empty()).then(|| new_name(state));
    let mark = state.join(RESTORING);
    write_durably(&mark, format!("{}\n", from.display()).as_bytes(), None).map_err(file_error(&mark))?;
    crash_point(CrashPoint::RestoreMarked);
    if let Some(moved) = &moved {
        super::make_folder(moved)?;
        for name in &there {
            rename(&state.join(name), &moved.join(name))?;
        }
        sync(moved)?;
    }
    crash_point(CrashPoint::RestoreMoved);
    for name in FOLDERS {
        // An empty folder was not moved aside, so it still exists.
        match fs::remove_dir(state.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(state)(error)),
            _ => {}
        }
        rename(&copied.join(name), &state.join(name))?;
    }
    rename(&copied.join(HISTORY), &state.join(HISTORY))?;
    sync(state)?;
    crash_point(CrashPoint::RestorePlaced);
    fs::remove_file(&mark).map_err(file_error(&mark))?;
    fs::remove_dir(&copied).map_err(file_error(&copied))?;
    sync(state)?;
    Ok(RestoreReport { manifest, moved_to: moved })
}

/// Returns the names in a state folder that a restore would replace.
fn existing_names(state: &Path) -> Result<Vec<&'static str>, BackupError> {
    let mut there = Vec::new();
    for name in FOLDERS {
        let folder = state.join(name);
        match fs::read_dir(&folder) {
            Ok(mut entries) => there.extend(entries.next().map(|_| name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error(&folder)(error)),
        }
    }
    if state.join(HISTORY).symlink_metadata().is_ok() {
        there.push(HISTORY);
    }
    Ok(there)
}

/// Reads a backup's manifest, and checks every file of the backup against it.
fn check(from: &Path, app: Option<&str>) -> Result<Manifest, BackupError> {
    let spoilt = |path: &Path, reason: String| BackupError::Damaged { path: path.to_owned(), reason };
    let file = from.join(MANIFEST);
    let mut text = Vec::new();
    let read = File::open(&file).and_then(|open| open.take(MAX_MANIFEST + 1).read_to_end(&mut text));
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            spoilt(from, format!("it has no `{MANIFEST}`, which `watertight backup` writes last"))
        }
        _ => file_error(&file)(error),
    })?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| spoilt(&file, error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(spoilt(&file, format!("it has format {}, and this host knows only {FORMAT}", manifest.format)));
    }
    if let Some(app) = app.filter(|app| *app != manifest.app) {
        return Err(spoilt(from, format!("it is a backup of the application `{}`, and this is `{app}`", manifest.app)));
    }
    for (name, entry) in &manifest.files {
        if !is_file_of_a_backup(name) {
            return Err(spoilt(&file, format!("`{name}` is not a file that a backup can have")));
        }
        let path = from.join(name);
        let found = path.symlink_metadata().map_err(file_error(&path))?;
        if !found.is_file() || found.len() != entry.size {
            return Err(spoilt(&path, format!("it is not a file of {} bytes", entry.size)));
        }
        let (digest, _) =
            File::open(&path).and_then(|file| copy_with_digest(file, std::io::sink())).map_err(file_error(&path))?;
        if digest != entry.digest {
            return Err(spoilt(&path, format!("its digest is {digest}, and the backup recorded {}", entry.digest)));
        }
    }
    let history = StateFolder::read_history(from).map_err(|error| spoilt(from, with_causes(&error)))?;
    let last = history.last().filter(|last| last.number == manifest.generation);
    let last =
        last.ok_or_else(|| spoilt(from, "its history and its manifest name different generations".to_owned()))?;
    let missing = last.files().into_keys().chain([HISTORY.to_owned()]).find(|name| !manifest.files.contains_key(name));
    match missing {
        Some(name) => Err(spoilt(from, format!("`{name}` is missing"))),
        None => Ok(manifest),
    }
}

/// Whether `name` is a path that a backup may contain. Nothing else is read or written, so a forged manifest can't reach other files.
fn is_file_of_a_backup(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let (Some(Component::Normal(first)), second, None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_digest = |stem: &str| format!("sha256:{stem}").parse::<Digest>().is_ok_and(|digest| digest.hex() == stem);
    match (first.to_str(), second) {
        (Some(HISTORY), None) => name == HISTORY,
        (Some(folder), Some(Component::Normal(file))) => {
            let Some((stem, extension)) = file.to_str().and_then(|file| file.rsplit_once('.')) else { return false };
            name == format!("{folder}/{stem}.{extension}")
                && match (folder, extension) {
                    ("data", "db") => stem.parse::<ModuleName>().is_ok(),
                    ("artifacts", "wasm") | ("configurations", "json") => is_digest(stem),
                    _ => false,
                }
        }
        _ => false,
    }
}

fn copy_all(from: &Path, manifest: &Manifest, copied: &Path) -> Result<(), BackupError> {
    super::make_folder(copied)?;
    for folder in FOLDERS {
        super::make_folder(&copied.join(folder))?;
    }
    for (name, BackupFile { digest, .. }) in &manifest.files {
        copy(&from.join(name), &copied.join(name), Some(*digest))?;
    }
    for folder in FOLDERS {
        sync(&copied.join(folder))?;
    }
    sync(copied)
}

/// Returns an unused path inside the state folder.
fn new_name(state: &Path) -> PathBuf {
    let at = now_text().replace(':', "-");
    let name = |number: u32| state.join(format!("before-restore-{at}-{number}"));
    (1..).map(name).find(|path| path.symlink_metadata().is_err()).expect("a folder has fewer entries than numbers")
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(file_error(from))
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_points_nowhere_else() {
        let digest = Digest::of(b"").hex();
        for name in [
            "history.json",
            "data/a-b.db",
            &format!("artifacts/{digest}.wasm"),
            &format!("configurations/{digest}.json"),
        ] {
            assert!(is_file_of_a_backup(name), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../history.json",
            "data/../history.json",
            "data/../../a.db",
            "./data/a.db",
            "data//a.db",
            "data/a.db/",
            "data/a.db-wal",
            "data/A.db",
            "data/.db",
            "admin.token",
            "lock",
            "restoring",
            "code/a.cwasm",
            "artifacts/a.wasm",
            &format!("artifacts/{}.wasm", digest.to_uppercase()),
            &format!("artifacts/{digest}.json"),
            &format!("data/{digest}.wasm"),
        ] {
            assert!(!is_file_of_a_backup(name), "{name}");
        }
    }
}
