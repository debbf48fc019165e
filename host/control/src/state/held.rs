//! Holds the state folder: locks it for one process, closes it to other users, and detects that its path leads elsewhere.
//!
//! The lock is on the folder itself, so removing a file in it does not release the lock. The file `lock` in it is locked as well, because
//! older hosts check only that file. Its text names the running host. The host rewrites the file if somebody removes it.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{HostInfo, StateError};
use watertight_disk::files::{FileChanged, FileIdentity, create_new, open_regular};

/// The name of the file that names the running host.
const LOCK: &str = "lock";
/// The most bytes that are read of the file `lock`.
const MAX_TEXT: u64 = 4096;
/// Greatest number of attempts to lock a folder, and the pause between two. A process that only checks whether a host runs holds the lock
/// for a moment.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The permission bits that let other users change a folder's contents, and those that let them read or enter it.
const OTHERS_WRITE: u32 = 0o022;
const OTHERS_REACH: u32 = 0o055;

/// A state folder that this process holds until the value is dropped.
#[derive(Debug)]
pub(super) struct HeldFolder {
    path: PathBuf,
    /// The locked folder. While it is open, the file system can't give its inode to another folder.
    folder: File,
    identity: FileIdentity,
    lock: Mutex<LockFile>,
}

#[derive(Debug)]
struct LockFile {
    file: File,
    identity: FileIdentity,
    /// The host that this process last wrote into the file `lock`.
    host: Option<HostInfo>,
    /// Whether the last attempt to write the file `lock` again failed. Such a failure is logged once.
    failed: bool,
}

impl HeldFolder {
    /// Creates the folder if it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { folder: path.to_owned(), source };
        make_folder_followed(path).map_err(unusable)?;
        let folder = File::open(path).map_err(unusable)?;
        let metadata = folder.metadata().map_err(unusable)?;
        check_owner(path, &metadata)?;
        let locked = || StateError::Locked { folder: path.to_owned(), host: read_host(path).map(Box::new) };
        lock_exclusively(&folder).map_err(|error| match error {
            TryLockError::WouldBlock => locked(),
            TryLockError::Error(error) => unusable(error),
        })?;
        // If the folder was removed or replaced since it was opened, the next process would lock a different one.
        let identity = FileIdentity::of(&metadata);
        identity.check_following_links(path).map_err(|error| unusable(io::Error::other(error)))?;
        let lock = LockFile::take(path).map_err(|error| match error {
            TryLockError::WouldBlock => locked(),
            TryLockError::Error(error) => {
                unusable(io::Error::new(error.kind(), format!("{}: {error}", path.join(LOCK).display())))
            }
        })?;
        Ok(Self { path: path.to_owned(), folder, identity, lock: Mutex::new(lock) })
    }

    /// Returns the host that holds the folder at `path`. `None` if no process holds it, or if the file `lock` doesn't name a host.
    pub(super) fn holder(path: &Path) -> Option<HostInfo> {
        let is_held = |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        let by_folder = File::open(path).is_ok_and(is_held);
        let by_file = || open_regular(&path.join(LOCK), OpenOptions::new().read(true)).is_ok_and(is_held);
        if by_folder || by_file() { read_host(path) } else { None }
    }

    /// Writes the identity and addresses of the running host into the file `lock`.
    pub(super) fn announce(&self, host: &HostInfo) -> io::Result<()> {
        let mut lock = self.lock_file();
        lock.host = Some(host.clone());
        write_host(&lock.file, host)
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the path still leads to the held folder. Rewrites the file `lock` if it was removed or replaced.
    ///
    /// # Errors
    ///
    /// [`FileChanged`] if the path leads to another folder or to none.
    pub(super) fn check(&self) -> Result<(), FileChanged> {
        self.identity.check_following_links(&self.path)?;
        if self.folder.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
            return Err(FileChanged::Removed(self.path.clone()));
        }
        let mut lock = self.lock_file();
        let file = self.path.join(LOCK);
        if let Err(displaced) = lock.identity.check(&file) {
            match lock.write_anew(&self.path) {
                Ok(()) => {
                    tracing::warn!(target: "state", "{displaced}, and was written again; the host still holds the folder");
                    lock.failed = false;
                }
                Err(error) if !lock.failed => {
                    tracing::error!(target: "state", %error, "{displaced}, and can't be written again; the host still holds the folder");
                    lock.failed = true;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn lock_file(&self) -> MutexGuard<'_, LockFile> {
        // A panic can't leave a field half-written, so a poisoned lock is safe to use.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockFile {
    fn take(folder: &Path) -> Result<Self, TryLockError> {
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open_regular(&path, &mut options).map_err(TryLockError::Error)?;
        let metadata = file.metadata().map_err(TryLockError::Error)?;
        // The host writes to this file. A second hard link could be any other file of the user.
        if metadata.nlink() > 1 {
            let reason = "it has a second hard link, so writing to it would change another file; remove it";
            return Err(TryLockError::Error(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        lock_exclusively(&file)?;
        // An earlier host's text says nothing about this host.
        file.set_len(0).map_err(TryLockError::Error)?;
        Ok(Self { file, identity: FileIdentity::of(&metadata), host: None, failed: false })
    }

    /// Creates a new file with the process id and addresses of the host, and renames it to `lock`.
    fn write_anew(&mut self, folder: &Path) -> io::Result<()> {
        let aside = folder.join("lock.new");
        let file = create_new(&aside)?;
        file.try_lock()?;
        if let Some(host) = &self.host {
            write_host(&file, host)?;
        }
        std::fs::rename(aside, folder.join(LOCK))?;
        self.identity = FileIdentity::of(&file.metadata()?);
        self.file = file;
        Ok(())
    }
}

fn write_host(mut lock: &File, host: &HostInfo) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(&serde_json::to_vec(host)?)
}

fn read_host(folder: &Path) -> Option<HostInfo> {
    let lock = open_regular(&folder.join(LOCK), OpenOptions::new().read(true)).ok()?;
    let mut text = String::new();
    lock.take(MAX_TEXT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Locks a file exclusively. Fails if another process holds the lock during all attempts.
fn lock_exclusively(file: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            done => return done,
        }
    }
    file.try_lock()
}

/// Refuses a folder that other users can write to, and warns about one that they can read.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StateError> {
    let open = |reason| Err(StateError::Insecure { path: path.to_owned(), reason });
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return open(
            "belongs to another user, who could replace what is in it; run `chown` on it, or name another one",
        );
    }
    let mode = metadata.permissions().mode();
    if mode & OTHERS_WRITE != 0 {
        return open("can be written by other users, who could replace what is in it; run `chmod 700` on it");
    }
    if mode & OTHERS_REACH != 0 {
        let mode = format!("{:03o}", mode & 0o777);
        tracing::warn!(target: "state", folder = %path.display(), mode, "other users can read the state folder; run `chmod 700` on it");
    }
    Ok(())
}

/// Creates a folder inside the state folder that only this user can access. Refuses an existing one that is a symbolic link or that other
/// users can write to.
pub(super) fn make_folder(path: &Path) -> Result<(), StateError> {
    let unusable = |source| StateError::Unusable { folder: path.to_owned(), source };
    if path.is_symlink() {
        let reason =
            "is a symbolic link, and the host follows none inside a state folder; mount the other folder there instead";
        return Err(StateError::Insecure { path: path.to_owned(), reason });
    }
    make_folder_followed(path).map_err(unusable)?;
    check_owner(path, &path.symlink_metadata().map_err(unusable)?)
}

/// Creates a folder that only this user can access, and syncs its parents. Otherwise a power failure could remove the folder together with
/// acknowledged data in it. Follows symbolic links.
fn make_folder_followed(path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing = path.ancestors().take_while(is_missing).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Syncs the parent of an existing folder, too: the process that created the folder may have ended before it synced.
    for folder in path.ancestors().take(missing.max(1)) {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(parent).and_then(|parent| parent.sync_all()) {
            // This user can't have changed a parent that it can't read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::symlink;

    use super::*;

    fn refusal(path: &Path) -> String {
        watertight_model::problem::with_causes(&HeldFolder::lock(path).unwrap_err())
    }

    fn host() -> HostInfo {
        let (listen, admin) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        HostInfo { process: 1, listen, admin, probe: None }
    }

    #[test]
    fn without_its_lock_file_a_folder_is_held_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let held = HeldFolder::lock(folder.path()).unwrap();
        held.announce(&host()).unwrap();
        let lock = folder.path().join(LOCK);
        fs::remove_file(&lock).unwrap();
        assert!(matches!(HeldFolder::lock(folder.path()), Err(StateError::Locked { host: None, .. })));
        held.check().unwrap();
        assert_eq!(HeldFolder::holder(folder.path()), Some(host()), "the lock file was not written again");
        // The host neither trusts nor writes to a link that somebody puts in the file's place.
        let other = folder.path().join("other");
        fs::write(&other, "theirs").unwrap();
        fs::remove_file(&lock).unwrap();
        symlink(&other, &lock).unwrap();
        held.check().unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(HeldFolder::holder(folder.path()), Some(host()));
        drop(held);
        assert_eq!(HeldFolder::holder(folder.path()), None);
        HeldFolder::lock(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_that_leads_elsewhere_is_refused_and_nothing_there_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, other) = (folder.path().join(LOCK), folder.path().join("other"));
        fs::write(&other, "theirs").unwrap();
        symlink(&other, &lock).unwrap();
        assert!(refusal(folder.path()).contains("regular file"));
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&other, &lock).unwrap();
        assert!(refusal(folder.path()).contains("second hard link"));
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        refusal(folder.path());
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
    }

    #[test]
    fn a_folder_that_was_removed_or_replaced_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let held = HeldFolder::lock(&path).unwrap();
        held.check().unwrap();
        fs::rename(&path, parent.path().join("elsewhere")).unwrap();
        assert!(matches!(held.check(), Err(FileChanged::Removed(_))));
        fs::create_dir(&path).unwrap();
        assert!(matches!(held.check(), Err(FileChanged::Replaced(_))));
        assert!(!path.join(LOCK).exists(), "a file was written into a folder that isn't held");
    }

    #[test]
    fn folders_that_others_can_write_are_refused_and_links_within() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        for (mode, refused) in [(0o770, true), (0o707, true), (0o722, true), (0o755, false), (0o700, false)] {
            fs::remove_dir_all(&path).ok();
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match HeldFolder::lock(&path) {
                Ok(_) => assert!(!refused, "{mode:o}"),
                Err(error) => assert!(refused && matches!(error, StateError::Insecure { .. }), "{mode:o}: {error}"),
            }
        }
        symlink(parent.path(), path.join("data")).unwrap();
        assert!(matches!(make_folder(&path.join("data")), Err(StateError::Insecure { .. })));
        // The path that the operator gives may itself be a symbolic link.
        let link = parent.path().join("link");
        symlink(&path, &link).unwrap();
        HeldFolder::lock(&link).unwrap().check().unwrap();
    }
}
