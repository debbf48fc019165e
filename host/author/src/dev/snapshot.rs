//! Snapshots of an author's files. Files are compared by digest, so touching a file without editing it is no change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use watertight_build::{Inputs, walk_sources};
use watertight_model::ids::Digest;

/// How many files, and how many folders, a snapshot reads at most. Larger applications most likely name a folder that holds no sources.
pub const MAX_FILES: usize = 50_000;
/// The largest file, in bytes, that is read for its digest. Larger files are compared by size and times only.
const MAX_READ: u64 = 256 << 20;
/// How long before the snapshot a file must have been modified for its metadata to be trusted. A more recent file can be modified again
/// without a new timestamp.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_millis(100);

/// The files and folders at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    files: BTreeMap<PathBuf, FileState>,
    folders: BTreeMap<PathBuf, u64>,
}

/// The state of one file in a snapshot.
#[derive(Debug, Clone)]
struct FileState {
    stamp: FileStamp,
    /// The digest of the contents. `None` if the file can't be read or is too large.
    digest: Option<Digest>,
    /// Whether equal metadata proves that the contents are equal.
    settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    length: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn is_same(&self, other: &Self) -> bool {
        match (self.digest, other.digest) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.stamp == other.stamp,
            _ => false,
        }
    }
}

impl Snapshot {
    /// Takes a snapshot of `inputs`. Reuses digests from `before` for files with unchanged metadata.
    pub(super) fn take(inputs: &Inputs, before: &Self) -> Self {
        let mut walk = Walk { before, now: SystemTime::now(), found: Self::default() };
        inputs.folders.iter().for_each(|folder| walk.folder(folder));
        for file in &inputs.files {
            walk.file(file);
            // The folder is watched, so that the file's creation and removal are noticed.
            if let Some((folder, metadata)) = file.parent().and_then(|folder| Some((folder, folder.metadata().ok()?))) {
                walk.found.folders.insert(folder.to_owned(), metadata.ino());
            }
        }
        walk.found
    }

    /// Returns the files that were added, removed or edited since `before`.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<PathBuf> {
        let all: BTreeSet<&PathBuf> = self.files.keys().chain(before.files.keys()).collect();
        all.into_iter().filter(|path| !self.has_same(before, path)).cloned().collect()
    }

    /// Whether a file is the same in both snapshots.
    pub(super) fn has_same(&self, other: &Self, path: &Path) -> bool {
        match (self.files.get(path), other.files.get(path)) {
            (Some(now), Some(then)) => now.is_same(then),
            (None, None) => true,
            _ => false,
        }
    }

    /// Returns the folders of the snapshot, each with its inode number, which tells a replaced folder from the earlier one of the same
    /// name.
    pub(super) fn folders(&self) -> &BTreeMap<PathBuf, u64> {
        &self.folders
    }

    /// Whether the limit of files or folders was reached.
    pub(super) fn exceeds_limit(&self) -> bool {
        self.files.len() >= MAX_FILES || self.folders.len() >= MAX_FILES
    }

    /// Replaces the state of the files that `which` selects by their state in another snapshot.
    pub(super) fn copy_states(&mut self, other: &Self, which: impl Fn(&Path) -> bool) {
        self.files.retain(|path, _| !which(path) || other.files.contains_key(path));
        for (path, seen) in other.files.iter().filter(|(path, _)| which(path)) {
            self.files.insert(path.clone(), seen.clone());
        }
    }
}

struct Walk<'a> {
    before: &'a Snapshot,
    now: SystemTime,
    found: Snapshot,
}

impl Walk<'_> {
    /// Adds a folder with its sources: see [`walk_sources`].
    fn folder(&mut self, folder: &Path) {
        if self.found.folders.contains_key(folder) {
            // It is part of a folder that was added before.
            return;
        }
        for entry in walk_sources(folder) {
            if self.found.exceeds_limit() {
                return;
            }
            if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
                self.file(entry.path());
            } else if let Ok(metadata) = entry.path().metadata() {
                self.found.folders.insert(entry.into_path(), metadata.ino());
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let Ok(metadata) = path.metadata() else { return };
        if self.found.exceeds_limit() || self.found.files.contains_key(path) || !metadata.is_file() {
            return;
        }
        let stamp = stamp(&metadata);
        let seen = match self.before.files.get(path) {
            Some(seen) if seen.settled && seen.stamp == stamp => seen.clone(),
            _ => {
                let readable = metadata.len() <= MAX_READ;
                let digest = readable.then(|| fs::read(path).ok()).flatten().map(|bytes| Digest::of(&bytes));
                let modified = metadata.modified().unwrap_or(self.now);
                FileState { stamp, digest, settled: modified + TIMESTAMP_GRANULARITY < self.now }
            }
        };
        self.found.files.insert(path.to_owned(), seen);
    }
}

fn stamp(metadata: &Metadata) -> FileStamp {
    FileStamp {
        length: metadata.len(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir, Snapshot);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap(), Snapshot::default())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join("module").join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Returns the files that changed since the last call.
        fn changed(&mut self) -> Vec<String> {
            let inputs =
                Inputs { folders: [self.0.path().join("module")].into(), files: [self.0.path().join("beside")].into() };
            let now = Snapshot::take(&inputs, &self.1);
            let changed = now.changed_since(&self.1);
            self.1 = now;
            changed.iter().map(|path| path.strip_prefix(self.0.path()).unwrap().display().to_string()).collect()
        }
    }

    #[test]
    fn contents_decide() {
        let mut place = Place::new();
        place.write("src/lib.rs", "one");
        place.write("migrations/1.sql", "two");
        assert_eq!(place.changed(), ["module/migrations/1.sql", "module/src/lib.rs"]);
        assert!(place.changed().is_empty());

        // A touched file, and one that was rewritten with the same contents.
        place.write("src/lib.rs", "one");
        assert!(place.changed().is_empty());
        place.write("src/.lib.rs.new", "one");
        fs::rename(place.path("src/.lib.rs.new"), place.path("src/lib.rs")).unwrap();
        assert!(place.changed().is_empty());
        // New contents of the same length, immediately after the previous write.
        for text in ["two", "six", "ten"] {
            place.write("src/lib.rs", text);
            assert_eq!(place.changed(), ["module/src/lib.rs"], "{text}");
        }
        // A file that was removed and created again.
        fs::remove_dir_all(place.path("")).unwrap();
        assert_eq!(place.changed(), ["module/migrations/1.sql", "module/src/lib.rs"]);
        place.write("src/lib.rs", "ten");
        assert_eq!(place.changed(), ["module/src/lib.rs"]);
        fs::write(place.0.path().join("beside"), "").unwrap();
        fs::write(place.0.path().join("other"), "").unwrap();
        assert_eq!(place.changed(), ["beside"]);
    }

    #[test]
    fn links_that_lead_back_are_not_followed_for_ever() {
        let mut place = Place::new();
        place.write("a/one", "1");
        fs::create_dir(place.path("b")).unwrap();
        // With two such links, the number of paths doubles at each level.
        for (link, to) in [("a/up", ".."), ("b/up", ".."), ("a/self", "."), ("b/a", "../a")] {
            std::os::unix::fs::symlink(to, place.path(link)).unwrap();
        }
        assert_eq!(place.changed(), ["module/a/one", "module/b/a/one"], "a link to a sibling folder must be followed");
        place.write("a/one", "2");
        assert_eq!(place.changed(), ["module/a/one", "module/b/a/one"]);
    }

    #[test]
    fn what_a_repository_ignores_is_passed_by() {
        let mut place = Place::new();
        place.write("src/lib.rs", "1");
        place.write("made/a.rs", "1");
        // The file counts in repositories only.
        fs::write(place.0.path().join(".gitignore"), "made/\n/module/src/*.log\n.*\n!.hidden\n").unwrap();
        assert_eq!(place.changed(), ["module/made/a.rs", "module/src/lib.rs"]);
        fs::create_dir(place.0.path().join(".git")).unwrap();
        assert_eq!(place.changed(), ["module/made/a.rs"]);
        place.write("made/b.rs", "1");
        place.write("src/a.log", "1");
        place.write("src/.hidden", "1");
        place.write("lib.rs", "1");
        assert_eq!(place.changed(), ["module/lib.rs"]);
        place.write("src/.gitignore", "!b.log\n*.rs\n");
        place.write("src/b.log", "1");
        assert_eq!(place.changed(), ["module/src/b.log", "module/src/lib.rs"]);
        // `.ignore` says what git ignores and builds read, and the other way round.
        place.write(".ignore", "!made/\nlib.rs\n");
        assert_eq!(place.changed(), ["module/lib.rs", "module/made/a.rs", "module/made/b.rs"]);
    }

    #[test]
    fn what_nobody_wrote_is_passed_by() {
        let mut place = Place::new();
        place.write("target/a.rs", "a folder of that name");
        place.write("go.mod", "");
        place.write("py/pyproject.toml", "");
        assert_eq!(place.changed().len(), 3);
        for name in [
            ".git/index",
            ".lib.rs.swp",
            "lib.rs~",
            "4913",
            "#lib.rs#",
            ".#lib.rs",
            "node_modules/a.js",
            "bindings/main.go",
            "py/bindings/wit_world/__init__.py",
            "built/target/CACHEDIR.TAG",
            "built/target/a",
            ".watertight-dev/data/a.db",
        ] {
            place.write(name, "made by a tool");
            assert!(place.changed().is_empty(), "{name}");
        }
    }
}
