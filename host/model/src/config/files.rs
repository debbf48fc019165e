//! Holds the text of an application's configuration. A generation keeps it, so that the configuration can be restored after the files
//! have changed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// The text of the manifest, and of the files that its globs found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppFiles {
    /// The path and the text of the manifest.
    pub manifest: TextFile,
    /// The paths and the texts of the route files, in the order of the manifest's globs.
    pub routes: Vec<TextFile>,
    /// The paths and the texts of the files of examples, in the order of the manifest's globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<TextFile>,
}

/// The text of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// The path that the text was read from; for messages only.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The text of the file.
    pub text: String,
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(serializer)
}
