//! The history of a state folder: its published generations and its refused changes.
//!
//! The history is one file. Each write goes to a temporary file, is synced and renamed over it, so a crash leaves the old text or the new
//! one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::FileStore;
use super::published::{Cause, DiskRecord, NewGeneration, PublishedGeneration, RefusedChange, Requester};
use super::unpublished;
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_disk::files::{FileChanged, TEMPORARY_EXTENSION, WritePoints, write_durably};
use watertight_model::clock::now_text;
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::Problems;

/// The name of the history's file in the state folder.
const FILE: &str = "history.json";
/// The version of the file format. Format 1 has no list of databases. It has one digest of the files on disk for the whole history, where
/// format 2 has one record for each generation.
const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;
/// How many published generations the history keeps. A rollback can reach only these.
pub const KEPT_GENERATIONS: usize = 16;
/// How many refused changes the history keeps.
const KEPT_REFUSALS: usize = 16;
/// How many problems the history keeps of one refused change.
const KEPT_PROBLEMS: usize = 32;

const POINTS: WritePoints =
    WritePoints { temporary_written: CrashPoint::HistoryAside, renamed: CrashPoint::HistoryRenamed };

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct HistoryFile {
    format: u32,
    /// Format 1 only: the digest of the manifest, the routes and the components that were on disk at the last `run` or `apply`. Kept until
    /// a generation is published or the files on disk are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Digest>,
    /// The modules that had a database in any generation that was ever published. `None` in a file of format 1.
    #[serde(default)]
    databases: Option<BTreeSet<ModuleName>>,
    /// The published generations, oldest first. The last one is the current generation.
    published: Vec<PublishedGeneration>,
    /// The refused changes, oldest first.
    refused: Vec<RefusedChange>,
}

/// The error of a history that could not be written to its file.
#[derive(Debug, thiserror::Error)]
#[error("the history of generations can't be written: {source}")]
pub struct HistoryWriteError {
    source: io::Error,
    /// Whether the file may hold the new text nevertheless: the new file was renamed into place, but neither syncing nor undoing that
    /// succeeded.
    pub is_uncertain: bool,
}

impl HistoryWriteError {
    /// Returns the error for a writing thread that failed. How much it wrote is unknown, so the result is uncertain.
    pub(crate) fn thread_failed(error: &dyn std::error::Error) -> Self {
        Self { source: io::Error::other(error.to_string()), is_uncertain: true }
    }

    /// Returns the error for a write that was refused, because the state folder's path leads elsewhere.
    pub(crate) fn displaced(displaced: FileChanged) -> Self {
        Self { source: io::Error::other(displaced), is_uncertain: false }
    }
}

/// The history of generations, as its file has it.
#[derive(Debug, Clone)]
pub struct History {
    file: PathBuf,
    files: FileStore,
    text: HistoryFile,
}

impl History {
    /// Reads the history of the state folder at `state`. A missing file gives an empty history. `files` are the stored files of its
    /// generations.
    pub(super) fn open(state: &Path, files: FileStore) -> io::Result<Self> {
        let file = state.join(FILE);
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("history.json {what}"));
        let mut text: HistoryFile = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(&format!("is damaged: {error}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                HistoryFile { format: FORMAT, ..HistoryFile::default() }
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("history.json: {error}"))),
        };
        if !(OLDEST_FORMAT..=FORMAT).contains(&text.format) {
            return Err(damaged(&format!("has format {}, but this host knows none above {FORMAT}", text.format)));
        }
        text.format = FORMAT;
        if text.databases.is_none() {
            // Format 1 has no list of databases. Every database in the folder counts as published.
            text.databases = Some(unpublished::databases_of_earlier_host(state)?);
        }
        // A rollback names a generation by number, so numbers must ascend and the next one must be free.
        let mut last = 0;
        for GenerationNumber(number) in text.published.iter().map(|published| published.number) {
            if number <= last || number == u64::MAX {
                return Err(damaged(&format!("is damaged: generation {number} comes after {last}")));
            }
            last = number;
        }
        Ok(Self { file, files, text })
    }

    /// Returns the history as the JSON text of its file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.text).expect("names, digests and numbers are JSON")
    }

    /// Removes the temporary file that an interrupted write of the history left in `state`. Touches no other file, because other programs
    /// may use the folder, too.
    pub(super) fn remove_leftover(state: &Path) -> io::Result<()> {
        match fs::remove_file(state.join(FILE).with_extension(TEMPORARY_EXTENSION)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The stored components and configurations of the published generations.
    pub fn files(&self) -> &FileStore {
        &self.files
    }

    /// The published generations, oldest first.
    pub fn published(&self) -> &[PublishedGeneration] {
        &self.text.published
    }

    /// The generation that was published last.
    pub fn last(&self) -> Option<&PublishedGeneration> {
        self.text.published.last()
    }

    /// Finds a published generation by its number. `None` if the history doesn't keep it.
    pub fn find(&self, number: GenerationNumber) -> Option<&PublishedGeneration> {
        self.text.published.iter().find(|published| published.number == number)
    }

    /// The refused changes, oldest first.
    pub fn refused(&self) -> &[RefusedChange] {
        &self.text.refused
    }

    /// The digest of the files on disk at the last `run` or `apply`. `Some` only in a history that a host with format 1 wrote last.
    pub(crate) fn origin_of_format_1(&self) -> Option<Digest> {
        self.text.origin
    }

    /// Whether any generation that was ever published had this module with a database. Covers generations that the history no longer keeps.
    pub fn ever_had_database(&self, module: &ModuleName) -> bool {
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

    /// Appends a published generation and writes the history durably. From then on a restarted host serves this generation.
    /// [`Self::prune`] removes files that no kept generation needs.
    ///
    /// # Errors
    ///
    /// [`HistoryWriteError`] if the file can't be written. The history is unchanged then, unless [`HistoryWriteError::is_uncertain`] is set.
    pub fn publish(&mut self, publication: NewGeneration) -> Result<(), HistoryWriteError> {
        let mut text = self.text.clone();
        text.databases.get_or_insert_default().extend(publication.databases.iter().cloned());
        text.published.push(publication.record(self.next(), now_text()));
        let surplus = text.published.len().saturating_sub(KEPT_GENERATIONS);
        text.published.drain(..surplus);
        text.origin = None;
        self.write(text)?;
        crash_point(CrashPoint::HistoryWritten);
        Ok(())
    }

    /// Records durably that `disk` is on disk and is the same application as the last published generation.
    ///
    /// # Errors
    ///
    /// [`HistoryWriteError`] if the file can't be written. The history is unchanged then, unless [`HistoryWriteError::is_uncertain`] is set.
    pub fn record_disk(&mut self, disk: DiskRecord) -> Result<(), HistoryWriteError> {
        let mut text = HistoryFile { origin: None, ..self.text.clone() };
        let Some(last) = text.published.last_mut() else { return Ok(()) };
        if last.disk.as_ref() == Some(&disk) {
            return Ok(());
        }
        last.disk = Some(disk);
        self.write(text)
    }

    /// Appends a refused change and writes the history durably.
    ///
    /// # Errors
    ///
    /// [`HistoryWriteError`] if the file can't be written. The history is unchanged then, unless [`HistoryWriteError::is_uncertain`] is set.
    pub fn record_refusal(
        &mut self,
        cause: Cause,
        by: Option<Requester>,
        problems: &Problems,
    ) -> Result<(), HistoryWriteError> {
        let problems = problems.as_slice().iter().take(KEPT_PROBLEMS);
        let problems = problems.map(|problem| serde_json::to_value(problem).expect("a problem is plain JSON"));
        let mut text = self.text.clone();
        text.refused.push(RefusedChange { at: now_text(), cause, by, problems: problems.collect() });
        let surplus = text.refused.len().saturating_sub(KEPT_REFUSALS);
        text.refused.drain(..surplus);
        self.write(text)
    }

    fn write(&mut self, text: HistoryFile) -> Result<(), HistoryWriteError> {
        let bytes = |text: &HistoryFile| serde_json::to_vec_pretty(text).expect("names, digests and numbers are JSON");
        if let Err(source) = write_durably(&self.file, &bytes(&text), Some(POINTS)) {
            // The new text may be in place although the sync failed. The next start must not see it, so the old text is put back.
            let before = bytes(&self.text);
            let stands = match fs::read(&self.file) {
                Ok(found) => found == before,
                Err(error) => error.kind() == io::ErrorKind::NotFound && self.text.published.is_empty(),
            };
            let mut is_uncertain = false;
            if !stands && let Err(again) = write_durably(&self.file, &before, Some(POINTS)) {
                tracing::error!(%again, "a failed write of the history can't be undone: the next start can use what it wrote");
                is_uncertain = true;
            }
            return Err(HistoryWriteError { source, is_uncertain });
        }
        self.text = text;
        Ok(())
    }

    /// Removes stored components and configurations that no generation in the history needs. Must not run while a change is being prepared:
    /// a change stores its files before the history names them.
    pub fn prune(&self) {
        let published = &self.text.published;
        let components: BTreeSet<Digest> =
            published.iter().flat_map(|one| one.modules.values().map(|module| module.digest)).collect();
        let configurations: BTreeSet<Digest> = published.iter().map(|one| one.configuration).collect();
        self.files.prune(&components, &configurations);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use watertight_model::problem::{Code, Problem};

    fn open(folder: &Path) -> History {
        History::open(folder, FileStore::open(folder).unwrap()).unwrap()
    }

    fn publication(cause: Cause, databases: &[&str]) -> NewGeneration {
        let disk = Some(DiskRecord { files: Digest::of(b"a"), components: BTreeMap::new() });
        let databases = databases.iter().map(|name| name.parse().unwrap()).collect();
        let (configuration, modules) = (Digest::of(b"a"), BTreeMap::new());
        NewGeneration { cause, by: None, configuration, modules, databases, disk, changes: vec!["+ a".to_owned(); 100] }
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
        history.record_refusal(Cause::Run, None, &Problem::new(Code::Cycle, "round and round").into()).unwrap();
        let again = open(folder.path());
        assert_eq!(again.published(), history.published());
        assert_eq!(again.published().len(), KEPT_GENERATIONS);
        assert_eq!(again.next(), GenerationNumber(KEPT_GENERATIONS as u64 + 4));
        assert!(again.find(GenerationNumber(1)).is_none() && again.find(GenerationNumber(4)).is_some());
        assert_eq!(again.refused()[0].problems[0]["code"], "cycle");
        assert_eq!(again.last().unwrap().disk, publication(Cause::Run, &[]).disk);
        assert_eq!(again.last().unwrap().changes.len(), 32, "the recorded changes exceed their limit");
        // The list of modules with a database outlives the generations that the history keeps.
        assert!(["first", "second"].iter().all(|name| again.ever_had_database(&name.parse().unwrap())));
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
        // Duplicate, descending and maximal numbers leave no unused number for the next generation.
        for text in ["{".to_owned(), second("0"), second("1"), second(&u64::MAX.to_string())] {
            fs::write(&file, &text).unwrap();
            let refused = History::open(folder.path(), FileStore::open(folder.path()).unwrap()).unwrap_err();
            assert!(refused.to_string().starts_with("history.json is damaged"), "{refused}");
        }
        fs::write(&file, second("7")).unwrap();
        assert_eq!(open(folder.path()).next(), GenerationNumber(8));
    }
}
