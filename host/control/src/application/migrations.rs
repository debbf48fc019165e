//! How the migrations that modules carry stand to those that their databases have.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Artifacts;
use super::databases::{MIGRATION_TIME, problem};
use crate::state::StateFolder;
use watertight_component::artifact::Artifact;
use watertight_model::config::AppConfig;
use watertight_model::ids::ModuleName;
use watertight_model::migration::{Applied, Place, compare};
use watertight_model::problem::{Problem, with_causes};
use watertight_sql::{Occasion, OpenError, try_migrations};

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
        let found = applied_of(state, module);
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

/// The migrations that a module's database in a state folder has; none where there is no database, or one that no published generation had:
/// that is removed before the module gets its own.
pub(super) fn applied_of(state: &Path, module: &ModuleName) -> Result<Option<Vec<Applied>>, OpenError> {
    let is_published = || StateFolder::read_history(state).is_ok_and(|history| history.had_database(module));
    if StateFolder::is_unpublished(state, module) && !is_published() {
        return Ok(None);
    }
    watertight_sql::applied(&StateFolder::database_in(state, module))
}

/// What of the modules' migrations a start on `state` would refuse, as far as it depends neither on rows nor on room: they are tried on
/// empty databases. Those that the module's database in `state` has count as applied; it need not be there. Changes nothing; blocks.
pub(super) fn refused_by_a_start(config: &AppConfig, artifacts: &Artifacts, state: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, module) in &config.modules {
        let keeps_data = module.uses.keys().any(|capability| capability.keeps_data());
        let Some(artifact) = artifacts.get(name).filter(|_| keeps_data) else { continue };
        // Of a database that can't be read nothing is known; a start says why.
        let applied = applied_of(state, name).unwrap_or_default();
        let tried = try_migrations(artifact.migrations(), applied.as_deref(), Occasion::Start, MIGRATION_TIME);
        problems.extend(tried.err().map(|error| problem(name, artifact, &error)));
    }
    problems
}
