//! The contents of an author's files at one moment, by their digests: what was only touched has not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::build::Inputs;
use watertight_model::ids::Digest;

/// How many files, and folders, are looked at. Who has more of them has a folder there that is no source.
pub const MAX_FILES: usize = 50_000;
/// How deep folders stand in each other.
const MAX_DEPTH: usize = 64;
/// Larger files are told apart by length and times alone.
const MAX_READ: u64 = 256 << 20;
/// A file that was changed so short a time before it was read may be changed again at what the system calls the same moment.
const SAME_MOMENT: Duration = Duration::from_millis(100);

/// What is at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    files: BTreeMap<PathBuf, Seen>,
    folders: BTreeMap<PathBuf, u64>,
}

/// A file as it was seen.
#[derive(Debug, Clone)]
struct Seen {
    stamp: Stamp,
    /// None where it can't be read, or is too large.
    digest: Option<Digest>,
    /// Whether the same stamp means the same contents.
    settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn is_same(&self, other: &Self) -> bool {
        match (self.digest, other.digest) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.stamp == other.stamp,
            _ => false,
        }
    }
}

impl Snapshot {
    /// What is there now. Files that are as they were `before` aren't read again.
    pub(super) fn take(inputs: &Inputs, before: &Self) -> Self {
        let mut walk = Walk { before, now: SystemTime::now(), above: Vec::new(), found: Self::default() };
        inputs.folders.iter().for_each(|folder| walk.folder(folder));
        for file in &inputs.files {
            walk.file(file);
            // Its folder tells when it comes or goes.
            if let Some((folder, metadata)) = file.parent().and_then(|folder| Some((folder, folder.metadata().ok()?))) {
                walk.found.folders.insert(folder.to_owned(), metadata.ino());
            }
        }
        walk.found
    }

    /// The files that are not what they were, are new, or are gone.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<PathBuf> {
        let all: BTreeSet<&PathBuf> = self.files.keys().chain(before.files.keys()).collect();
        all.into_iter().filter(|path| !self.has_same(before, path)).cloned().collect()
    }

    /// Whether a file is as it is in another snapshot.
    pub(super) fn has_same(&self, other: &Self, path: &Path) -> bool {
        match (self.files.get(path), other.files.get(path)) {
            (Some(now), Some(then)) => now.is_same(then),
            (None, None) => true,
            _ => false,
        }
    }

    /// The folders that files were found in, with the number that tells one from another of its name.
    pub(super) fn folders(&self) -> &BTreeMap<PathBuf, u64> {
        &self.folders
    }

    /// Whether there were too many files.
    pub(super) fn is_cut_off(&self) -> bool {
        self.files.len() >= MAX_FILES || self.folders.len() >= MAX_FILES
    }

    /// Takes over what another one has of some files.
    pub(super) fn adopt(&mut self, other: &Self, which: impl Fn(&Path) -> bool) {
        self.files.retain(|path, _| !which(path) || other.files.contains_key(path));
        for (path, seen) in other.files.iter().filter(|(path, _)| which(path)) {
            self.files.insert(path.clone(), seen.clone());
        }
    }
}

struct Walk<'a> {
    before: &'a Snapshot,
    now: SystemTime,
    /// The folders that the walk is in, by device and number.
    above: Vec<(u64, u64)>,
    found: Snapshot,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path) {
        let Ok(metadata) = folder.metadata() else { return };
        let itself = (metadata.dev(), metadata.ino());
        // A link may lead back to where it stands: two of them would lead on in more ways than there is time for.
        if self.above.contains(&itself) || self.above.len() > MAX_DEPTH || self.found.is_cut_off() {
            return;
        }
        if self.found.folders.insert(folder.to_owned(), metadata.ino()).is_some() && !self.above.is_empty() {
            return;
        }
        self.above.push(itself);
        self.entries(folder);
        self.above.pop();
    }

    fn entries(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        // Generators leave their code beside the sources that it is made from.
        let generates = folder.join("go.mod").exists();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if is_nobodys_source(&path) || generates && path.ends_with("bindings") || path.ends_with("wit_bindings.go")
            {
                continue;
            }
            if path.is_dir() {
                self.folder(&path);
            } else {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let Ok(metadata) = path.metadata() else { return };
        if self.found.is_cut_off() || self.found.files.contains_key(path) || !metadata.is_file() {
            return;
        }
        let stamp = stamp(&metadata);
        let seen = match self.before.files.get(path) {
            Some(seen) if seen.settled && seen.stamp == stamp => seen.clone(),
            _ => {
                let readable = metadata.len() <= MAX_READ;
                let digest = readable.then(|| fs::read(path).ok()).flatten().map(|bytes| Digest::of(&bytes));
                let modified = metadata.modified().unwrap_or(self.now);
                Seen { stamp, digest, settled: modified + SAME_MOMENT < self.now }
            }
        };
        self.found.files.insert(path.to_owned(), seen);
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        length: metadata.len(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Whether no author wrote that file or folder: what is hidden, what editors leave while they save, and what tools make.
pub(super) fn is_nobodys_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // `4913` is what Vim makes to see whether it may write.
    name.starts_with(['.', '#'])
        || name.ends_with('~')
        || [".swp", ".swx", ".swo", ".tmp", ".part", ".orig", ".rej"].iter().any(|ending| name.ends_with(ending))
        || ["node_modules", "__pycache__", "4913"].contains(&&*name)
        // A folder of that name may hold sources as well.
        || name == "target" && path.join("CACHEDIR.TAG").exists()
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

        /// What has changed since this was asked last.
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

        // Touched, and written aside and renamed, as it was.
        place.write("src/lib.rs", "one");
        assert!(place.changed().is_empty());
        place.write("src/.lib.rs.new", "one");
        fs::rename(place.path("src/.lib.rs.new"), place.path("src/lib.rs")).unwrap();
        assert!(place.changed().is_empty());
        // Another text of the same length, at once.
        for text in ["two", "six", "ten"] {
            place.write("src/lib.rs", text);
            assert_eq!(place.changed(), ["module/src/lib.rs"], "{text}");
        }
        // Gone, and there again.
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
        // Two would double the ways at each step.
        for (link, to) in [("a/up", ".."), ("b/up", ".."), ("a/self", "."), ("b/a", "../a")] {
            std::os::unix::fs::symlink(to, place.path(link)).unwrap();
        }
        assert_eq!(place.changed(), ["module/a/one", "module/b/a/one"], "a link to a folder beside is followed");
        place.write("a/one", "2");
        assert_eq!(place.changed(), ["module/a/one", "module/b/a/one"]);
    }

    #[test]
    fn what_nobody_wrote_is_passed_by() {
        let mut place = Place::new();
        place.write("target/a.rs", "a folder of that name");
        place.write("go.mod", "");
        assert_eq!(place.changed().len(), 2);
        for name in [
            ".git/index",
            ".lib.rs.swp",
            "lib.rs~",
            "4913",
            "#lib.rs#",
            ".#lib.rs",
            "node_modules/a.js",
            "bindings/main.go",
            "built/target/CACHEDIR.TAG",
            "built/target/a",
            ".watertight-dev/data/a.db",
        ] {
            place.write(name, "made by a tool");
            assert!(place.changed().is_empty(), "{name}");
        }
    }
}
