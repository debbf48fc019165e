//! The open databases of a host: one for each module with a grant of `sql` or `keyvalue`. All generations that have the module share it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::trial;
use crate::state::StateFolder;
use watertight_component::artifact::Artifact;
use watertight_disk::files::FileChanged;
use watertight_graph::graph::{AppGraph, Node};
use watertight_model::config::SqlLimits;
use watertight_model::ids::ModuleName;
use watertight_model::migration::first_edited;
use watertight_model::problem::{Code, Problem, Problems, with_causes};
use watertight_sql::{Database, MigrateError, OpenError, Settings};
use watertight_telemetry::{Snapshot, table};

/// How long the migrations of one database may take, including the wait for its writer.
pub(super) const MIGRATION_TIME: Duration = Duration::from_secs(60);

/// The open databases. A database stays open while any generation with its module lives, and until the next change after that.
pub struct Databases {
    settings: Settings,
    open: Mutex<BTreeMap<ModuleName, Database>>,
    /// A lock that is held while a database is opened during service, so that no database is opened twice.
    opening: Mutex<()>,
    /// Whether a database that the current generation uses was removed.
    needs_republish: AtomicBool,
    /// A lock that is held while a database is copied for a dry run.
    pub(super) copying: Mutex<()>,
}

impl Databases {
    /// Returns a set without open databases.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            open: Mutex::default(),
            opening: Mutex::default(),
            needs_republish: AtomicBool::new(false),
            copying: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModuleName, Database>> {
        // A panic can't leave the map half-changed, so a poisoned lock is safe to use.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings_of(&self, graph: &AppGraph, module: &ModuleName) -> Settings {
        Settings { limits: limits_of(graph, module), ..self.settings.clone() }
    }

    /// Returns the open database of a module, if it has one.
    pub fn get(&self, module: &ModuleName) -> Option<Database> {
        self.lock().get(module).cloned()
    }

    /// Returns all open databases.
    pub(crate) fn all(&self) -> Vec<Database> {
        self.lock().values().cloned().collect()
    }

    /// Checks that the files of all open databases are where they were opened; see [`Database::check_files`]. Blocks.
    ///
    /// # Errors
    ///
    /// [`FileChanged`] for the first file that was removed or replaced.
    pub(crate) fn check_files(&self) -> Result<(), FileChanged> {
        self.all().iter().map(Database::check_files).fold(Ok(()), Result::and)
    }

    /// Opens the databases of a graph before the host serves, and applies all their migrations. `had` names the modules that had a database
    /// in a published generation. Blocks.
    ///
    /// # Errors
    ///
    /// A problem for each database that can't be opened or migrated.
    pub(crate) fn open(
        &self,
        graph: &AppGraph,
        state: &StateFolder,
        had: &BTreeSet<ModuleName>,
    ) -> Result<(), Problems> {
        if let Err(error) = trial::remove_copies(state) {
            tracing::warn!(%error, "the copies of databases that an interrupted dry run left can't be removed");
        }
        let mut problems = Vec::new();
        for (name, node) in graph.modules_with_database() {
            if self.get(name).is_some() {
                continue;
            }
            if let Err(found) = prepare_file(name, state, had) {
                problems.extend(found.into_vec());
                continue;
            }
            match Database::open(&state.database(name), self.settings_of(graph, name), node.artifact.migrations()) {
                Ok(database) => {
                    self.lock().insert(name.clone(), database);
                }
                Err(error) => problems.push(problem(name, &node.artifact, &error)),
            }
        }
        Problems::ok_or_problems(problems, ())
    }

    /// Opens the databases of a graph that is never published, such as that of a contract suite. Blocks.
    ///
    /// # Errors
    ///
    /// A problem for each database that can't be opened or migrated.
    pub fn open_unpublished(&self, graph: &AppGraph, state: &StateFolder) -> Result<(), Problems> {
        self.open(graph, state, &BTreeSet::new())?;
        self.mark_published(graph.modules_with_database().map(|(name, _)| name), state);
        Ok(())
    }

    /// Opens the databases of a graph while the host serves. A new database gets all migrations. An existing one with migrations gets no
    /// further ones yet, since a rollback may return to generations that used it; [`Self::migrate`] applies them later. Returns the modules
    /// with new databases even if opening others fails. `had` names the modules that had a database in a published generation. Blocks.
    ///
    /// # Errors
    ///
    /// A problem for each database that can't be opened, or for a new one, migrated.
    pub(crate) fn open_while_serving(
        &self,
        graph: &AppGraph,
        state: &StateFolder,
        had: &BTreeSet<ModuleName>,
    ) -> (BTreeSet<ModuleName>, Result<(), Problems>) {
        let (mut new, mut problems) = (BTreeSet::new(), Vec::new());
        for (name, node) in graph.modules_with_database() {
            if self.get(name).is_some() {
                continue;
            }
            // A change and a rollback may need the same database at the same time.
            let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            if self.get(name).is_some() {
                continue;
            }
            if let Err(found) = prepare_file(name, state, had) {
                problems.extend(found.into_vec());
                continue;
            }
            let (file, migrations) = (state.database(name), node.artifact.migrations());
            let opened = watertight_sql::applied_migrations(&file).and_then(|applied| {
                let known = match applied {
                    None => {
                        new.insert(name.clone());
                        migrations.len()
                    }
                    // No build depends on the schema of a database without migrations.
                    Some(applied) if applied.is_empty() => migrations.len(),
                    Some(applied) => applied.len().min(migrations.len()),
                };
                Database::open(&file, self.settings_of(graph, name), &migrations[..known])
            });
            match opened {
                Ok(database) => drop(self.lock().insert(name.clone(), database)),
                Err(error) => problems.push(problem(name, &node.artifact, &error)),
            }
        }
        (new, Problems::ok_or_problems(problems, ()))
    }

    /// Removes the databases that a refused change created. No published generation has used them, and another build may start with other
    /// migrations.
    pub(crate) async fn remove_new(&self, new: &BTreeSet<ModuleName>, state: &StateFolder) {
        for name in new {
            let open = self.lock().remove(name);
            if let Some(database) = open {
                database.close().await;
            }
            let file = state.database(name);
            if let Err(error) = watertight_sql::remove(&file).and_then(|()| state.unmark_unpublished(name)) {
                tracing::warn!(%error, file = %file.display(), "the database of a refused change can't be removed");
            }
        }
    }

    /// Records that a published generation has the databases of these modules, so that they are no longer marked as new.
    pub(crate) fn mark_published<'a>(&self, modules: impl IntoIterator<Item = &'a ModuleName>, state: &StateFolder) {
        for name in modules {
            if let Err(error) = state.unmark_unpublished(name) {
                // The history overrides a mark that remains.
                tracing::debug!(%error, module = %name, "the mark that a database is not published yet can't be removed");
            }
        }
    }

    /// Whether the current generation uses a database that was removed. It must then be published again, even if nothing else differs.
    pub(crate) fn need_republish(&self) -> bool {
        self.needs_republish.load(Ordering::Relaxed)
    }

    /// Records that the current generation uses only open databases.
    pub(crate) fn clear_republish(&self) {
        self.needs_republish.store(false, Ordering::Relaxed);
    }

    /// Recreates databases of a development folder whose applied migrations were edited, renamed, reordered or removed. Does nothing for
    /// other state folders. Tries all migrations on an empty database first, and removes no database if one of them fails. Statements on a
    /// removed database fail as on a closed one. Blocks; must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// A problem for each module whose migrations fail, and one for a database that can't be removed.
    pub(crate) fn recreate_edited(&self, graph: &AppGraph, state: &StateFolder) -> Result<(), Problems> {
        if !state.is_for_development() {
            return Ok(());
        }
        let (mut torn, mut problems) = (Vec::new(), Vec::new());
        for (name, node) in graph.modules_with_database() {
            // Opening the database reports why it can't be read.
            let Ok(Some(applied)) = watertight_sql::applied_migrations(&state.database(name)) else { continue };
            let Some(migration) = first_edited(node.artifact.migrations(), &applied) else { continue };
            match self.rehearse(graph, name, node, state) {
                Ok(()) => torn.push((name, migration.name.clone())),
                Err(found) => problems.extend(found.into_vec()),
            }
        }
        Problems::ok_or_problems(problems, ())?;
        for (name, migration) in torn {
            let open = self.lock().remove(name);
            if let Some(database) = open {
                self.needs_republish.store(true, Ordering::Relaxed);
                Handle::current().block_on(database.close());
            }
            let file = state.database(name);
            let unremoved = |error| {
                let message = format!("the database `{}` can't be removed: {error}", file.display());
                Problem::new(Code::State, message).module(name)
            };
            let size = file.metadata().map_or(0, |found| found.len());
            watertight_sql::remove(&file).map_err(unremoved)?;
            let (file, size) = (file.display(), bytesize::ByteSize(size));
            tracing::warn!(
                target: "database",
                "the database of `{name}` was removed with all its rows ({file}, {size}) and is created again: its migration `{migration}` was \
                 edited, renamed or removed after it was applied here"
            );
        }
        Ok(())
    }

    /// Applies a module's migrations to an empty temporary database, to find out whether they work, and removes the database.
    fn rehearse(&self, graph: &AppGraph, name: &ModuleName, node: &Node, state: &StateFolder) -> Result<(), Problems> {
        let file = state.path().join("rehearsal.db");
        let unusable =
            |error| Problems::from(Problem::new(Code::State, format!("{} can't be used: {error}", file.display())));
        watertight_sql::remove(&file).map_err(unusable)?;
        let opened = Database::open(&file, self.settings_of(graph, name), node.artifact.migrations());
        if let Ok(database) = &opened {
            Handle::current().block_on(database.close());
        }
        watertight_sql::remove(&file).map_err(unusable)?;
        opened.map(drop).map_err(|error| problem(name, &node.artifact, &error).into())
    }

    /// Applies the pending migrations of a graph's modules to open databases while other builds are served. If `current` is given, skips
    /// databases whose current build already has all these migrations.
    ///
    /// # Errors
    ///
    /// A problem for each module whose migrations are refused or fail. Those of other modules are applied.
    pub(crate) async fn migrate(&self, graph: &AppGraph, current: Option<&AppGraph>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (name, node) in graph.modules_with_database() {
            let known = current.and_then(|current| current.modules.get(name)).filter(|node| node.has_database);
            if known.is_some_and(|known| known.artifact.migrations().starts_with(node.artifact.migrations())) {
                continue;
            }
            let Some(database) = self.get(name) else { continue };
            match database.with_limits(limits_of(graph, name)).migrate(node.artifact.migrations(), MIGRATION_TIME).await
            {
                Ok(0) => {}
                Ok(applied) => tracing::info!(module = %name, applied, "migrations were applied"),
                Err(MigrateError::Refused(error)) => problems.push(problem(name, &node.artifact, &error)),
                Err(MigrateError::Failed(error)) => {
                    let message = format!("the migrations could not be applied: {error}");
                    problems.push(Problem::new(Code::Migration, message).module(name));
                }
            }
        }
        Problems::ok_or_problems(problems, ())
    }

    /// Adds the counters of each open database to `now`, a snapshot of the metrics.
    pub(crate) fn sample(&self, now: &mut Snapshot) {
        for (module, database) in self.lock().iter() {
            let (module, counted) = ([module.as_str()], database.counters());
            now.add(&table::COMMITS, &module, counted.commits);
            now.add(&table::SYNCS, &module, counted.syncs);
            now.add(&table::LARGEST_BATCH, &module, counted.largest_batch);
            now.add(&table::ROLLBACKS, &module, counted.rollbacks);
            now.add(&table::CHECKPOINTS, &module, counted.checkpoints);
            now.add(&table::READS, &[module[0], "inline"], counted.inline_reads);
            now.add(&table::READS, &[module[0], "thread"], counted.long_reads);
            now.add(&table::WRITER_QUEUE, &module, counted.writer_queue as u64);
            now.add(&table::READ_QUEUE, &module, counted.read_queue as u64);
        }
    }

    /// Removes the databases of all modules that aren't in `used` from the open ones, and returns them to be closed.
    pub(crate) fn take_unused(&self, used: &BTreeSet<ModuleName>) -> Vec<Database> {
        self.lock().extract_if(.., |name, _| !used.contains(name)).map(|(_, db)| db).collect()
    }

    /// Closes all databases.
    pub async fn close(&self) {
        for database in self.all() {
            database.close().await;
        }
    }
}

/// Prepares to open a module's database. Removes one that no published generation had, and marks one that doesn't exist yet as unpublished.
fn prepare_file(name: &ModuleName, state: &StateFolder, had: &BTreeSet<ModuleName>) -> Result<(), Problems> {
    let file = state.database(name);
    let unusable = |error: std::io::Error| {
        Problems::from(
            Problem::new(Code::State, format!("the database `{}` can't be used: {error}", file.display())).module(name),
        )
    };
    if had.contains(name) {
        refuse_missing(name, state)?;
        // A host that crashed may have left the mark.
        return state.unmark_unpublished(name).map_err(unusable);
    }
    if state.is_marked_unpublished(name) {
        watertight_sql::remove(&file).map_err(unusable)?;
        tracing::info!(target: "database", module = %name, "removed a database of a change that was never published");
    }
    // The host creates no database without a mark, so the operator put this one there.
    if file.exists() { Ok(()) } else { state.mark_unpublished(name).map_err(unusable) }
}

/// Refuses to continue if the database of a module that had one is missing or empty, unless the operator accepts that.
fn refuse_missing(name: &ModuleName, state: &StateFolder) -> Result<(), Problems> {
    let file = state.database(name);
    let is_there =
        watertight_sql::is_used(&file).map_err(|error| Problem::new(Code::State, with_causes(&error)).module(name))?;
    if is_there && watertight_sql::has_lost_log(&file) {
        return refuse_lost_log(name, &file, state);
    }
    if is_there {
        return Ok(());
    }
    if state.accepts_empty(name) {
        tracing::warn!(target: "state", module = %name, file = %file.display(), "the module had a database, which is missing; it starts with an empty one");
        return Ok(());
    }
    let message = format!("the database of `{name}` is missing or empty, and the module had one: {}", file.display());
    let help = format!(
        "put the file back with its `-wal`, or restore a backup (`watertight restore`); to continue without its data, start with \
         `watertight run --accept-empty {name}`"
    );
    Err(Problem::new(Code::State, message).module(name).help(help).into())
}

/// Refuses to continue if somebody removed the write-ahead log with the last commits, unless the operator accepts that.
fn refuse_lost_log(name: &ModuleName, file: &Path, state: &StateFolder) -> Result<(), Problems> {
    let log = format!("{}-wal", file.display());
    if state.accepts_empty(name) {
        tracing::warn!(target: "state", module = %name, file = log, "the write-ahead log of the module's database is missing; the module starts with what the database has without it");
        return Ok(());
    }
    let message =
        format!("the write-ahead log of the database of `{name}` is missing, and the last commits were in it: {log}");
    let help = format!(
        "put the file back, or restore a backup (`watertight restore`); to continue without its data, start with \
         `watertight run --accept-empty {name}`"
    );
    Err(Problem::new(Code::State, message).module(name).help(help).into())
}

/// Returns the limits of a module's SQL statements.
fn limits_of(graph: &AppGraph, module: &ModuleName) -> SqlLimits {
    graph.compartment_of(module).map(|home| graph.compartments[home].limits.sql).unwrap_or_default()
}

/// Makes a problem of an error. A fault of the disk names the database file in its message. A fault of a migration names the component.
pub(super) fn problem(module: &ModuleName, artifact: &Artifact, error: &OpenError) -> Problem {
    let problem = match error {
        OpenError::Database { .. } | OpenError::Files { .. } => Problem::new(Code::State, with_causes(error)),
        OpenError::NotAdditive { .. } => Problem::new(Code::Migration, with_causes(error)).help(
            "only a start applies this migration: put this build where the manifest names the module's component, stop the host and start \
             it again; no rollback can go back beyond it then. `--dry-run` shows in advance whether the start would be accepted",
        ),
        OpenError::UnmarkedContraction { .. } => Problem::new(Code::Migration, with_causes(error)).file(&artifact.path).help(
            "a rollback can bring earlier builds back: only create tables and indexes that are not unique, and add columns. Or write \
             `-- contract` as the first line of the migration, build the module, and deploy the build by a start, not while a host serves: \
             no rollback can go back beyond it then. The line can also be added to a migration that was applied already",
        ),
        OpenError::InsertedMigration { before, .. } => {
            Problem::new(Code::Migration, with_causes(error)).file(&artifact.path).help(format!(
                "an applied migration never changes, and none can be added before it: give the new migration a number that is higher than that of \
                 `{before}` and of all others that were applied"
            ))
        }
        OpenError::UnknownContraction { .. } => Problem::new(Code::Migration, with_causes(error))
            .file(&artifact.path)
            .help("use a new build with the behaviour of this one that works with the newer schema"),
        OpenError::ChangedMigration { .. } | OpenError::ReorderedMigration { .. } => {
            Problem::new(Code::Migration, with_causes(error)).file(&artifact.path).help(
                "an applied migration never changes: restore its text, and put what is new into a migration of its own, after all others",
            )
        }
        _ => Problem::new(Code::Migration, with_causes(error)).file(&artifact.path),
    };
    problem.module(module)
}
