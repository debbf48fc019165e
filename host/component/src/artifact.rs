//! Loads a component file: its bytes, their digest, its shape, and the section that `watertight build` wrote into it.
//!
//! Nothing is compiled here, and no part of the file is trusted: each is bounded and checked before it is used.

mod section;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use section::{
    Docs, FORMAT, InterfaceDocs, MAX_MIGRATIONS, MAX_SECTION_BYTES, ModuleSection, SECTION_NAME, SectionError,
};

use crate::profile::EngineNeeds;
use crate::shape::{self, Shape, ShapeError};
use watertight_model::ids::Digest;
use watertight_model::migration::Migration;
use watertight_model::problem::{Code, Problem};

/// Greatest size of a component file, in bytes. Components with an interpreter have some 20 MiB.
pub const MAX_COMPONENT_BYTES: u64 = 256 << 20;

/// The language of a component that has no code: a tool of authors made it from WIT, so that a fake can stand in a module's place. A host
/// that doesn't fake the module refuses it.
pub const FAKE: &str = "fake";

/// A component file, read and checked.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The path that the file was read from. For a component that was received as bytes, the origin of these bytes.
    pub path: PathBuf,
    /// The content of the file.
    pub bytes: Bytes,
    /// The SHA-256 digest of `bytes`.
    pub digest: Digest,
    /// The component's imports and exports, with the documentation that the component carries.
    pub shape: Shape,
    /// What the component needs of the engine that runs it.
    pub needs: EngineNeeds,
    /// The section `watertight:module`, which `watertight build` writes. `None` if another tool built the component.
    pub section: Option<ModuleSection>,
}

/// Identifies a build: one of several components that were built for the same module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    /// The id of the build.
    pub build: String,
    /// The SHA-256 digest of the component file.
    pub digest: Digest,
    /// The language that the component was written in. `None` if the component doesn't say so.
    pub language: Option<String>,
}

impl From<&Artifact> for BuildInfo {
    fn from(artifact: &Artifact) -> Self {
        let language = artifact.language().map(str::to_owned);
        Self { build: artifact.build(), digest: artifact.digest, language }
    }
}

/// The reason that a file can't be loaded as an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file can't be read.
    #[error("the component file can't be read")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is larger than permitted.
    #[error("the component file has more than {limit} bytes")]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
        /// The greatest permitted size, in bytes.
        limit: u64,
    },
    /// The file is not a component that can be loaded.
    #[error("the file is not a component that can be loaded")]
    Shape {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the bytes.
        #[source]
        source: ShapeError,
    },
    /// The section `watertight:module`, which `watertight build` writes into a component, is damaged.
    #[error("the facts embedded in the component can't be used")]
    Section {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the section.
        #[source]
        source: SectionError,
    },
}

impl ArtifactError {
    /// Returns the path of the file that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Shape { path, .. }
            | Self::Section { path, .. } => path,
        }
    }
}

impl From<ArtifactError> for Problem {
    /// Describes the error in one sentence, with the file and a remedy.
    fn from(error: ArtifactError) -> Self {
        let problem = match &error {
            ArtifactError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Problem::new(Code::Unreadable, "there is no such component file")
                    .help("build the component with `watertight build`, or correct the path")
            }
            ArtifactError::Unreadable { source, .. } => Problem::new(Code::Unreadable, format!("{error}: {source}")),
            ArtifactError::TooLarge { .. } => Problem::new(Code::NotAComponent, error.to_string())
                .help("build the component without debug information"),
            ArtifactError::Shape { source, .. } => {
                Problem::new(Code::NotAComponent, source.to_string()).help(source.help())
            }
            ArtifactError::Section { source, .. } => Problem::new(Code::BadSection, format!("{error}: {source}"))
                .help("build the module again with `watertight build`"),
        };
        problem.file(error.path())
    }
}

impl Artifact {
    /// Loads the component file at `path`. The file may have at most `max_bytes` bytes; without a reason for another bound, use
    /// [`MAX_COMPONENT_BYTES`].
    ///
    /// # Errors
    ///
    /// [`ArtifactError`] if the file can't be read or is too large, and the errors of [`Artifact::new`].
    pub fn load(path: &Path, max_bytes: u64) -> Result<Self, ArtifactError> {
        Self::new(path, read(path, max_bytes)?.into())
    }

    /// Makes an artifact of bytes that are in memory already. `path` names their origin in messages.
    ///
    /// # Errors
    ///
    /// [`ArtifactError`] if the bytes are not a component, or if the section that `watertight build` wrote is damaged.
    pub fn new(path: &Path, bytes: Bytes) -> Result<Self, ArtifactError> {
        let no_component = |source| ArtifactError::Shape { path: path.to_owned(), source };
        let mut shape = shape::read(&bytes).map_err(no_component)?;
        let needs = EngineNeeds::read(&bytes).map_err(no_component)?;
        let embedded =
            ModuleSection::find(&bytes).map_err(|source| ArtifactError::Section { path: path.to_owned(), source })?;
        if let Some(embedded) = &embedded {
            embedded.docs.fill(&mut shape);
        }
        Ok(Self { path: path.to_owned(), digest: Digest::of(&bytes), bytes, shape, needs, section: embedded })
    }

    /// Returns the module's migrations in the order of application. A component without the section `watertight:module` has none.
    pub fn migrations(&self) -> &[Migration] {
        self.section.as_ref().map_or(&[], |embedded| &embedded.migrations)
    }

    /// Returns the language that the component was written in. `None` if the component doesn't say so.
    pub fn language(&self) -> Option<&str> {
        self.section.as_ref().map(|embedded| embedded.language.as_str())
    }

    /// Returns the id of the build: the one in the section `watertight:module`, or else the start of the component's digest.
    pub fn build(&self) -> String {
        match &self.section {
            Some(embedded) => embedded.build.clone(),
            None => self.digest.hex()[..section::BUILD_ID_LENGTH].to_owned(),
        }
    }
}

/// Reads the file at `path`, of at most `max_bytes` bytes, without checking its content.
///
/// # Errors
///
/// [`ArtifactError`] if the file can't be read, is not a regular file, or is too large.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
    match read_bounded(path, max_bytes) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(ArtifactError::TooLarge { path: path.to_owned(), limit: max_bytes }),
        Err(source) => Err(ArtifactError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Reads the file at `path`. Returns `None` if it has more than `max_bytes` bytes.
fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    // This check comes before opening the file, because opening a pipe would block until something writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > max_bytes {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // The file may have grown since its size was read.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}

#[cfg(test)]
mod tests;
