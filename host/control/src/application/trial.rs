//! Tries the migrations of a change before anything is compiled or changed: on empty databases, and in a dry run on copies of the data.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use bytesize::ByteSize;

use super::databases::{Databases, MIGRATION_TIME, problem};
use super::migrations::applied_of;
use crate::state::StateFolder;
use watertight_graph::graph::{AppGraph, Node};
use watertight_model::ids::ModuleName;
use watertight_model::migration::AppliedMigration;
use watertight_model::problem::{Problem, Problems};
use watertight_sql::{CopyTrial, Database, MAX_COPY, MigrationOccasion, try_migrations, try_on_copy};

/// A module with a database, whose build may carry migrations that the database doesn't have.
struct ModuleMigrationTrial<'a> {
    name: &'a ModuleName,
    node: &'a Node,
    /// The migrations that the database has; `None` if there is no database.
    applied: Option<Vec<AppliedMigration>>,
    /// The database, if it is open.
    open: Option<Database>,
}

impl ModuleMigrationTrial<'_> {
    /// Returns the problem for which a change would refuse the migrations. Finds no failure that depends on rows or on free disk space.
    fn refused(&self) -> Option<Problem> {
        let has_some = self.applied.as_ref().is_some_and(|applied| !applied.is_empty());
        let occasion =
            if has_some || self.open.is_some() { MigrationOccasion::Serving } else { MigrationOccasion::New };
        let migrations = self.node.artifact.migrations();
        let tried = try_migrations(migrations, self.applied.as_deref(), occasion, MIGRATION_TIME);
        tried.err().map(|error| problem(self.name, &self.node.artifact, &error))
    }

    /// Whether the pending migrations include a contraction, which only a start can apply.
    fn are_for_a_start(&self) -> bool {
        let known = self.applied.as_ref().map_or(0, Vec::len);
        self.node.artifact.migrations().iter().skip(known).any(|migration| migration.is_contraction())
    }
}

impl Databases {
    /// Refuses a change if its pending migrations fail on an empty database. Finds no failure that depends on rows or on free disk space.
    /// Blocks, usually for milliseconds, and for at most a minute for each database.
    ///
    /// # Errors
    ///
    /// A problem for each module whose migrations would be refused.
    pub(crate) fn check_pending(&self, graph: &AppGraph, state: &StateFolder) -> Result<(), Problems> {
        if state.is_for_development() {
            return Ok(());
        }
        Problems::ok_or_problems(self.due(graph, state).iter().filter_map(ModuleMigrationTrial::refused).collect(), ())
    }

    /// Tries the pending migrations on an empty database, and on a copy of the data unless it is too large. Returns one sentence for each
    /// module whose data was copied or could not be. Blocks.
    ///
    /// # Errors
    ///
    /// All problems for which one of the migrations would be refused.
    pub(crate) fn try_pending(&self, graph: &AppGraph, state: &StateFolder) -> Result<Vec<String>, Problems> {
        if state.is_for_development() {
            return Ok(Vec::new());
        }
        let (mut notes, mut problems) = (Vec::new(), Vec::new());
        for due in self.due(graph, state) {
            let refused = due.refused();
            // What fails on an empty database also fails on the copy, unless it fails only because it needs a start.
            if refused.is_none() || due.are_for_a_start() {
                match self.on_a_copy(&due, state) {
                    Ok(note) => notes.extend(note),
                    Err(found) => problems.extend(found.into_vec()),
                }
            }
            problems.extend(refused);
        }
        if problems.is_empty() {
            return Ok(notes);
        }
        // A refusal has no place for notes, so they become part of the problems.
        let told = problems.into_iter().map(|problem| with_note(problem, &notes));
        Problems::ok_or_problems(told.collect(), Vec::new())
    }

    /// Returns the modules of a graph that have a database, each with the migrations that its database has.
    fn due<'a>(&self, graph: &'a AppGraph, state: &StateFolder) -> Vec<ModuleMigrationTrial<'a>> {
        let due = |(name, node): (&'a ModuleName, &'a Node)| {
            // Opening the database reports why it can't be read.
            let applied = applied_of(state.path(), name).unwrap_or_default();
            ModuleMigrationTrial { name, node, applied, open: self.get(name) }
        };
        graph.modules_with_database().map(due).collect()
    }

    /// Applies the pending migrations of an open database to a copy of it. Returns a sentence for people; `None` if nothing is pending.
    fn on_a_copy(&self, trial: &ModuleMigrationTrial<'_>, state: &StateFolder) -> Result<Option<String>, Problems> {
        let ModuleMigrationTrial { name, node, applied, open } = trial;
        let (migrations, known) = (node.artifact.migrations(), applied.as_ref().map_or(0, Vec::len));
        let Some(database) = open.as_ref().filter(|_| migrations.len() > known) else { return Ok(None) };
        let not_tried = |why: &str| format!("the migrations of `{name}` were not tried on its data: {why}");
        // Only one copy exists at a time, because it may be large.
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = copies(state);
        if let Err(error) = make_anew(&folder) {
            return Ok(Some(not_tried(&format!("{} can't be used: {error}", folder.display()))));
        }
        let occasion = if trial.are_for_a_start() { MigrationOccasion::Start } else { MigrationOccasion::Serving };
        let tried = try_on_copy(database, &folder.join("copy.db"), migrations, occasion, MIGRATION_TIME);
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(%error, folder = %folder.display(), "the copy of a database that a dry run made can't be removed");
        }
        match tried {
            Ok(Ok(CopyTrial { bytes, tried: true })) => {
                let tried =
                    format!("the migrations of `{name}` were applied to a copy of its data ({})", ByteSize(bytes));
                Ok(Some(match trial.are_for_a_start() {
                    true => format!(
                        "the change waits for a start, which would be accepted: {tried}, as a start applies them"
                    ),
                    false => tried,
                }))
            }
            Ok(Ok(CopyTrial { bytes, tried: false })) => {
                let most = ByteSize(MAX_COPY);
                Ok(Some(not_tried(&format!("it has {}, and at most {most} are copied", ByteSize(bytes)))))
            }
            Ok(Err(error)) => Err(problem(name, &node.artifact, &error).into()),
            Err(reason) => Ok(Some(not_tried(&reason))),
        }
    }
}

/// Removes the copies of databases that an interrupted dry run left.
pub(super) fn remove_copies(state: &StateFolder) -> io::Result<()> {
    match fs::remove_dir_all(copies(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path of the folder for the copies of dry runs.
fn copies(state: &StateFolder) -> PathBuf {
    state.path().join("dry-run")
}

fn make_anew(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Adds the note about trying a module's migrations on its data to the help of a problem of that module.
fn with_note(problem: Problem, notes: &[String]) -> Problem {
    let about = |note: &&String| problem.module.as_ref().is_some_and(|module| note.contains(&format!("`{module}`")));
    match (notes.iter().find(about).cloned(), problem.help.clone()) {
        (Some(note), Some(help)) => problem.help(format!("{help}. {note}")),
        (Some(note), None) => problem.help(note),
        (None, _) => problem,
    }
}
