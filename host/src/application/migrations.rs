//! How the migrations that modules carry stand to those that their databases have.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::database::{self, OpenError};
use crate::ids::ModuleName;
use crate::migration::{Place, compare};
use crate::problem::with_causes;
use crate::state::StateFolder;

/// A module with a database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModuleMigrations {
    /// Its name.
    pub module: ModuleName,
    /// Its build.
    pub build: String,
    /// Whether the database is there: the first start makes it.
    pub exists: bool,
    /// Why the database can't be read, if it can't.
    pub error: Option<String>,
    /// Place by place, in the order of application.
    pub migrations: Vec<Place>,
}

impl ModuleMigrations {
    /// Reads what `module`'s database in a state folder has. It changes nothing; it blocks.
    pub fn read(state: &Path, module: &ModuleName, artifact: &Artifact) -> Self {
        let path: PathBuf = StateFolder::database_in(state, module);
        let found = database::applied(&path);
        let error = found.as_ref().err().map(|error: &OpenError| with_causes(error));
        let applied = found.unwrap_or_default();
        // Of a database that can't be read nothing is known, and nothing is said.
        let migrations = match error {
            Some(_) => Vec::new(),
            None => compare(artifact.migrations(), applied.as_deref().unwrap_or_default()),
        };
        let exists = applied.is_some() || error.is_some();
        Self { module: module.clone(), build: artifact.build(), exists, error, migrations }
    }
}
