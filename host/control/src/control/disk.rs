//! Reads the application's files on disk where the host was started, once for each change, when the change arrives.
//!
//! Components are large, so the digest of a file is cached while its length, times and inode stay the same.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::state::DiskRecord;
use watertight_component::artifact::{self, MAX_COMPONENT_BYTES};
use watertight_model::clock::since_1970;
use watertight_model::config::{self, AppConfig, ModuleConfig, Overrides};
use watertight_model::ids::{Digest, ModuleName};

/// How old a file's last change must be for its digest to be cached. A more recent file may be written again within the file system's
/// timestamp granularity and then look unchanged.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(1);

/// The length, times and identity of a file in the file system. They tell versions of the file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    file: (u64, u64),
}

impl FileStamp {
    fn new(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            file: (metadata.dev(), metadata.ino()),
        }
    }

    fn is_settled(&self) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or_default();
        since_1970().saturating_sub(Duration::from_secs(changed)) > TIMESTAMP_GRANULARITY
    }
}

/// Reads the digests of the application's files at the path with which the host was started.
pub(super) struct DiskReader {
    /// The path of the manifest, as given on the command line.
    app: PathBuf,
    overrides: Overrides,
    /// The cached digests of components, by file, each with the file's stamp when it was read.
    known: Mutex<BTreeMap<PathBuf, (FileStamp, Digest)>>,
}

impl DiskReader {
    pub(super) fn new(app: PathBuf, overrides: Overrides) -> Self {
        Self { app, overrides, known: Mutex::default() }
    }

    /// Returns the digests of the current files; `None` if they can't be read. Blocks.
    pub(super) fn read(&self) -> Option<DiskRecord> {
        let config = config::load(&self.app, &self.overrides).ok()?;
        let digest = |(name, module): (&ModuleName, &ModuleConfig)| {
            Some((name.clone(), self.digest(module.component.value.file())?))
        };
        let components = config.modules.iter().map(digest).collect::<Option<_>>()?;
        self.forget_others(&config);
        Some(DiskRecord::new(&config.files, components))
    }

    fn digest(&self, file: &Path) -> Option<Digest> {
        // The metadata is read before the file, so a write in between shows in the metadata of the next read.
        let stamp = FileStamp::new(&file.metadata().ok()?);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied();
        if let Some((before, digest)) = known
            && before == stamp
        {
            return Some(digest);
        }
        let digest = Digest::of(&artifact::read(file, MAX_COMPONENT_BYTES).ok()?);
        if stamp.is_settled() {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned(), (stamp, digest));
        }
        Some(digest)
    }

    /// Removes cached digests of files that the manifest doesn't name.
    fn forget_others(&self, config: &AppConfig) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|file, _| config.modules.values().any(|module| module.component.value.file() == file));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_is_written_is_noticed_and_what_can_t_be_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.wasm");
        let manifest = "[app]\nname = \"demo\"\n[modules.one]\ncomponent = \"one.wasm\"\n";
        fs::write(folder.path().join("app.toml"), manifest).unwrap();
        let disk = DiskReader::new(folder.path().to_owned(), Overrides::default());
        assert_eq!(disk.read(), None);
        let mut seen = Vec::new();
        for text in ["one", "two", "six"] {
            fs::write(&file, text).unwrap();
            seen.push(disk.read().unwrap().components.into_values().next().unwrap());
        }
        assert_eq!(seen, ["one", "two", "six"].map(|text| Digest::of(text.as_bytes())));
        // An old file is read once, and again only after it was replaced.
        let old = fs::File::options().append(true).open(&file).unwrap();
        old.set_modified(SystemTime::now() - 10 * TIMESTAMP_GRANULARITY).unwrap();
        let read = || disk.read().unwrap().components.into_values().next().unwrap();
        assert_eq!((read(), read()), (seen[2], seen[2]));
        fs::write(&file, "ten").unwrap();
        assert_eq!(read(), Digest::of(b"ten"));
        // A file that is larger than a component may be counts as unreadable.
        fs::File::options().write(true).open(&file).unwrap().set_len(MAX_COMPONENT_BYTES + 1).unwrap();
        assert_eq!(disk.read(), None);
    }
}
