//! The text that an application is configured with, as it was read: what a generation keeps, so that it can be had again when the
//! files have long changed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// The manifest and the route files that it found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppFiles {
    /// The manifest.
    pub manifest: TextFile,
    /// The route files, in the order of the manifest's globs.
    pub routes: Vec<TextFile>,
}

/// A file's text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Where it was read; for messages.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(serializer)
}
