//! Files that are named by their digest: the components and the configurations of generations.
//!
//! A file is written aside, synced and renamed, and never changed afterwards; what is read is checked against its name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::StateError;
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_disk::failpoint::Point;
use watertight_disk::files::{Points, remove_leftovers, write_durably};
use watertight_model::config::AppFiles;
use watertight_model::ids::Digest;
use watertight_model::problem::{Code, Problem, Problems, with_causes};

/// The largest configuration that is read back: a manifest and a thousand route files of 1 MiB would not fit, and nobody has them.
const MAX_CONFIGURATION: u64 = 64 << 20;

/// How much of a kept file is looked at in one step.
const COMPARED_AT_ONCE: usize = 64 << 10;

const COMPONENT: Points = Points { aside: Point::ComponentAside, renamed: Point::ComponentRenamed };
const CONFIGURATION: Points = Points { aside: Point::ConfigurationAside, renamed: Point::ConfigurationRenamed };

/// The folders of kept files.
#[derive(Debug, Clone)]
pub struct Kept {
    /// `DIGEST.wasm`.
    components: PathBuf,
    /// `DIGEST.json`.
    configurations: PathBuf,
}

/// Why something that was kept can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It can't be read or written.
    #[error("{} can't be used", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its bytes are not those that its name says.
    #[error("{} is damaged: its bytes have another digest than its name", .0.display())]
    Damaged(PathBuf),
    /// It is no configuration.
    #[error("{} holds no configuration", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl From<KeptError> for Problems {
    fn from(error: KeptError) -> Self {
        Problem::new(Code::State, with_causes(&error)).into()
    }
}

impl Kept {
    /// The folders under `state`, made where they are missing.
    pub(super) fn open(state: &Path) -> Result<Self, StateError> {
        let kept = Self::at(state);
        for folder in [&kept.components, &kept.configurations] {
            super::make_folder(folder)?;
            remove_leftovers(folder).map_err(|source| StateError::Unusable { folder: folder.clone(), source })?;
        }
        Ok(kept)
    }

    /// The folders under `state`, which need not be there: to be read.
    pub(super) fn at(state: &Path) -> Self {
        Self { components: state.join("artifacts"), configurations: state.join("configurations") }
    }

    /// Keeps a component, durably.
    pub fn keep_component(&self, artifact: &Artifact) -> Result<(), KeptError> {
        self.keep(&self.component_file(&artifact.digest), &artifact.bytes, COMPONENT)
    }

    /// Keeps a configuration, durably; returns the digest that it goes by.
    pub fn keep_configuration(&self, files: &AppFiles) -> Result<Digest, KeptError> {
        let bytes = serde_json::to_vec(files).expect("names and text are JSON");
        let digest = Digest::of(&bytes);
        self.keep(&self.configuration_file(&digest), &bytes, CONFIGURATION)?;
        Ok(digest)
    }

    /// Loads a component.
    ///
    /// # Errors
    ///
    /// A problem of code `state` where it is gone or damaged.
    pub fn component(&self, digest: &Digest) -> Result<Artifact, Problems> {
        let file = self.component_file(digest);
        let bytes = read(&file, digest, MAX_COMPONENT_BYTES)?;
        Artifact::new(&file, bytes.into()).map_err(|error| Problem::from(error).into())
    }

    /// Loads a configuration.
    ///
    /// # Errors
    ///
    /// As [`Kept::component`].
    pub fn configuration(&self, digest: &Digest) -> Result<AppFiles, Problems> {
        let file = self.configuration_file(digest);
        let bytes = read(&file, digest, MAX_CONFIGURATION)?;
        Ok(serde_json::from_slice(&bytes).map_err(|source| KeptError::Syntax { file, source })?)
    }

    /// Removes what is not among `components` and `configurations`. What can't be removed is tried again the next time.
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

    /// The name of a component's file within the state folder.
    pub(super) fn component_name(digest: &Digest) -> String {
        format!("artifacts/{}.wasm", digest.hex())
    }

    /// The name of a configuration's file within the state folder.
    pub(super) fn configuration_name(digest: &Digest) -> String {
        format!("configurations/{}.json", digest.hex())
    }

    fn component_file(&self, digest: &Digest) -> PathBuf {
        self.components.join(digest.hex()).with_extension("wasm")
    }

    fn configuration_file(&self, digest: &Digest) -> PathBuf {
        self.configurations.join(digest.hex()).with_extension("json")
    }

    fn keep(&self, file: &Path, bytes: &[u8], points: Points) -> Result<(), KeptError> {
        // What is damaged is written anew: what is published must be there for the next start.
        if holds(file, bytes).unwrap_or(false) {
            return Ok(());
        }
        write_durably(file, bytes, Some(points)).map_err(|source| KeptError::File { file: file.to_owned(), source })
    }
}

/// Whether a file holds these bytes and no others.
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

fn read(file: &Path, digest: &Digest, most: u64) -> Result<Vec<u8>, KeptError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|open| open.take(most.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|source| KeptError::File { file: file.to_owned(), source })?;
    if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(KeptError::Damaged(file.to_owned())) }
}
