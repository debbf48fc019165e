//! The state folder: everything that lasts, for one host at a time.
//!
//! ```text
//! STATE                  the folder itself is locked while a host runs
//! STATE/lock             says who runs, and where
//! STATE/admin.token      what the admin listener wants to hear, 0600
//! STATE/data/NAME.db     a module's database
//! STATE/data/NAME.unpublished  there until a generation with the database is published
//! STATE/code/            compiled components
//! STATE/history.json     what was published and what was refused
//! STATE/artifacts/       the components of published generations
//! STATE/configurations/  their manifests and routes
//! STATE/restoring        there while a backup is put in place: no host starts on it
//! STATE/development      only there where `watertight dev` keeps it
//! ```

mod held;
mod history;
mod kept;
mod published;
mod token;
mod unpublished;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use held::{Held, make_folder};
use watertight_disk::files::{Displaced, write_durably};
use watertight_model::ids::ModuleName;

pub use history::{History, KEPT_GENERATIONS, Unwritten};
pub use kept::{Kept, KeptError};
pub(crate) use published::digest_of_format_1;
pub use published::{Asker, Cause, OnDisk, Publication, Published, Refused};
pub use token::{TokenError, read_token};

/// The mark of a restore that is under way, or that was ended by force.
pub(crate) const RESTORING: &str = "restoring";
/// What tells a folder of `watertight dev` from others.
const DEVELOPMENT: &str = "development";
/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another host has it.
    #[error("another host is running on {}{}; stop it first, or name another state folder with --state", .folder.display(), .host.as_ref().map(|h| format!(" (process {}, admin at {})", h.process, h.admin)).unwrap_or_default())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who, where the lock says so.
        host: Option<Box<HostInfo>>,
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
    /// Others could change what is in it, or it leads elsewhere.
    #[error("the state folder {} {reason}", .path.display())]
    Open {
        /// The folder, or the one within it.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
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
    /// Where its listener for probes is, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<SocketAddr>,
}

/// A state folder that this process has to itself, until dropped.
#[derive(Debug)]
pub struct StateFolder {
    held: Held,
    for_development: bool,
    /// Why what is written here is lost, once it is.
    lost: OnceLock<String>,
    /// The modules that may begin with an empty database although they had one.
    accepted: BTreeSet<ModuleName>,
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
        if folder.for_development { Err(StateError::ForDevelopment(folder.path().to_owned())) } else { Ok(folder) }
    }

    /// Nothing runs on half a restore.
    fn restored(self) -> Result<Self, StateError> {
        match self.path().join(RESTORING).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self),
            _ => Err(StateError::Restoring(self.path().to_owned())),
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
            write_durably(&path.join(".gitignore"), b"*\n", None)?;
            write_durably(&path.join(DEVELOPMENT), b"", None)?;
            Ok(true)
        };
        folder.for_development = mark().map_err(|source| StateError::Unusable { folder: path.to_owned(), source })?;
        if folder.for_development { Ok(folder) } else { Err(StateError::NotForDevelopment(path.to_owned())) }
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
        let held = Held::take(path)?;
        make_folder(&path.join("data"))?;
        let for_development = path.join(DEVELOPMENT).exists();
        Ok(Self { held, for_development, lost: OnceLock::new(), accepted: BTreeSet::new() })
    }

    /// The host that runs on a folder, if one does and says where.
    pub fn running_host(path: &Path) -> Option<HostInfo> {
        Held::holder(path)
    }

    /// Writes into the folder who runs, and where.
    ///
    /// # Errors
    ///
    /// Where it can't be written.
    pub fn announce(&self, host: &HostInfo) -> io::Result<()> {
        self.held.announce(host)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// Checks that the path still leads to the folder that this process has; what is written elsewhere would be another host's.
    ///
    /// # Errors
    ///
    /// [`Displaced`] where it doesn't.
    pub fn check(&self) -> Result<(), Displaced> {
        self.held.check()
    }

    /// Notes that the folder, or something in it that must last, was removed or replaced. Says so in the log, the first time.
    pub fn lose(&self, reason: &Displaced) {
        let mut is_news = false;
        self.lost.get_or_init(|| {
            is_news = true;
            reason.to_string()
        });
        if is_news {
            tracing::error!(
                target: "state",
                state = %self.path().display(),
                "{reason} under the running host: nothing more is written, and /readyz answers 503. Stop the host, put back what was \
                 there or restore a backup, then start it again"
            );
        }
    }

    /// Lets these modules begin with empty databases where theirs are missing.
    #[must_use]
    pub fn accept_empty(self, modules: BTreeSet<ModuleName>) -> Self {
        Self { accepted: modules, ..self }
    }

    /// Whether a module's database may be missing although the module had one: where that was said, and where databases are made anew
    /// anyway.
    pub fn accepts_empty(&self, module: &ModuleName) -> bool {
        self.for_development || self.accepted.contains(module)
    }

    /// Why what is written here would be lost, if it would.
    pub fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    /// A module's database file. It belongs to the module's name, whatever build or language is behind it.
    pub fn database(&self, module: &ModuleName) -> PathBuf {
        Self::database_in(self.path(), module)
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
        let path = self.path();
        let kept = Kept::open(path)?;
        let history = History::remove_leftover(path).and_then(|()| History::open(path, kept));
        history.map_err(|source| StateError::Unusable { folder: path.to_owned(), source })
    }

    /// The folder of compiled code.
    pub fn code(&self) -> PathBuf {
        self.path().join("code")
    }

    /// The admin token: `given`, or the one that is in the folder, or a new one that is put there.
    ///
    /// # Errors
    ///
    /// [`TokenError`], where one can't be kept or would be no secret.
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
        first.announce(&host).unwrap();
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
