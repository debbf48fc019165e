//! What was published, and what was refused: the state folder's memory of generations.
//!
//! It is one file, written whole: aside, synced, renamed. So a host that ends at any moment finds either the one state or the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use crate::artifact::Build;
use crate::clock::now_text;
use crate::failpoint::{Point, crash_point};
use crate::files::{ASIDE, Points, write_durably};
use crate::ids::{Digest, GenerationNumber, ModuleName};
use crate::problem::Problems;

/// The file, in the state folder.
const FILE: &str = "history.json";
/// The version of the file's format.
const FORMAT: u32 = 1;
/// Published generations that can be gone back to.
pub const KEPT_GENERATIONS: usize = 16;
/// Refusals that are remembered.
const KEPT_REFUSALS: usize = 16;
/// Problems of one refusal that are remembered.
const KEPT_PROBLEMS: usize = 32;

const POINTS: Points = Points { aside: Point::HistoryAside, renamed: Point::HistoryRenamed };

/// What a change was asked for as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A start of the host, on what stood on the disk.
    Run,
    /// Another build of one module.
    Swap {
        /// The module.
        module: ModuleName,
    },
    /// A whole application.
    Apply,
    /// Going back.
    Rollback {
        /// To what this generation ran.
        to: GenerationNumber,
    },
}

impl Cause {
    /// The word for its kind.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Swap { .. } => "swap",
            Self::Apply => "apply",
            Self::Rollback { .. } => "rollback",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run | Self::Apply => f.write_str(self.as_str()),
            Self::Swap { module } => write!(f, "swap of {module}"),
            // There was none to go back to.
            Self::Rollback { to: GenerationNumber(0) } => f.write_str(self.as_str()),
            Self::Rollback { to } => write!(f, "rollback to {to}"),
        }
    }
}

/// A published generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its number.
    pub number: GenerationNumber,
    /// When it was published, RFC 3339.
    pub at: String,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
    /// Its manifest and routes.
    pub configuration: Digest,
    /// Its modules.
    pub modules: BTreeMap<ModuleName, Build>,
}

impl Published {
    /// The files that it is made of, by their names within the state folder.
    pub fn files(&self) -> BTreeMap<String, Digest> {
        let component = |build: &Build| (Kept::component_name(&build.digest), build.digest);
        let configuration = (Kept::configuration_name(&self.configuration), self.configuration);
        self.modules.values().map(component).chain([configuration]).collect()
    }
}

/// A change that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When, RFC 3339.
    pub at: String,
    /// What was asked for.
    #[serde(flatten)]
    pub cause: Cause,
    /// Why it was refused.
    pub problems: Vec<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Text {
    format: u32,
    /// What the manifest, the routes and the components on the disk were at the last `run` or `apply`.
    origin: Option<Digest>,
    /// Oldest first; the last is what runs.
    published: Vec<Published>,
    /// Oldest first.
    refused: Vec<Refused>,
}

/// The memory of generations.
#[derive(Debug, Clone)]
pub struct History {
    file: PathBuf,
    kept: Kept,
    text: Text,
}

impl History {
    /// Reads the history of a state folder; an empty one where there is none.
    pub(super) fn open(state: &Path, kept: Kept) -> io::Result<Self> {
        let file = state.join(FILE);
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("history.json {what}"));
        let text: Text = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&format!("is damaged: {error}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Text { format: FORMAT, ..Text::default() },
            Err(error) => return Err(io::Error::new(error.kind(), format!("history.json: {error}"))),
        };
        if text.format != FORMAT {
            return Err(damaged(&format!("has format {}, and this host knows {FORMAT}", text.format)));
        }
        // Whoever goes back names a number, and the next one must be new.
        let mut last = 0;
        for GenerationNumber(number) in text.published.iter().map(|published| published.number) {
            if number <= last || number == u64::MAX {
                return Err(damaged(&format!("is damaged: generation {number} comes after {last}")));
            }
            last = number;
        }
        Ok(Self { file, kept, text })
    }

    /// The text of its file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.text).expect("names, digests and numbers are JSON")
    }

    /// Removes what a host that ended while it wrote a history under `state` has left. Nothing else there is looked at: the folder may be
    /// one that others use, too.
    pub(super) fn remove_leftover(state: &Path) -> io::Result<()> {
        match fs::remove_file(state.join(FILE).with_extension(ASIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The components and configurations that it tells of.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What was published, oldest first.
    pub fn published(&self) -> &[Published] {
        &self.text.published
    }

    /// What was published last.
    pub fn last(&self) -> Option<&Published> {
        self.text.published.last()
    }

    /// The generation of that number, where it is remembered.
    pub fn find(&self, number: GenerationNumber) -> Option<&Published> {
        self.text.published.iter().find(|published| published.number == number)
    }

    /// What was refused, oldest first.
    pub fn refused(&self) -> &[Refused] {
        &self.text.refused
    }

    /// What stood on the disk at the last `run` or `apply`.
    pub fn origin(&self) -> Option<Digest> {
        self.text.origin
    }

    /// The number that the next generation gets.
    pub fn next(&self) -> GenerationNumber {
        GenerationNumber(self.last().map_or(1, |last| last.number.0 + 1))
    }

    /// Remembers a generation, durably: from here on a restart serves it. What nothing tells of any more is removed.
    ///
    /// # Errors
    ///
    /// Where it can't be written; then nothing has changed.
    pub fn publish(
        &mut self,
        cause: Cause,
        configuration: Digest,
        modules: BTreeMap<ModuleName, Build>,
        origin: Option<Digest>,
    ) -> io::Result<()> {
        let mut text = self.text.clone();
        text.published.push(Published { number: self.next(), at: now_text(), cause, configuration, modules });
        let surplus = text.published.len().saturating_sub(KEPT_GENERATIONS);
        text.published.drain(..surplus);
        text.origin = origin.or(text.origin);
        self.write(text)?;
        crash_point(Point::HistoryWritten);
        self.prune();
        Ok(())
    }

    /// Remembers what stands on the disk, durably.
    pub fn note_origin(&mut self, origin: Digest) -> io::Result<()> {
        if self.text.origin == Some(origin) {
            return Ok(());
        }
        self.write(Text { origin: Some(origin), ..self.text.clone() })
    }

    /// Remembers a refusal, and removes what was kept for it.
    pub fn refuse(&mut self, cause: Cause, problems: &Problems) -> io::Result<()> {
        let problems = problems.as_slice().iter().take(KEPT_PROBLEMS);
        let problems = problems.map(|problem| serde_json::to_value(problem).expect("a problem is plain JSON"));
        let mut text = self.text.clone();
        text.refused.push(Refused { at: now_text(), cause, problems: problems.collect() });
        let surplus = text.refused.len().saturating_sub(KEPT_REFUSALS);
        text.refused.drain(..surplus);
        // First: where the disk is full, this makes room.
        self.prune();
        self.write(text)
    }

    fn write(&mut self, text: Text) -> io::Result<()> {
        if let Err(error) = write_durably(&self.file, &serde_json::to_vec_pretty(&text)?, Some(POINTS)) {
            // The new text may be in place, and only that it lasts is unknown: the next start must not find there what was refused.
            if let Err(again) = write_durably(&self.file, &serde_json::to_vec_pretty(&self.text)?, Some(POINTS)) {
                tracing::error!(%again, "the history of generations could not be put back");
            }
            return Err(error);
        }
        self.text = text;
        Ok(())
    }

    fn prune(&self) {
        let published = &self.text.published;
        let components: BTreeSet<Digest> =
            published.iter().flat_map(|one| one.modules.values().map(|module| module.digest)).collect();
        let configurations: BTreeSet<Digest> = published.iter().map(|one| one.configuration).collect();
        self.kept.prune(&components, &configurations);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::problem::{Code, Problem};

    fn open(folder: &Path) -> History {
        History::open(folder, Kept::open(folder).unwrap()).unwrap()
    }

    #[test]
    fn going_back_where_there_is_nothing_names_no_generation() {
        let told = |to| Cause::Rollback { to: GenerationNumber(to) }.to_string();
        assert_eq!((told(0), told(2)), ("rollback".to_owned(), "rollback to 2".to_owned()));
    }

    #[test]
    fn what_was_published_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = open(folder.path());
        assert_eq!(history.next(), GenerationNumber(1));
        let configuration = Digest::of(b"a");
        for _ in 0..KEPT_GENERATIONS + 3 {
            history.publish(Cause::Apply, configuration, BTreeMap::new(), Some(configuration)).unwrap();
        }
        history.refuse(Cause::Run, &Problem::new(Code::Cycle, "round and round").into()).unwrap();
        let again = open(folder.path());
        assert_eq!(again.published(), history.published());
        assert_eq!(again.published().len(), KEPT_GENERATIONS);
        assert_eq!(again.next(), GenerationNumber(KEPT_GENERATIONS as u64 + 4));
        assert!(again.find(GenerationNumber(1)).is_none() && again.find(GenerationNumber(4)).is_some());
        assert_eq!(again.refused()[0].problems[0]["code"], "cycle");
        assert_eq!(again.origin(), Some(configuration));
    }

    #[test]
    fn a_damaged_history_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = open(folder.path());
        for _ in 0..2 {
            history.publish(Cause::Run, Digest::of(b"a"), BTreeMap::new(), None).unwrap();
        }
        let file = folder.path().join("history.json");
        let whole = fs::read_to_string(&file).unwrap();
        let second = |number: &str| whole.replace("\"number\": 2", &format!("\"number\": {number}"));
        // The next number would be one that there was, or none.
        for text in ["{".to_owned(), second("0"), second("1"), second(&u64::MAX.to_string())] {
            fs::write(&file, &text).unwrap();
            let refused = History::open(folder.path(), Kept::open(folder.path()).unwrap()).unwrap_err();
            assert!(refused.to_string().starts_with("history.json is damaged"), "{refused}");
        }
        fs::write(&file, second("7")).unwrap();
        assert_eq!(open(folder.path()).next(), GenerationNumber(8));
    }
}
