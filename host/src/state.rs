//! The state folder: everything that lasts, for one host at a time.
//!
//! ```text
//! STATE/lock             held while a host runs; its text says who and where
//! STATE/admin.token      what the admin listener wants to hear, 0600
//! STATE/data/NAME.db     a module's database
//! STATE/code/            compiled components
//! STATE/history.json     what was published and what was refused
//! STATE/artifacts/       the components of published generations
//! STATE/configurations/  their manifests and routes
//! STATE/restoring        there while a backup is put in place: no host starts on it
//! STATE/development      only there where `watertight dev` keeps it
//! ```

mod history;
mod kept;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::ModuleName;

pub use history::{Cause, History, KEPT_GENERATIONS, Published, Refused};
pub use kept::{Kept, KeptError};

/// The mark of a restore that is under way, or that was ended by force.
pub(crate) const RESTORING: &str = "restoring";
/// The most that is read of the lock and of the token.
const MAX_TEXT: u64 = 4096;
/// What tells a folder of `watertight dev` from others.
const DEVELOPMENT: &str = "development";
/// Random bytes of a generated token.
const TOKEN_BYTES: usize = 32;
/// How often a held lock is tried again, and after which pause: whoever only looks whether a host runs holds it for a moment, too.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another host has it.
    #[error("another host is running on {}{}; stop it first, or name another state folder with --state", .folder.display(), .host.as_ref().map(|h| format!(" (process {}, admin at {})", h.process, h.admin)).unwrap_or_default())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who, where the lock says so.
        host: Option<HostInfo>,
    },
    /// A restore into it did not end.
    #[error("a restore into {} did not end; run `watertight restore` again", .0.display())]
    Restoring(PathBuf),
    /// It is one of `watertight dev`, and something else wants it.
    #[error(
        "the state folder {} is one of `watertight dev`, which removes databases when migrations are edited; name another one",
        .0.display()
    )]
    ForDevelopment(PathBuf),
    /// `watertight dev` wants it, and something else has kept data in it.
    #[error(
        "the state folder {} was used by `watertight run`, and `watertight dev` would remove databases in it; name another one",
        .0.display()
    )]
    NotForDevelopment(PathBuf),
    /// It can't be made, read or written.
    #[error("the state folder {} can't be used", .folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The host that runs on a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Its process id.
    pub process: u32,
    /// Where its data listener is.
    pub listen: SocketAddr,
    /// Where its admin listener is.
    pub admin: SocketAddr,
}

/// A state folder that this process has to itself, until dropped.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    lock: File,
    for_development: bool,
}

impl StateFolder {
    /// Takes the folder, making it where it is missing: reachable by this user alone.
    ///
    /// # Errors
    ///
    /// Where another host has it, where it is kept for development, and where it can't be used.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_to_restore(path)?.restored()
    }

    /// The same, also where a restore did not end.
    pub(crate) fn open_to_restore(path: &Path) -> Result<Self, StateError> {
        let folder = Self::take(path)?;
        if folder.for_development { Err(StateError::ForDevelopment(folder.path)) } else { Ok(folder) }
    }

    /// Nothing runs on half a restore.
    fn restored(self) -> Result<Self, StateError> {
        match self.path.join(RESTORING).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self),
            _ => Err(StateError::Restoring(self.path)),
        }
    }

    /// The same for `watertight dev`: a folder of its own, whose databases may be made anew.
    ///
    /// # Errors
    ///
    /// Where another host has it, where anything else was kept in it before, and where it can't be used.
    pub fn open_for_development(path: &Path) -> Result<Self, StateError> {
        let mut folder = Self::take(path)?.restored()?;
        if folder.for_development {
            return Ok(folder);
        }
        let mark = || {
            if path.join("history.json").exists() || path.join("data").read_dir()?.next().is_some() {
                return Ok(false);
            }
            // Nothing of it belongs into a repository.
            std::fs::write(path.join(".gitignore"), "*\n")?;
            std::fs::write(path.join(DEVELOPMENT), "")?;
            Ok(true)
        };
        folder.for_development = mark().map_err(|source| StateError::Unusable { folder: path.to_owned(), source })?;
        if folder.for_development { Ok(folder) } else { Err(StateError::NotForDevelopment(folder.path)) }
    }

    /// The folder that `watertight dev` takes where `run` takes `state`: beside it.
    pub fn development_beside(state: &Path) -> PathBuf {
        let mut name = state.file_name().unwrap_or_default().to_owned();
        name.push("-dev");
        state.with_file_name(name)
    }

    /// Whether its databases may be made anew.
    pub fn is_for_development(&self) -> bool {
        self.for_development
    }

    /// Takes the folder, whomever it is for.
    fn take(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { folder: path.to_owned(), source };
        make_folder(path).map_err(unusable)?;
        make_folder(&path.join("data")).map_err(unusable)?;
        let mut lock = open_lock(path, true).map_err(unusable)?;
        match try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked { folder: path.to_owned(), host: read_host(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // What an earlier host left says nothing of this one.
        lock.set_len(0).map_err(unusable)?;
        let for_development = path.join(DEVELOPMENT).exists();
        Ok(Self { path: path.to_owned(), lock, for_development })
    }

    /// The host that runs on a folder, if one does and says where.
    pub fn running_host(path: &Path) -> Option<HostInfo> {
        let mut lock = open_lock(path, false).ok()?;
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read_host(&mut lock),
            _ => None,
        }
    }

    /// Writes into the lock who runs, and where.
    pub fn announce(&self, host: &HostInfo) -> io::Result<()> {
        let mut lock = &self.lock;
        lock.set_len(0)?;
        lock.rewind()?;
        lock.write_all(&serde_json::to_vec(host)?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A module's database file. It belongs to the module's name, whatever build or language is behind it.
    pub fn database(&self, module: &ModuleName) -> PathBuf {
        Self::database_in(&self.path, module)
    }

    /// The same in a folder that this process doesn't have to itself.
    pub fn database_in(path: &Path, module: &ModuleName) -> PathBuf {
        path.join("data").join(format!("{module}.db"))
    }

    /// What was published in a folder that this process doesn't have to itself, to be read only: nothing is made or locked.
    ///
    /// # Errors
    ///
    /// Where it can't be read.
    pub fn read_history(path: &Path) -> Result<History, StateError> {
        History::open(path, Kept::at(path)).map_err(|source| StateError::Unusable { folder: path.to_owned(), source })
    }

    /// The memory of what was published here.
    ///
    /// # Errors
    ///
    /// Where it can't be read: what ran last is not known then, and nothing should be guessed.
    pub fn history(&self) -> Result<History, StateError> {
        let history = Kept::open(&self.path).and_then(|kept| {
            History::remove_leftover(&self.path)?;
            History::open(&self.path, kept)
        });
        history.map_err(|source| StateError::Unusable { folder: self.path.clone(), source })
    }

    /// The folder of compiled code.
    pub fn code(&self) -> PathBuf {
        self.path.join("code")
    }

    /// The admin token: `given`, or the one that is in the folder, or a new one that is put there.
    ///
    /// # Errors
    ///
    /// When the file can't be read or written, and when the token that is given or there could not be sent in a header: an empty one,
    /// above all, would be no secret.
    pub fn token(&self, given: Option<String>) -> io::Result<String> {
        if let Some(token) = given {
            return checked_token(token);
        }
        if let Some(token) = read_token(&self.path)? {
            return Ok(token);
        }
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Written aside, by nobody's leave but this user's, and renamed: the file is never there in part or open to others.
        let aside = self.path.join("admin.token.new");
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(token.as_bytes())?;
        std::fs::rename(aside, token_file(&self.path))?;
        Ok(token)
    }
}

/// Makes a folder that only this user can reach, and makes its name last: a power cut must not take back a folder, and with it all
/// that was acknowledged in it.
fn make_folder(path: &Path) -> io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing = path.ancestors().take_while(is_missing).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Even one that was there: the start that made it may have ended before this.
    for folder in path.ancestors().take(missing.max(1)) {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(parent).and_then(|parent| parent.sync_all()) {
            // A parent that this user can't read was not changed by this user.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

/// The token, where it can be a bearer's: visible ASCII.
fn checked_token(token: String) -> io::Result<String> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is empty, or has other characters than visible ASCII",
        ));
    }
    Ok(token)
}

/// Takes the lock, or finds that another process keeps it.
fn try_lock(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            done => return done,
        }
    }
    lock.try_lock()
}

/// The token that a host keeps in its state folder, if there is one.
pub fn read_token(folder: &Path) -> io::Result<Option<String>> {
    match File::open(token_file(folder)) {
        Ok(file) => {
            let mut token = String::new();
            file.take(MAX_TEXT).read_to_string(&mut token)?;
            match token.trim() {
                "" => Ok(None),
                token => checked_token(token.to_owned()).map(Some),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn token_file(folder: &Path) -> PathBuf {
    folder.join("admin.token")
}

fn open_lock(folder: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(create).create(create).truncate(false).mode(0o600).open(folder.join("lock"))
}

fn read_host(lock: &mut File) -> Option<HostInfo> {
    let mut text = String::new();
    lock.take(MAX_TEXT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_host_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = StateFolder::open(&path).unwrap();
        let host =
            HostInfo { process: 1, listen: "127.0.0.1:1".parse().unwrap(), admin: "127.0.0.1:2".parse().unwrap() };
        first.announce(&host).unwrap();
        assert_eq!(StateFolder::running_host(&path), Some(host.clone()));
        let StateError::Locked { host: Some(found), .. } = StateFolder::open(&path).unwrap_err() else { panic!() };
        assert_eq!(found, host);
        drop(first);
        assert_eq!(StateFolder::running_host(&path), None);
        StateFolder::open(&path).unwrap();
    }

    #[test]
    fn the_token_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let token = state.token(None).unwrap();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(state.token(None).unwrap(), token);
        assert_eq!(read_token(folder.path()).unwrap(), Some(token));
        let mode = token_file(folder.path()).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(state.token(Some("given".into())).unwrap(), "given");
        assert!(state.token(Some(String::new())).is_err() && state.token(Some("two words".into())).is_err());
    }

    #[test]
    fn a_folder_is_for_development_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("app");
        let of_dev = StateFolder::development_beside(&state);
        assert_eq!(of_dev, folder.path().join("app-dev"));
        for _ in 0..2 {
            assert!(StateFolder::open_for_development(&of_dev).unwrap().is_for_development());
            assert!(matches!(StateFolder::open(&of_dev), Err(StateError::ForDevelopment(_))));
            assert!(!StateFolder::open(&state).unwrap().is_for_development());
        }
        std::fs::write(StateFolder::database_in(&state, &"alpha".parse().unwrap()), "data").unwrap();
        assert!(matches!(StateFolder::open_for_development(&state), Err(StateError::NotForDevelopment(_))));
        StateFolder::open(&state).unwrap();
    }

    #[test]
    fn a_new_token_is_private_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        // What a host that died while it wrote, or somebody's `touch`, may have left.
        std::fs::write(token_file(folder.path()), "").unwrap();
        std::fs::set_permissions(token_file(folder.path()), std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(folder.path().join("admin.token.new"), "half").unwrap();
        assert_eq!(state.token(None).unwrap().len(), 2 * TOKEN_BYTES);
        assert_eq!(token_file(folder.path()).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!folder.path().join("admin.token.new").exists());
    }

    #[test]
    fn looking_for_a_host_keeps_none_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        drop(StateFolder::open(folder.path()).unwrap());
        let looking = open_lock(folder.path(), false).unwrap();
        looking.try_lock_shared().unwrap();
        let gone = std::thread::spawn(move || {
            std::thread::sleep(3 * LOCK_PAUSE);
            drop(looking);
        });
        StateFolder::open(folder.path()).unwrap();
        gone.join().unwrap();
    }
}
