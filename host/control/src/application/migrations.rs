//! Compares the migrations that builds carry with those that their databases have.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Artifacts;
use super::databases::{MIGRATION_TIME, problem};
use crate::state::StateFolder;
use watertight_component::artifact::Artifact;
use watertight_graph::plan::Plan;
use watertight_model::config::AppConfig;
use watertight_model::ids::ModuleName;
use watertight_model::migration::{AppliedMigration, MigrationPosition, compare};
use watertight_model::problem::{Problem, with_causes};
use watertight_sql::{MigrationOccasion, OpenError, try_migrations};

/// The migrations of one module with a database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModuleMigrations {
    /// The name of the module that has the database.
    pub module: ModuleName,
    /// The build id of the module.
    pub build: String,
    /// Whether the database exists. If it doesn't, the first start creates it.
    pub exists: bool,
    /// Why the database can't be read; `None` if it can.
    pub error: Option<String>,
    /// The migrations in the order of application, each as the build and the database have it.
    pub migrations: Vec<MigrationPosition>,
}

impl ModuleMigrations {
    /// Compares the migrations of `artifact` with those that the module's database in a state folder has. Changes nothing. Blocks.
    pub fn read(state: &Path, module: &ModuleName, artifact: &Artifact) -> Self {
        let found = applied_of(state, module);
        let error = found.as_ref().err().map(|error: &OpenError| with_causes(error));
        let applied = found.unwrap_or_default();
        // Nothing is known about a database that can't be read.
        let migrations = match error {
            Some(_) => Vec::new(),
            None => compare(artifact.migrations(), applied.as_deref().unwrap_or_default()),
        };
        let exists = applied.is_some() || error.is_some();
        Self { module: module.clone(), build: artifact.build(), exists, error, migrations }
    }
}

/// Returns the migrations that a module's database in a state folder has. `None` if there is no database, or if no published generation
/// had it: such a database is removed before the module gets its own.
pub(super) fn applied_of(state: &Path, module: &ModuleName) -> Result<Option<Vec<AppliedMigration>>, OpenError> {
    let is_published = || StateFolder::read_history(state).is_ok_and(|history| history.ever_had_database(module));
    if StateFolder::is_unpublished(state, module) && !is_published() {
        return Ok(None);
    }
    watertight_sql::applied_migrations(&StateFolder::database_in(state, module))
}

/// Removes from a plan the migrations that the databases in a state folder have already: a build that a rollback left may come back. Blocks if
/// the plan has migrations.
pub(crate) fn retain_pending(plan: &mut Plan, state: &Path) {
    for change in plan.modules.iter_mut().filter(|change| !change.migrations.is_empty()) {
        // Opening the database reports why it can't be read.
        let applied = applied_of(state, &change.name).ok().flatten().unwrap_or_default();
        change.migrations.retain(|name| applied.iter().all(|applied| applied.name != *name));
    }
}

/// Returns the problems for which a start on `state` would refuse the migrations. Tries them on empty databases, so it finds no failure
/// that depends on rows or on free disk space. Migrations of an existing database count as applied. Changes nothing. Blocks.
pub(super) fn refused_by_a_start(config: &AppConfig, artifacts: &Artifacts, state: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, module) in &config.modules {
        let Some(artifact) = artifacts.get(name).filter(|_| config.keeps_data(module)) else { continue };
        // Nothing is known about a database that can't be read. A start reports why.
        let applied = applied_of(state, name).unwrap_or_default();
        let tried = try_migrations(artifact.migrations(), applied.as_deref(), MigrationOccasion::Start, MIGRATION_TIME);
        problems.extend(tried.err().map(|error| problem(name, artifact, &error)));
    }
    problems
}
