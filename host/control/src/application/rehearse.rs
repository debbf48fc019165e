//! Migrations that a change brings, tried before anything is compiled or changed: on empty databases, and for a dry run on copies of the data.

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
use watertight_model::migration::Applied;
use watertight_model::problem::{Problem, Problems};
use watertight_sql::{CopyTried, Database, MAX_COPY, Occasion, try_migrations, try_on_copy};

/// A module whose build brings migrations that its database has not.
struct Due<'a> {
    name: &'a ModuleName,
    node: &'a Node,
    /// What the database has; none where there is no database.
    applied: Option<Vec<Applied>>,
    /// The database, where it is open.
    open: Option<Database>,
}

impl Due<'_> {
    /// What a change would refuse of them, as far as it depends neither on rows nor on room.
    fn refused(&self) -> Option<Problem> {
        let has_some = self.applied.as_ref().is_some_and(|applied| !applied.is_empty());
        let occasion = if has_some || self.open.is_some() { Occasion::Serving } else { Occasion::New };
        let migrations = self.node.artifact.migrations();
        let tried = try_migrations(migrations, self.applied.as_deref(), occasion, MIGRATION_TIME);
        tried.err().map(|error| problem(self.name, &self.node.artifact, &error))
    }

    /// Whether only a start can apply them.
    fn are_for_a_start(&self) -> bool {
        let known = self.applied.as_ref().map_or(0, Vec::len);
        self.node.artifact.migrations().iter().skip(known).any(|migration| migration.is_contraction())
    }
}

impl Databases {
    /// What of a graph's migrations a change is refused for, where that depends neither on rows nor on room. Blocks, for milliseconds; where
    /// a migration computes, for a minute at most.
    pub(crate) fn check_due(&self, graph: &AppGraph, state: &StateFolder) -> Result<(), Problems> {
        if state.is_for_development() {
            return Ok(());
        }
        Problems::or(self.due(graph, state).iter().filter_map(Due::refused).collect(), ())
    }

    /// Tries the migrations that are due, on an empty database and on a copy of the data where that is not too large. Returns one sentence
    /// for each module. Blocks.
    ///
    /// # Errors
    ///
    /// Everything that refuses one of them.
    pub(crate) fn rehearse_due(&self, graph: &AppGraph, state: &StateFolder) -> Result<Vec<String>, Problems> {
        if state.is_for_development() {
            return Ok(Vec::new());
        }
        let (mut notes, mut problems) = (Vec::new(), Vec::new());
        for due in self.due(graph, state) {
            let refused = due.refused();
            // What an empty database refuses this one does, too, unless it only waits for a start.
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
        // There is no answer but the problems, then.
        let told = problems.into_iter().map(|problem| told_with(problem, &notes));
        Problems::or(told.collect(), Vec::new())
    }

    /// The modules of a graph that bring migrations which their databases have not, or others than those have.
    fn due<'a>(&self, graph: &'a AppGraph, state: &StateFolder) -> Vec<Due<'a>> {
        let due = |(name, node): (&'a ModuleName, &'a Node)| {
            // One that can't be read is told about when it is opened.
            let applied = applied_of(state.path(), name).unwrap_or_default();
            Due { name, node, applied, open: self.of(name) }
        };
        graph.with_data().map(due).collect()
    }

    /// Applies what is due of an open database to a copy of it.
    fn on_a_copy(&self, due: &Due<'_>, state: &StateFolder) -> Result<Option<String>, Problems> {
        let Due { name, node, applied, open } = due;
        let (migrations, known) = (node.artifact.migrations(), applied.as_ref().map_or(0, Vec::len));
        let Some(database) = open.as_ref().filter(|_| migrations.len() > known) else { return Ok(None) };
        let not_tried = |why: &str| format!("the migrations of `{name}` were not tried on its data: {why}");
        // One copy at a time: it may be large.
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = copies(state);
        if let Err(error) = make_anew(&folder) {
            return Ok(Some(not_tried(&format!("{} can't be used: {error}", folder.display()))));
        }
        let occasion = if due.are_for_a_start() { Occasion::Start } else { Occasion::Serving };
        let tried = try_on_copy(database, &folder.join("copy.db"), migrations, occasion, MIGRATION_TIME);
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(%error, folder = %folder.display(), "the copy of a dry run can't be removed");
        }
        match tried {
            Ok(Ok(CopyTried { bytes, tried: true })) => {
                let who = if due.are_for_a_start() { ", as a start applies them" } else { "" };
                Ok(Some(format!(
                    "the migrations of `{name}` were applied to a copy of its data ({}){who}",
                    ByteSize(bytes)
                )))
            }
            Ok(Ok(CopyTried { bytes, tried: false })) => {
                let most = ByteSize(MAX_COPY);
                Ok(Some(not_tried(&format!("it has {}, and {most} are copied at most", ByteSize(bytes)))))
            }
            Ok(Err(error)) => Err(problem(name, &node.artifact, &error).into()),
            Err(reason) => Ok(Some(not_tried(&reason))),
        }
    }
}

/// Removes what a host that ended in a dry run has left.
pub(super) fn remove_copies(state: &StateFolder) -> io::Result<()> {
    match fs::remove_dir_all(copies(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the copies of dry runs are.
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

/// A problem whose help says as well what came of trying migrations of its module on data.
fn told_with(problem: Problem, notes: &[String]) -> Problem {
    let about = |note: &&String| problem.module.as_ref().is_some_and(|module| note.contains(&format!("`{module}`")));
    match (notes.iter().find(about).cloned(), problem.help.clone()) {
        (Some(note), Some(help)) => problem.help(format!("{help}. {note}")),
        (Some(note), None) => problem.help(note),
        (None, _) => problem,
    }
}
