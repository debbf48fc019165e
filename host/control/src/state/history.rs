//! What was published, and what was refused: the state folder's memory of generations.
//!
//! It is one file, written whole: aside, synced, renamed. So a host that ends at any moment finds either the one state or the other.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use super::published::{Asker, Cause, OnDisk, Publication, Published, Refused};
use super::unpublished;
use watertight_disk::failpoint::{Point, crash_point};
use watertight_disk::files::{ASIDE, Displaced, Points, write_durably};
use watertight_model::clock::now_text;
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::Problems;

/// The file, in the state folder.
const FILE: &str = "history.json";
/// The version of the file's format. Format 1 has no databases and no record of the disk by generation, but one digest for all.
const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;
/// Published generations that can be gone back to.
pub const KEPT_GENERATIONS: usize = 16;
/// Refusals that are remembered.
const KEPT_REFUSALS: usize = 16;
/// Problems of one refusal that are remembered.
const KEPT_PROBLEMS: usize = 32;

const POINTS: Points = Points { aside: Point::HistoryAside, renamed: Point::HistoryRenamed };

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Text {
    format: u32,
    /// Of a file of format 1: what the manifest, the routes and the components on the disk were at the last `run` or `apply`. Kept until
    /// something is published or noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Digest>,
    /// The modules that had a database in any generation that was ever published; none in a file of format 1.
    #[serde(default)]
    databases: Option<BTreeSet<ModuleName>>,
    /// Oldest first; the last is what runs.
    published: Vec<Published>,
    /// Oldest first.
    refused: Vec<Refused>,
}

/// Why the history could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the history of generations can't be written: {source}")]
pub struct Unwritten {
    source: io::Error,
    /// Whether the file may hold the new text all the same: it was put in place, and could neither be made to last nor be put back.
    pub is_uncertain: bool,
}

impl Unwritten {
    /// The thread that was to write failed: nobody knows how far it came.
    pub(crate) fn failed(error: &dyn std::error::Error) -> Self {
        Self { source: io::Error::other(error.to_string()), is_uncertain: true }
    }

    /// Nothing was written, since it would have been another host's.
    pub(crate) fn elsewhere(displaced: Displaced) -> Self {
        Self { source: io::Error::other(displaced), is_uncertain: false }
    }
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
        let mut text: Text = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&format!("is damaged: {error}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Text { format: FORMAT, ..Text::default() },
            Err(error) => return Err(io::Error::new(error.kind(), format!("history.json: {error}"))),
        };
        if !(OLDEST_FORMAT..=FORMAT).contains(&text.format) {
            return Err(damaged(&format!("has format {}, and this host knows {FORMAT}", text.format)));
        }
        text.format = FORMAT;
        if text.databases.is_none() {
            // What an earlier host made belongs to what it published.
            text.databases = Some(unpublished::databases_of_earlier_host(state)?);
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

    /// What stood on the disk at the last `run` or `apply`, in a history that was last written by a host of format 1.
    pub(crate) fn origin_of_format_1(&self) -> Option<Digest> {
        self.text.origin
    }

    /// Whether a generation that was published, remembered or not, had the module with a database.
    pub fn had_database(&self, module: &ModuleName) -> bool {
        self.databases().contains(module)
    }

    /// The modules that had a database in any generation that was ever published.
    pub fn databases(&self) -> &BTreeSet<ModuleName> {
        static NONE: BTreeSet<ModuleName> = BTreeSet::new();
        self.text.databases.as_ref().unwrap_or(&NONE)
    }

    /// The number that the next generation gets.
    pub fn next(&self) -> GenerationNumber {
        GenerationNumber(self.last().map_or(1, |last| last.number.0 + 1))
    }

    /// Remembers a generation, durably: from here on a restart serves it. [`Self::prune`] removes what nothing tells of any more.
    ///
    /// # Errors
    ///
    /// Where it can't be written; then nothing has changed, as far as [`Unwritten`] knows.
    pub fn publish(&mut self, publication: Publication) -> Result<(), Unwritten> {
        let mut text = self.text.clone();
        text.databases.get_or_insert_default().extend(publication.databases.iter().cloned());
        text.published.push(publication.record(self.next(), now_text()));
        let surplus = text.published.len().saturating_sub(KEPT_GENERATIONS);
        text.published.drain(..surplus);
        text.origin = None;
        self.write(text)?;
        crash_point(Point::HistoryWritten);
        Ok(())
    }

    /// Remembers, durably, that this stands on the disk and is what was published last.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn note_disk(&mut self, disk: OnDisk) -> Result<(), Unwritten> {
        let mut text = Text { origin: None, ..self.text.clone() };
        let Some(last) = text.published.last_mut() else { return Ok(()) };
        if last.disk.as_ref() == Some(&disk) {
            return Ok(());
        }
        last.disk = Some(disk);
        self.write(text)
    }

    /// Remembers a refusal.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn refuse(&mut self, cause: Cause, by: Option<Asker>, problems: &Problems) -> Result<(), Unwritten> {
        let problems = problems.as_slice().iter().take(KEPT_PROBLEMS);
        let problems = problems.map(|problem| serde_json::to_value(problem).expect("a problem is plain JSON"));
        let mut text = self.text.clone();
        text.refused.push(Refused { at: now_text(), cause, by, problems: problems.collect() });
        let surplus = text.refused.len().saturating_sub(KEPT_REFUSALS);
        text.refused.drain(..surplus);
        self.write(text)
    }

    fn write(&mut self, text: Text) -> Result<(), Unwritten> {
        let bytes = |text: &Text| serde_json::to_vec_pretty(text).expect("names, digests and numbers are JSON");
        if let Err(source) = write_durably(&self.file, &bytes(&text), Some(POINTS)) {
            // The new text may be in place, and only that it lasts is unknown: the next start must not find there what was refused.
            let before = bytes(&self.text);
            let stands = match fs::read(&self.file) {
                Ok(found) => found == before,
                Err(error) => error.kind() == io::ErrorKind::NotFound && self.text.published.is_empty(),
            };
            let mut is_uncertain = false;
            if !stands && let Err(again) = write_durably(&self.file, &before, Some(POINTS)) {
                tracing::error!(%again, "the history of generations could not be put back");
                is_uncertain = true;
            }
            return Err(Unwritten { source, is_uncertain });
        }
        self.text = text;
        Ok(())
    }

    /// Removes components and configurations that no generation has. A change that is being prepared keeps such before it is published:
    /// not to be called beside one.
    pub fn prune(&self) {
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
    use std::collections::BTreeMap;

    use super::*;
    use watertight_model::problem::{Code, Problem};

    fn open(folder: &Path) -> History {
        History::open(folder, Kept::open(folder).unwrap()).unwrap()
    }

    fn publication(cause: Cause, databases: &[&str]) -> Publication {
        let disk = Some(OnDisk { files: Digest::of(b"a"), components: BTreeMap::new() });
        let databases = databases.iter().map(|name| name.parse().unwrap()).collect();
        let (configuration, modules) = (Digest::of(b"a"), BTreeMap::new());
        Publication { cause, by: None, configuration, modules, databases, disk, changes: vec!["+ a".to_owned(); 100] }
    }

    #[test]
    fn what_was_published_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = open(folder.path());
        assert_eq!(history.next(), GenerationNumber(1));
        history.publish(publication(Cause::Run, &["first"])).unwrap();
        for _ in 1..KEPT_GENERATIONS + 3 {
            history.publish(publication(Cause::Apply, &["second"])).unwrap();
        }
        history.refuse(Cause::Run, None, &Problem::new(Code::Cycle, "round and round").into()).unwrap();
        let again = open(folder.path());
        assert_eq!(again.published(), history.published());
        assert_eq!(again.published().len(), KEPT_GENERATIONS);
        assert_eq!(again.next(), GenerationNumber(KEPT_GENERATIONS as u64 + 4));
        assert!(again.find(GenerationNumber(1)).is_none() && again.find(GenerationNumber(4)).is_some());
        assert_eq!(again.refused()[0].problems[0]["code"], "cycle");
        assert_eq!(again.last().unwrap().disk, publication(Cause::Run, &[]).disk);
        assert_eq!(again.last().unwrap().changes.len(), 32, "they are bounded");
        // Whatever is forgotten of generations, that a module had a database is not.
        assert!(["first", "second"].iter().all(|name| again.had_database(&name.parse().unwrap())));
    }

    #[test]
    fn a_history_of_format_1_is_read_and_what_is_there_was_published() {
        let folder = tempfile::tempdir().unwrap();
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = serde_json::json!({ "format": 1, "origin": digest, "refused": [], "published": [{
            "number": 3, "at": "2026-01-01T00:00:00Z", "cause": "rollback", "to": 1, "configuration": digest,
            "modules": {} }] });
        fs::write(folder.path().join("history.json"), text.to_string()).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/first.db"), "").unwrap();
        let mut history = open(folder.path());
        assert_eq!(history.last().map(|last| (last.number, last.disk.clone())), Some((GenerationNumber(3), None)));
        assert!(history.origin_of_format_1().is_some());
        assert_eq!(history.databases().iter().map(ModuleName::as_str).collect::<Vec<_>>(), ["first"]);
        history.publish(publication(Cause::Apply, &["more"])).unwrap();
        let again = open(folder.path());
        assert_eq!((again.next(), again.origin_of_format_1()), (GenerationNumber(5), None));
        assert_eq!(again.databases().len(), 2);
    }

    #[test]
    fn a_damaged_history_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = open(folder.path());
        for _ in 0..2 {
            history.publish(publication(Cause::Run, &[])).unwrap();
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
