//! Stores the components and configurations of generations in files that are named by their digest.
//!
//! A file is written to a temporary name, synced, renamed, and never changed afterwards. Each read checks the bytes against the digest.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StateError;
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_disk::failpoint::CrashPoint;
use watertight_disk::files::{WritePoints, remove_leftovers, write_durably};
use watertight_model::config::AppFiles;
use watertight_model::ids::Digest;
use watertight_model::problem::{Code, Problem, Problems, with_causes};

/// The largest configuration that is read back, in bytes. Far above what real manifests and routes have.
const MAX_CONFIGURATION: u64 = 64 << 20;

/// How many bytes of a stored file are compared at a time.
const COMPARED_AT_ONCE: usize = 64 << 10;

const COMPONENT: WritePoints =
    WritePoints { temporary_written: CrashPoint::ComponentAside, renamed: CrashPoint::ComponentRenamed };
const CONFIGURATION: WritePoints =
    WritePoints { temporary_written: CrashPoint::ConfigurationAside, renamed: CrashPoint::ConfigurationRenamed };

/// The folders that hold the stored components and configurations.
#[derive(Debug, Clone)]
pub struct FileStore {
    /// The folder of components, each named `DIGEST.wasm`.
    components: PathBuf,
    /// The folder of configurations, each named `DIGEST.json`.
    configurations: PathBuf,
}

/// The reason why a stored file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileStoreError {
    /// The file can't be read or written.
    #[error("{} can't be used", .file.display())]
    File {
        /// The path of the stored file.
        file: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file's bytes don't match the digest in its name.
    #[error("{} is damaged: its contents don't match the digest in its name", .0.display())]
    Damaged(PathBuf),
    /// The file does not contain a configuration.
    #[error("{} does not contain a configuration", .file.display())]
    Syntax {
        /// The path of the stored file.
        file: PathBuf,
        /// The error of the JSON parser.
        source: serde_json::Error,
    },
}

impl From<FileStoreError> for Problems {
    fn from(error: FileStoreError) -> Self {
        Problem::new(Code::State, with_causes(&error)).into()
    }
}

impl FileStore {
    /// Opens the folders under `state`. Creates them if they are missing, and removes what interrupted writes left in them.
    pub(super) fn open(state: &Path) -> Result<Self, StateError> {
        let kept = Self::at(state);
        for folder in [&kept.components, &kept.configurations] {
            super::make_folder(folder)?;
            remove_leftovers(folder, Duration::ZERO)
                .map_err(|source| StateError::Unusable { folder: folder.clone(), source })?;
        }
        Ok(kept)
    }

    /// Returns the folders under `state` for reading only. They need not exist.
    pub(super) fn at(state: &Path) -> Self {
        Self { components: state.join("artifacts"), configurations: state.join("configurations") }
    }

    /// Stores a component durably.
    ///
    /// # Errors
    ///
    /// [`FileStoreError::File`] if the file can't be written.
    pub fn store_component(&self, artifact: &Artifact) -> Result<(), FileStoreError> {
        self.store(&self.component_file(&artifact.digest), &artifact.bytes, COMPONENT)
    }

    /// Stores a configuration durably, and returns the digest that identifies it.
    ///
    /// # Errors
    ///
    /// [`FileStoreError::File`] if the file can't be written.
    pub fn store_configuration(&self, files: &AppFiles) -> Result<Digest, FileStoreError> {
        let bytes = serde_json::to_vec(files).expect("names and text are JSON");
        let digest = Digest::of(&bytes);
        self.store(&self.configuration_file(&digest), &bytes, CONFIGURATION)?;
        Ok(digest)
    }

    /// Loads a stored component.
    ///
    /// # Errors
    ///
    /// A problem with the code `state` if the file is missing or damaged.
    pub fn component(&self, digest: &Digest) -> Result<Artifact, Problems> {
        let file = self.component_file(digest);
        let bytes = read(&file, digest, MAX_COMPONENT_BYTES)?;
        Artifact::new(&file, bytes.into()).map_err(|error| Problem::from(error).into())
    }

    /// Loads a stored configuration.
    ///
    /// # Errors
    ///
    /// A problem with the code `state` if the file is missing, damaged, or not a configuration.
    pub fn configuration(&self, digest: &Digest) -> Result<AppFiles, Problems> {
        let file = self.configuration_file(digest);
        let bytes = read(&file, digest, MAX_CONFIGURATION)?;
        Ok(serde_json::from_slice(&bytes).map_err(|source| FileStoreError::Syntax { file, source })?)
    }

    /// Removes all stored files except those named here. Ignores files that can't be removed; the next call tries them again.
    pub(crate) fn prune(&self, components: &BTreeSet<Digest>, configurations: &BTreeSet<Digest>) {
        for (folder, wanted) in [(&self.components, components), (&self.configurations, configurations)] {
            let names: BTreeSet<String> = wanted.iter().map(Digest::hex).collect();
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let file = entry.path();
                if !file.file_stem().is_some_and(|stem| names.contains(&*stem.to_string_lossy())) {
                    let _ = fs::remove_file(file);
                }
            }
        }
    }

    /// The path of a component's file, relative to the state folder.
    pub(super) fn component_name(digest: &Digest) -> String {
        format!("artifacts/{}.wasm", digest.hex())
    }

    /// The path of a configuration's file, relative to the state folder.
    pub(super) fn configuration_name(digest: &Digest) -> String {
        format!("configurations/{}.json", digest.hex())
    }

    fn component_file(&self, digest: &Digest) -> PathBuf {
        self.components.join(digest.hex()).with_extension("wasm")
    }

    fn configuration_file(&self, digest: &Digest) -> PathBuf {
        self.configurations.join(digest.hex()).with_extension("json")
    }

    fn store(&self, file: &Path, bytes: &[u8], points: WritePoints) -> Result<(), FileStoreError> {
        // A damaged file is rewritten, because the next start needs the files of what is published.
        if holds(file, bytes).unwrap_or(false) {
            return Ok(());
        }
        write_durably(file, bytes, Some(points))
            .map_err(|source| FileStoreError::File { file: file.to_owned(), source })
    }
}

/// Whether a file consists of exactly these bytes.
fn holds(file: &Path, mut bytes: &[u8]) -> io::Result<bool> {
    let mut file = File::open(file)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut buffer = [0; COMPARED_AT_ONCE];
    while !bytes.is_empty() {
        let count = file.read(&mut buffer)?;
        match bytes.strip_prefix(&buffer[..count]) {
            Some(rest) if count > 0 => bytes = rest,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn read(file: &Path, digest: &Digest, most: u64) -> Result<Vec<u8>, FileStoreError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|open| open.take(most.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|source| FileStoreError::File { file: file.to_owned(), source })?;
    if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(FileStoreError::Damaged(file.to_owned())) }
}
