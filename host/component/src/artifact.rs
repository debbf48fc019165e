//! A component file, loaded: its bytes, their digest, its shape, and what `watertight build` wrote into it.
//!
//! Nothing is compiled here, and nothing of the file is trusted: each part is bounded and checked before it gets inside.

mod section;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use section::{
    Docs, Embedded, FORMAT, InterfaceDocs, MAX_MIGRATIONS, MAX_SECTION_BYTES, SECTION_NAME, SectionError,
};

use crate::profile::Needs;
use crate::shape::{self, Shape, ShapeError};
use watertight_model::ids::Digest;
use watertight_model::migration::Migration;
use watertight_model::problem::{Code, Problem};

/// How large a component file may be, in bytes. Interpreters come to some 20 MiB.
pub const MAX_COMPONENT_BYTES: u64 = 256 << 20;

/// A component, as its file says it is.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Where it comes from.
    pub path: PathBuf,
    /// The whole file.
    pub bytes: Bytes,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// What it imports and exports, with the documentation that it carries.
    pub shape: Shape,
    /// What it asks of the engine that runs it.
    pub needs: Needs,
    /// What `watertight build` wrote into it, if it did.
    pub embedded: Option<Embedded>,
}

/// What is told of an artifact where it is one build of a module among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its id.
    pub build: String,
    /// Its component.
    pub digest: Digest,
    /// The language that it was written in, where its component says.
    pub language: Option<String>,
}

impl From<&Artifact> for Build {
    fn from(artifact: &Artifact) -> Self {
        let language = artifact.language().map(str::to_owned);
        Self { build: artifact.build(), digest: artifact.digest, language }
    }
}

/// Why a file is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file can't be read.
    #[error("the component can't be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is larger than allowed.
    #[error("the component is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },
    /// It is no component.
    #[error("the file is no component that can be loaded")]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ShapeError,
    },
    /// What `watertight build` writes into a component is damaged.
    #[error("the section `{SECTION_NAME}` of the component can't be used")]
    Section {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SectionError,
    },
}

impl ArtifactError {
    /// The file that it is about.
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
    /// The problem in one sentence, with the file and what to do.
    fn from(error: ArtifactError) -> Self {
        let problem = match &error {
            ArtifactError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Problem::new(Code::Unreadable, "there is no such component file")
                    .help("build it with `watertight build`, or mend the path")
            }
            ArtifactError::Unreadable { source, .. } => Problem::new(Code::Unreadable, format!("{error}: {source}")),
            ArtifactError::TooLarge { .. } => {
                Problem::new(Code::NotAComponent, error.to_string()).help("build it without debug information")
            }
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
    /// Loads the component file at `path`, of at most `max_bytes` bytes ([`MAX_COMPONENT_BYTES`] unless there is a reason).
    ///
    /// # Errors
    ///
    /// When the file can't be read or is too large, and as [`Artifact::new`].
    pub fn load(path: &Path, max_bytes: u64) -> Result<Self, ArtifactError> {
        Self::new(path, read(path, max_bytes)?.into())
    }

    /// An artifact of bytes that were received or read elsewhere; `path` says where they come from, for messages.
    ///
    /// # Errors
    ///
    /// When the bytes are no component, or carry a section of ours that is damaged.
    pub fn new(path: &Path, bytes: Bytes) -> Result<Self, ArtifactError> {
        let no_component = |source| ArtifactError::Shape { path: path.to_owned(), source };
        let mut shape = shape::read(&bytes).map_err(no_component)?;
        let needs = Needs::read(&bytes).map_err(no_component)?;
        let embedded =
            Embedded::find(&bytes).map_err(|source| ArtifactError::Section { path: path.to_owned(), source })?;
        if let Some(embedded) = &embedded {
            embedded.docs.fill(&mut shape);
        }
        Ok(Self { path: path.to_owned(), digest: Digest::of(&bytes), bytes, shape, needs, embedded })
    }

    /// The module's migrations, in order; none where the component carries no section.
    pub fn migrations(&self) -> &[Migration] {
        self.embedded.as_ref().map_or(&[], |embedded| &embedded.migrations)
    }

    /// The language that it was written in, where the component says.
    pub fn language(&self) -> Option<&str> {
        self.embedded.as_ref().map(|embedded| embedded.language.as_str())
    }

    /// The build's id: what the component carries, or the start of its digest.
    pub fn build(&self) -> String {
        match &self.embedded {
            Some(embedded) => embedded.build.clone(),
            None => self.digest.hex()[..section::BUILD_ID_LENGTH].to_owned(),
        }
    }
}

/// The bytes of a component's file, whatever they are, of at most `max_bytes`.
///
/// # Errors
///
/// When the file can't be read, is no file, or is too large.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
    match read_bounded(path, max_bytes) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(ArtifactError::TooLarge { path: path.to_owned(), limit: max_bytes }),
        Err(source) => Err(ArtifactError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The file's bytes, or `None` when there are more than `max_bytes`.
fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    // Before it is opened: opening a pipe would wait for whoever writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > max_bytes {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // The file may grow while it is read.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}

#[cfg(test)]
mod tests;
