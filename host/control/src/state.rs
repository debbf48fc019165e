//! The state folder: the directory that holds everything durable. One host uses it at a time.
//!
//! ```text
//! STATE                  the folder itself; a host holds a lock on it while it runs
//! STATE/lock             the process id and addresses of the running host
//! STATE/admin.token      the bearer token of the admin listener, mode 0600
//! STATE/data/NAME.db     the database of module NAME
//! STATE/data/NAME.unpublished  marks a database that no published generation has yet
//! STATE/code/            compiled components
//! STATE/history.json     the published generations and the refused changes
//! STATE/artifacts/       the components of published generations
//! STATE/configurations/  the manifests and routes of published generations
//! STATE/restoring        marks a restore in progress; no host starts while it exists
//! STATE/development      marks a state folder of `watertight dev`
//! ```

mod held;
mod history;
mod files;
mod published;
mod token;
mod unpublished;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use held::{HeldFolder, make_folder};
use watertight_disk::files::{FileChanged, write_durably};
use watertight_model::ids::ModuleName;

pub use files::{FileStore, FileStoreError};
pub use history::{History, HistoryWriteError, KEPT_GENERATIONS};
pub(crate) use published::digest_of_format_1;
pub use published::{Cause, DiskRecord, NewGeneration, PublishedGeneration, RefusedChange, Requester};
pub use token::{TokenError, read_token};

/// The name of the marker file that exists while a restore is in progress, or after a restore was interrupted.
pub(crate) const RESTORING: &str = "restoring";
/// The name of the marker file that identifies a state folder of `watertight dev`.
const DEVELOPMENT: &str = "development";
/// The end of the name of a state folder of `watertight dev`, after the name of the state folder beside it.
const DEVELOPMENT_SUFFIX: &str = "-dev";
/// The name of the folder that holds compiled code.
const CODE: &str = "code";
/// The reason why a state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another host holds the folder.
    #[error("another host is running on {}{}; stop it first, or name another state folder with --state", .folder.display(), .host.as_ref().map(|h| format!(" (process {}, admin at {})", h.process, h.admin)).unwrap_or_default())]
    Locked {
        /// The path of the state folder.
        folder: PathBuf,
        /// The host that holds the folder. `None` if the file `lock` doesn't name one.
        host: Option<Box<HostInfo>>,
    },
    /// A restore into the folder was interrupted.
    #[error("a restore into {} was interrupted; run `watertight restore` again", .0.display())]
    Restoring(PathBuf),
    /// The folder belongs to `watertight dev`, and another command tried to open it.
    #[error(
        "the state folder {} belongs to `watertight dev`, which deletes databases when migrations are edited; name another one",
        .0.display()
    )]
    ForDevelopment(PathBuf),
    /// `watertight dev` tried to open a folder in which another command keeps data.
    #[error(
        "the state folder {} was used by `watertight run`, and `watertight dev` would delete databases in it; name another one",
        .0.display()
    )]
    NotForDevelopment(PathBuf),
    /// Other users can change the folder's contents, or the path is a symbolic link.
    #[error("the state folder {} {reason}", .path.display())]
    Insecure {
        /// The state folder, or the affected folder inside it.
        path: PathBuf,
        /// What is wrong with the folder, and what the operator can do.
        reason: &'static str,
    },
    /// The folder can't be created, read or written.
    #[error("the state folder {} can't be used", .folder.display())]
    Unusable {
        /// The path of the state folder.
        folder: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The identity and addresses of the host that runs on a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// The process id of the host.
    pub process: u32,
    /// The address of the data listener.
    pub listen: SocketAddr,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    /// The address of the listener for health probes, if the host has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<SocketAddr>,
}

/// An open state folder. This process holds it exclusively until the value is dropped.
#[derive(Debug)]
pub struct StateFolder {
    held: HeldFolder,
    for_development: bool,
    /// The reason why later writes to the folder would be lost; unset while the folder is intact. See [`Self::record_loss`].
    lost: OnceLock<String>,
    /// The modules that may start with an empty database although they had one.
    accepted: BTreeSet<ModuleName>,
}

impl StateFolder {
    /// Opens and locks the folder. Creates it if it is missing, with access for the current user only.
    ///
    /// # Errors
    ///
    /// [`StateError::Locked`] if another host holds the folder, [`StateError::ForDevelopment`] if it belongs to `watertight dev`,
    /// [`StateError::Restoring`] if a restore into it was interrupted, and the other cases if it can't be used.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_for_restore(path)?.refuse_partial_restore()
    }

    /// Opens and locks the folder like [`Self::open`], but also accepts one with an interrupted restore.
    ///
    /// # Errors
    ///
    /// [`StateError::Locked`] if another host holds the folder, [`StateError::ForDevelopment`] if it belongs to `watertight dev`, and the
    /// other cases if it can't be used.
    pub(crate) fn open_for_restore(path: &Path) -> Result<Self, StateError> {
        let folder = Self::lock(path)?;
        if folder.for_development { Err(StateError::ForDevelopment(folder.path().to_owned())) } else { Ok(folder) }
    }

    /// Refuses a folder with an interrupted restore, because no host may run on a partly restored state.
    fn refuse_partial_restore(self) -> Result<Self, StateError> {
        match self.path().join(RESTORING).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self),
            _ => Err(StateError::Restoring(self.path().to_owned())),
        }
    }

    /// Opens and locks a folder for `watertight dev`, and marks it as such. Databases in such a folder may be recreated.
    ///
    /// # Errors
    ///
    /// [`StateError::Locked`] if another host holds the folder, [`StateError::NotForDevelopment`] if another command keeps data in it,
    /// [`StateError::Restoring`] if a restore into it was interrupted, and the other cases if it can't be used.
    pub fn open_for_development(path: &Path) -> Result<Self, StateError> {
        let mut folder = Self::lock(path)?.refuse_partial_restore()?;
        if folder.for_development {
            return Ok(folder);
        }
        let mark = || {
            if path.join("history.json").exists() || path.join("data").read_dir()?.next().is_some() {
                return Ok(false);
            }
            // Keeps the folder's contents out of Git.
            write_durably(&path.join(".gitignore"), b"*\n", None)?;
            write_durably(&path.join(DEVELOPMENT), b"", None)?;
            Ok(true)
        };
        folder.for_development = mark().map_err(|source| StateError::Unusable { folder: path.to_owned(), source })?;
        if folder.for_development { Ok(folder) } else { Err(StateError::NotForDevelopment(path.to_owned())) }
    }

    /// Returns the default state folder of `watertight dev`: the path `state` with `-dev` appended to its last part.
    pub fn development_beside(state: &Path) -> PathBuf {
        let mut name = state.file_name().unwrap_or_default().to_owned();
        name.push(DEVELOPMENT_SUFFIX);
        state.with_file_name(name)
    }

    /// Returns the folders with compiled code of the state folder at `path` and of its companion: the one of `watertight dev` beside that of
    /// `watertight run`, or the other way round. They may be missing.
    pub fn code_beside(path: &Path) -> [PathBuf; 2] {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let companion = match name.strip_suffix(DEVELOPMENT_SUFFIX) {
            Some(of_run) => path.with_file_name(of_run),
            None => Self::development_beside(path),
        };
        [path.to_owned(), companion].map(|state| state.join(CODE))
    }

    /// Whether the folder belongs to `watertight dev`, so that its databases may be recreated.
    pub fn is_for_development(&self) -> bool {
        self.for_development
    }

    /// Locks the folder without checking its markers.
    fn lock(path: &Path) -> Result<Self, StateError> {
        let held = HeldFolder::lock(path)?;
        make_folder(&path.join("data"))?;
        let for_development = path.join(DEVELOPMENT).exists();
        Ok(Self { held, for_development, lost: OnceLock::new(), accepted: BTreeSet::new() })
    }

    /// Returns the host that runs on the folder at `path`. `None` if no host runs, or if the file `lock` doesn't name it.
    pub fn running_host(path: &Path) -> Option<HostInfo> {
        HeldFolder::holder(path)
    }

    /// Writes the identity and addresses of this host into the file `lock`, for other commands to find it.
    ///
    /// # Errors
    ///
    /// The I/O error if the file can't be written.
    pub fn write_host_info(&self, host: &HostInfo) -> io::Result<()> {
        self.held.announce(host)
    }

    /// Returns the path of the state folder.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// Checks that the folder's path still leads to the folder that this process holds. Another folder could belong to another host.
    ///
    /// # Errors
    ///
    /// [`FileChanged`] if the folder was removed or replaced.
    pub fn check(&self) -> Result<(), FileChanged> {
        self.held.check()
    }

    /// Records that the folder, or a durable file in it, was removed or replaced. The first call logs an error; later calls do nothing.
    pub fn record_loss(&self, reason: &FileChanged) {
        let mut is_news = false;
        self.lost.get_or_init(|| {
            is_news = true;
            reason.to_string()
        });
        if is_news {
            tracing::error!(
                target: "state",
                state = %self.path().display(),
                "{reason} while the host runs. The host writes nothing more, and /readyz answers 503. Stop it, put the files back or \
                 restore a backup, then start it again"
            );
        }
    }

    /// Allows these modules to start with an empty database if theirs is missing.
    #[must_use]
    pub fn accept_empty(self, modules: BTreeSet<ModuleName>) -> Self {
        Self { accepted: modules, ..self }
    }

    /// Whether `module` may start with an empty database although it had one. True if the operator allowed it (see [`Self::accept_empty`])
    /// and in every development folder.
    pub fn accepts_empty(&self, module: &ModuleName) -> bool {
        self.for_development || self.accepted.contains(module)
    }

    /// Returns the reason why later writes to the folder would be lost; `None` while the folder is intact.
    pub fn loss(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    /// Returns the path of a module's database file. The file belongs to the module's name and outlives every build of the module.
    pub fn database(&self, module: &ModuleName) -> PathBuf {
        Self::database_in(self.path(), module)
    }

    /// Returns the path of a module's database file in the state folder at `path`, which this process need not hold.
    pub fn database_in(path: &Path, module: &ModuleName) -> PathBuf {
        path.join("data").join(format!("{module}.db"))
    }

    /// Reads the history of the state folder at `path`, which this process need not hold. Creates and locks nothing.
    ///
    /// # Errors
    ///
    /// [`StateError::Unusable`] if the history can't be read.
    pub fn read_history(path: &Path) -> Result<History, StateError> {
        History::open(path, FileStore::at(path))
            .map_err(|source| StateError::Unusable { folder: path.to_owned(), source })
    }

    /// Reads the history of this folder, and creates the folders of stored components and configurations if they are missing.
    ///
    /// # Errors
    ///
    /// A [`StateError`] if the history can't be read. The host must not guess which generation ran last.
    pub fn history(&self) -> Result<History, StateError> {
        let path = self.path();
        let kept = FileStore::open(path)?;
        let history = History::remove_leftover(path).and_then(|()| History::open(path, kept));
        history.map_err(|source| StateError::Unusable { folder: path.to_owned(), source })
    }

    /// Returns the path of the folder that holds the compiled code of modules.
    pub fn code(&self) -> PathBuf {
        self.path().join(CODE)
    }

    /// Returns the admin token: `given` if set, otherwise the token stored in the folder, otherwise a new one, which is stored there.
    ///
    /// # Errors
    ///
    /// [`TokenError`] if the token can't be read or stored, if other users can read it, or if it is too weak.
    pub fn token(&self, given: Option<String>) -> Result<String, TokenError> {
        token::token(self.path(), given)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_host_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = StateFolder::open(&path).unwrap();
        let host = HostInfo {
            process: 1,
            listen: "127.0.0.1:1".parse().unwrap(),
            admin: "127.0.0.1:2".parse().unwrap(),
            probe: None,
        };
        first.write_host_info(&host).unwrap();
        assert_eq!(StateFolder::running_host(&path), Some(host.clone()));
        let StateError::Locked { host: Some(found), .. } = StateFolder::open(&path).unwrap_err() else { panic!() };
        assert_eq!(*found, host);
        drop(first);
        assert_eq!(StateFolder::running_host(&path), None);
        StateFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_is_for_development_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("app");
        let of_dev = StateFolder::development_beside(&state);
        assert_eq!(of_dev, folder.path().join("app-dev"));
        let code = [state.join("code"), of_dev.join("code")];
        assert_eq!(StateFolder::code_beside(&state), code);
        assert_eq!(StateFolder::code_beside(&of_dev), [code[1].clone(), code[0].clone()]);
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
    fn looking_for_a_host_keeps_none_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        drop(StateFolder::open(folder.path()).unwrap());
        let looking = std::fs::File::open(folder.path()).unwrap();
        looking.try_lock_shared().unwrap();
        let gone = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            drop(looking);
        });
        StateFolder::open(folder.path()).unwrap();
        gone.join().unwrap();
    }
}
