//! The databases of a host: one for each module that is granted `sql` or `keyvalue`, shared by all generations that have the module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::rehearse;
use crate::state::StateFolder;
use watertight_component::artifact::Artifact;
use watertight_disk::files::Displaced;
use watertight_graph::graph::{AppGraph, Node};
use watertight_model::config::SqlLimits;
use watertight_model::ids::ModuleName;
use watertight_model::migration::edited;
use watertight_model::problem::{Code, Problem, Problems, with_causes};
use watertight_sql::{Database, MigrateError, OpenError, Settings};
use watertight_telemetry::{Snapshot, table};

/// How long the migrations of one database may wait for its writer and take.
pub(super) const MIGRATION_TIME: Duration = Duration::from_secs(60);

/// The open databases. One stays open for as long as a generation lives that has its module, and until the change after that.
pub struct Databases {
    settings: Settings,
    open: Mutex<BTreeMap<ModuleName, Database>>,
    /// Held while one is opened beside those that are served.
    opening: Mutex<()>,
    /// Whether one was removed that the current generation uses.
    torn: AtomicBool,
    /// Held while a database is copied for a dry run.
    pub(super) copying: Mutex<()>,
}

impl Databases {
    /// None is open yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            open: Mutex::default(),
            opening: Mutex::default(),
            torn: AtomicBool::new(false),
            copying: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModuleName, Database>> {
        // Inserting and reading leave the map whole wherever a panic might strike.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings_of(&self, graph: &AppGraph, module: &ModuleName) -> Settings {
        Settings { limits: limits_of(graph, module), ..self.settings.clone() }
    }

    /// A module's database, where it has one.
    pub fn of(&self, module: &ModuleName) -> Option<Database> {
        self.lock().get(module).cloned()
    }

    /// All that are open.
    pub(crate) fn all(&self) -> Vec<Database> {
        self.lock().values().cloned().collect()
    }

    /// Checks that the files of all that are open are where they were opened; see [`Database::check_files`]. Blocks.
    pub(crate) fn check_files(&self) -> Result<(), Displaced> {
        self.all().iter().map(Database::check_files).fold(Ok(()), Result::and)
    }

    /// Opens those of a graph that are not open, with all their migrations: no host serves yet. `had` are the modules that had a database
    /// in a published generation. Blocks.
    pub(crate) fn open(
        &self,
        graph: &AppGraph,
        state: &StateFolder,
        had: &BTreeSet<ModuleName>,
    ) -> Result<(), Problems> {
        if let Err(error) = rehearse::remove_copies(state) {
            tracing::warn!(%error, "what a dry run has left can't be removed");
        }
        let mut problems = Vec::new();
        for (name, node) in graph.with_data() {
            if self.of(name).is_some() {
                continue;
            }
            if let Err(found) = ready(name, state, had) {
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
        Problems::or(problems, ())
    }

    /// Opens the databases of a graph that is never published, such as a suite's: only its own modules use them. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_alone(&self, graph: &AppGraph, state: &StateFolder) -> Result<(), Problems> {
        self.open(graph, state, &BTreeSet::new())?;
        self.published(graph.with_data().map(|(name, _)| name), state);
        Ok(())
    }

    /// Opens those of a graph that are not open while a host serves: new ones with all their migrations, and those that were there with
    /// what was applied before. What is due of these waits for [`Self::migrate`], since generations that had them may come back. Says
    /// which are new, whatever came of it. `had` are the modules that had a database in a published generation. Blocks.
    pub(crate) fn open_beside(
        &self,
        graph: &AppGraph,
        state: &StateFolder,
        had: &BTreeSet<ModuleName>,
    ) -> (BTreeSet<ModuleName>, Result<(), Problems>) {
        let (mut new, mut problems) = (BTreeSet::new(), Vec::new());
        for (name, node) in graph.with_data() {
            if self.of(name).is_some() {
                continue;
            }
            // A change and a rollback may want the same one at once.
            let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            if self.of(name).is_some() {
                continue;
            }
            if let Err(found) = ready(name, state, had) {
                problems.extend(found.into_vec());
                continue;
            }
            let (file, migrations) = (state.database(name), node.artifact.migrations());
            let opened = watertight_sql::applied(&file).and_then(|applied| {
                let known = match applied {
                    None => {
                        new.insert(name.clone());
                        migrations.len()
                    }
                    // Nobody was made for what it has.
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
        (new, Problems::or(problems, ()))
    }

    /// Removes databases that a change made which was refused: nothing that was published has ever used them, and another build may begin
    /// with other migrations.
    pub(crate) async fn unmake(&self, new: &BTreeSet<ModuleName>, state: &StateFolder) {
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

    /// The databases of these modules belong to a published generation now.
    pub(crate) fn published<'a>(&self, modules: impl IntoIterator<Item = &'a ModuleName>, state: &StateFolder) {
        for name in modules {
            if let Err(error) = state.unmark_unpublished(name) {
                // The history knows better.
                tracing::debug!(%error, module = %name, "the mark of a new database can't be removed");
            }
        }
    }

    /// Whether the current generation uses a database that was removed: then it is to be published anew, even where nothing is different.
    pub(crate) fn are_torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }

    /// A generation is current that uses what is open.
    pub(crate) fn mended(&self) {
        self.torn.store(false, Ordering::Relaxed);
    }

    /// Where the state is for development: makes those databases anew whose applied migrations have another text, name or order now, or
    /// are gone.
    /// The new migrations are tried on an empty database first, and nothing is removed where one of them fails. Whoever still uses a
    /// database that is removed is answered that it is closed. Blocks; must run inside a tokio runtime.
    pub(crate) fn make_anew(&self, graph: &AppGraph, state: &StateFolder) -> Result<(), Problems> {
        if !state.is_for_development() {
            return Ok(());
        }
        let (mut torn, mut problems) = (Vec::new(), Vec::new());
        for (name, node) in graph.with_data() {
            // A database that can't be read is told about when it is opened.
            let Ok(Some(applied)) = watertight_sql::applied(&state.database(name)) else { continue };
            let Some(migration) = edited(node.artifact.migrations(), &applied) else { continue };
            match self.rehearse(graph, name, node, state) {
                Ok(()) => torn.push((name, migration.name.clone())),
                Err(found) => problems.extend(found.into_vec()),
            }
        }
        Problems::or(problems, ())?;
        for (name, migration) in torn {
            let open = self.lock().remove(name);
            if let Some(database) = open {
                self.torn.store(true, Ordering::Relaxed);
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
                "the database of `{name}` was removed with all its rows ({file}, {size}) and is made anew: its migration `{migration}` was \
                 edited, renamed or removed after it was applied here"
            );
        }
        Ok(())
    }

    /// Applies a module's migrations to an empty database of no use.
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

    /// Applies to open databases what a graph's modules need of them, while other builds are served. Databases of `current`, which have
    /// what its builds carry, are not asked where nothing can be due.
    pub(crate) async fn migrate(&self, graph: &AppGraph, current: Option<&AppGraph>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (name, node) in graph.with_data() {
            let known = current.and_then(|current| current.modules.get(name)).filter(|node| node.keeps_data());
            if known.is_some_and(|known| known.artifact.migrations().starts_with(node.artifact.migrations())) {
                continue;
            }
            let Some(database) = self.of(name) else { continue };
            match database.limited(limits_of(graph, name)).migrate(node.artifact.migrations(), MIGRATION_TIME).await {
                Ok(0) => {}
                Ok(applied) => tracing::info!(module = %name, applied, "migrated"),
                Err(MigrateError::Refused(error)) => problems.push(problem(name, &node.artifact, &error)),
                Err(MigrateError::Failed(error)) => {
                    let message = format!("the migrations could not be applied: {error}");
                    problems.push(Problem::new(Code::Migration, message).module(name));
                }
            }
        }
        Problems::or(problems, ())
    }

    /// Adds what each has done so far.
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

    /// Takes out those that no module of `used` has, to be closed. They are opened anew where they are wanted again.
    pub(crate) fn take_others(&self, used: &BTreeSet<ModuleName>) -> Vec<Database> {
        self.lock().extract_if(.., |name, _| !used.contains(name)).map(|(_, db)| db).collect()
    }

    /// Closes all.
    pub async fn close(&self) {
        for database in self.all() {
            database.close().await;
        }
    }
}

/// Makes way for opening a module's database: removes one that no published generation had, and marks one that isn't there yet as such.
fn ready(name: &ModuleName, state: &StateFolder, had: &BTreeSet<ModuleName>) -> Result<(), Problems> {
    let file = state.database(name);
    let unusable = |error: std::io::Error| {
        Problems::from(
            Problem::new(Code::State, format!("the database `{}` can't be used: {error}", file.display())).module(name),
        )
    };
    if had.contains(name) {
        check_there(name, state)?;
        // A host ended before it could remove the mark.
        return state.unmark_unpublished(name).map_err(unusable);
    }
    if state.is_marked_unpublished(name) {
        watertight_sql::remove(&file).map_err(unusable)?;
        tracing::info!(target: "database", module = %name, "removed a database of a change that was never published");
    }
    // One that is there without a mark was put there by somebody.
    if file.exists() { Ok(()) } else { state.mark_unpublished(name).map_err(unusable) }
}

/// Refuses to begin empty where there was something: the database of a module that had one is to be there.
fn check_there(name: &ModuleName, state: &StateFolder) -> Result<(), Problems> {
    let file = state.database(name);
    let is_there =
        watertight_sql::is_begun(&file).map_err(|error| Problem::new(Code::State, with_causes(&error)).module(name))?;
    if is_there && watertight_sql::has_lost_log(&file) {
        return lost_log(name, &file, state);
    }
    if is_there {
        return Ok(());
    }
    if state.accepts_empty(name) {
        tracing::warn!(target: "state", module = %name, file = %file.display(), "the module had a database, which is missing; it begins with an empty one");
        return Ok(());
    }
    let message = format!("the database of `{name}` is missing or empty, and the module had one: {}", file.display());
    let help = format!(
        "put the file back with its `-wal`, or restore a backup (`watertight restore`); to go on without what was in it, start with \
         `watertight run --accept-empty {name}`"
    );
    Err(Problem::new(Code::State, message).module(name).help(help).into())
}

/// Refuses to go on without what was committed last, which was in a log that somebody removed.
fn lost_log(name: &ModuleName, file: &Path, state: &StateFolder) -> Result<(), Problems> {
    let log = format!("{}-wal", file.display());
    if state.accepts_empty(name) {
        tracing::warn!(target: "state", module = %name, file = log, "the write-ahead log of the module's database is missing; it begins with what the database has without it");
        return Ok(());
    }
    let message = format!(
        "the write-ahead log of the database of `{name}` is missing, and what was committed last was in it: {log}"
    );
    let help = format!(
        "put the file back, or restore a backup (`watertight restore`); to go on without what was in it, start with \
         `watertight run --accept-empty {name}`"
    );
    Err(Problem::new(Code::State, message).module(name).help(help).into())
}

/// What a module's statements may take.
fn limits_of(graph: &AppGraph, module: &ModuleName) -> SqlLimits {
    graph.home(module).map(|home| graph.compartments[home].limits.sql).unwrap_or_default()
}

/// The disk's fault or the module's: the message names the file of the one, the component holds the other.
pub(super) fn problem(module: &ModuleName, artifact: &Artifact, error: &OpenError) -> Problem {
    let problem = match error {
        OpenError::Database { .. } | OpenError::Files { .. } => Problem::new(Code::State, with_causes(error)),
        OpenError::NotAdditive { .. } => Problem::new(Code::Migration, with_causes(error)).help(
            "a start applies it: put this build where the manifest names the module's component, stop the host and start it again; then \
             there is no way back beyond it. `--dry-run` says before whether it can be applied to the data that are there",
        ),
        OpenError::Unmarked { .. } => Problem::new(Code::Migration, with_causes(error)).file(&artifact.path).help(
            "earlier builds may come back by a rollback: only create tables and indexes that are not unique, and add columns; or write \
             `-- contract` above it as its first line, build, and put the build in place by a start, not while a host serves: then there is \
             no way back beyond it. The line may be added where the migration was applied already",
        ),
        OpenError::InsertedMigration { before, .. } => {
            Problem::new(Code::Migration, with_causes(error)).file(&artifact.path).help(format!(
                "what was applied never changes, nor does what stands before it: give the new one a number that is higher than that of \
                 `{before}` and of all others that were applied"
            ))
        }
        OpenError::Contracted { .. } => Problem::new(Code::Migration, with_causes(error))
            .file(&artifact.path)
            .help("give a new build that does what this one did, on the newer schema"),
        OpenError::ChangedMigration { .. } | OpenError::ReorderedMigration { .. } => {
            Problem::new(Code::Migration, with_causes(error)).file(&artifact.path).help(
                "what was applied never changes: take it back as it was, and put what is new into a migration of its own, after all others",
            )
        }
        _ => Problem::new(Code::Migration, with_causes(error)).file(&artifact.path),
    };
    problem.module(module)
}
