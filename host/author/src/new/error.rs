//! The reasons why an application or a module can't be made.

use std::io;
use std::path::PathBuf;

use watertight_model::ids::BadName;

use crate::staged::StageError;
use crate::wit::WitError;
use watertight_build::BuildError;

/// The reason why an application or a module can't be made. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name is not in kebab-case.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The name is a word of WIT or of the language, or belongs to something else.
    #[error("`{name}` can't be the name: {reason}")]
    Reserved {
        /// The name.
        name: String,
        /// What the name stands for already.
        reason: String,
    },
    /// The folder belongs to an application already.
    #[error(
        "this folder belongs to the application of `{}`; applications don't nest\n  help: `watertight new module NAME` adds a module to \
         it, and `watertight new app NAME --in FOLDER` makes an application in a folder outside of it",
        manifest.display()
    )]
    Nested {
        /// The manifest of the application that is there.
        manifest: PathBuf,
    },
    /// The application has a module of this name.
    #[error("the application has a module `{name}` already")]
    Module {
        /// The name of the module.
        name: String,
    },
    /// A module to call is not in the application, or has no folder with a world.
    #[error("the new module can't call `{module}`: {reason}")]
    Callee {
        /// The name of the module.
        module: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host has no capability of this name.
    #[error("this host has no capability `{name}`; it has {known}")]
    Capability {
        /// The name that was given.
        name: String,
        /// The names of all capabilities.
        known: String,
    },
    /// There is no WIT package of this name in the application, or no interface in it to implement.
    #[error("the new module can't export `{package}`: {reason}")]
    Package {
        /// The name of the package.
        package: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The language can't carry the contract.
    #[error("{0}{help}", help = .0.help().map(|help| format!("\n  help: {help}")).unwrap_or_default())]
    Language(#[from] Box<BuildError>),
    /// A manifest that the new module must be added to can't be changed.
    #[error("`{}` can't be changed: {message}", path.display())]
    Manifest {
        /// The path of the manifest.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file can't be read.
    #[error("`{}` can't be read", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// WIT packages of the host can't be added to the application.
    #[error(transparent)]
    Wit(#[from] WitError),
    /// The files can't be written.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A template and what it is rendered with don't fit: a mistake of this program.
    #[error("a template of this program is wrong")]
    Template(#[source] anyhow::Error),
}

impl NewError {
    /// Refuses a name.
    pub(super) fn reserved(name: &str, reason: impl Into<String>) -> Self {
        Self::Reserved { name: name.to_owned(), reason: reason.into() }
    }
}
