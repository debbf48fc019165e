//! `watertight sdk`: puts the libraries for module authors, which are embedded in the binary, into an application, and renews them.
//!
//! The library of a language stands in `sdk/LANGUAGE` of the application, and modules depend on it by path. A stamp beside its files says
//! which version was written and what each file was, so that [`update`] knows the files that somebody has changed since. These are never
//! overwritten unless that is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};
use serde::{Deserialize, Serialize};

use watertight_model::ids::Digest;

/// The libraries: a folder for each language.
static LIBRARIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sdk");

/// The folder of the libraries, in the application's workspace.
pub const FOLDER: &str = "sdk";

/// The name of the stamp in a library's folder.
const STAMP: &str = ".watertight-sdk.toml";

/// The names of files and folders that tools leave beside a library's sources. Hidden ones are left out as well.
const LEFT_BY_TOOLS: [&str; 4] = ["target", "Cargo.lock", "__pycache__", "node_modules"];

/// A reason for which a library can't be written.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// There is no library for a language.
    #[error("there is no SDK for `{language}`; there is one for {known}")]
    UnknownLanguage {
        /// The language that was asked for.
        language: String,
        /// The languages that have a library.
        known: String,
    },
    /// The library was written before.
    #[error("the SDK in `{folder}` is there already: `watertight sdk update` renews it")]
    Present {
        /// The library's folder.
        folder: PathBuf,
    },
    /// The folder exists without a stamp: something else stands there, or the writing was interrupted.
    #[error("`{folder}` is there already, and it is not an SDK that was written to its end: move it away")]
    Foreign {
        /// The library's folder.
        folder: PathBuf,
    },
    /// No library was ever written into this application.
    #[error("there is no SDK in `{folder}`: `watertight sdk add LANGUAGE` writes one")]
    Absent {
        /// The folder that would hold the libraries.
        folder: PathBuf,
    },
    /// Files were changed by hand since they were written.
    #[error(
        "these files were changed by hand, so nothing was written: {files}. Move the changes elsewhere, or overwrite \
         them with `watertight sdk update --force`"
    )]
    Changed {
        /// The paths of the files, with commas between them.
        files: String,
    },
    /// The stamp can't be read.
    #[error("`{path}` can't be read: {message}")]
    Stamp {
        /// The stamp's path.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file can't be read, written or removed.
    #[error("`{path}` can't be read or written")]
    File {
        /// The file's path.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

/// A library that stands in an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The language, which is the name of the folder.
    pub language: String,
    /// The library's folder.
    pub folder: PathBuf,
    /// The version of the host that the library comes from.
    pub version: String,
    /// The number of files that were written or removed. 0 if the library was up to date.
    pub changed: usize,
}

/// What was written into a library's folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    version: String,
    /// The digest of each file, by its path with `/`.
    files: BTreeMap<String, String>,
}

impl Stamp {
    const HEAD: &'static str = "# Written by `watertight sdk`: the files as they were written. `watertight sdk update` renews those that nobody changed.\n";

    fn read(folder: &Path) -> Result<Option<Self>, SdkError> {
        let path = folder.join(STAMP);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SdkError::File { path, source }),
        };
        let wrong = |message: String| SdkError::Stamp { path: path.clone(), message };
        let stamp: Self = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        // An update removes these files. The stamp may come from a stranger.
        let is_inside = |file: &str| Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        match stamp.files.keys().find(|file| !is_inside(file)) {
            Some(outside) => Err(wrong(format!("the path `{outside}` leads out of the library's folder"))),
            None => Ok(Some(stamp)),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), SdkError> {
        let path = folder.join(STAMP);
        let text = toml::to_string(self)
            .map_err(|error| SdkError::Stamp { path: path.clone(), message: error.to_string() })?;
        fs::write(&path, format!("{}{text}", Self::HEAD)).map_err(|source| SdkError::File { path, source })
    }
}

/// Returns the languages that have a library.
pub fn languages() -> Vec<&'static str> {
    let mut names: Vec<_> = LIBRARIES.dirs().filter_map(|folder| folder.path().to_str()).collect();
    names.sort_unstable();
    names
}

/// Writes the library of a language into the application in `workspace`.
///
/// # Errors
///
/// The library's folder exists, or a file can't be written.
pub fn add(workspace: &Path, language: &str) -> Result<Written, SdkError> {
    let files = library(language)?;
    let folder = workspace.join(FOLDER).join(language);
    if Stamp::read(&folder)?.is_some() {
        return Err(SdkError::Present { folder });
    }
    if folder.exists() {
        return Err(SdkError::Foreign { folder });
    }
    write(language, &folder, &files, &BTreeMap::new())
}

/// Renews all libraries in the application in `workspace`.
///
/// # Errors
///
/// There is none, or somebody has changed files of one: nothing is written then, unless `force` is set. Or a file can't be written.
pub fn update(workspace: &Path, force: bool) -> Result<Vec<Written>, SdkError> {
    let mut plans = Vec::new();
    let mut by_hand = Vec::new();
    for language in languages() {
        let folder = workspace.join(FOLDER).join(language);
        let Some(stamp) = Stamp::read(&folder)? else { continue };
        let files = library(language)?;
        by_hand.extend(changed_by_hand(&folder, &files, &stamp)?);
        plans.push((language, folder, files, stamp));
    }
    if plans.is_empty() {
        return Err(SdkError::Absent { folder: workspace.join(FOLDER) });
    }
    if !by_hand.is_empty() && !force {
        let shown = |path: &PathBuf| format!("`{}`", path.strip_prefix(workspace).unwrap_or(path).display());
        return Err(SdkError::Changed { files: by_hand.iter().map(shown).collect::<Vec<_>>().join(", ") });
    }
    plans.into_iter().map(|(language, folder, files, stamp)| write(language, &folder, &files, &stamp.files)).collect()
}

/// The files of a library by their paths with `/`.
type Files = BTreeMap<String, &'static [u8]>;

fn library(language: &str) -> Result<Files, SdkError> {
    let folder = LIBRARIES.get_dir(language).filter(|_| languages().contains(&language));
    let folder = folder
        .ok_or_else(|| SdkError::UnknownLanguage { language: language.to_owned(), known: languages().join(", ") })?;
    let mut files = Files::new();
    let mut folders = vec![folder];
    while let Some(inner) = folders.pop() {
        for entry in inner.entries() {
            let name = entry.path().file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || LEFT_BY_TOOLS.contains(&&*name) {
                continue;
            }
            match entry {
                DirEntry::Dir(inner) => folders.push(inner),
                DirEntry::File(file) => {
                    let path = file.path().strip_prefix(language).unwrap_or(file.path());
                    files.insert(path.to_string_lossy().into_owned(), file.contents());
                }
            }
        }
    }
    Ok(files)
}

/// Returns the files that an update would overwrite or remove although they are not as they were written.
fn changed_by_hand(folder: &Path, files: &Files, stamp: &Stamp) -> Result<Vec<PathBuf>, SdkError> {
    let paths = files.keys().chain(stamp.files.keys().filter(|path| !files.contains_key(*path)));
    let mut changed = Vec::new();
    for path in paths {
        if let Some(link) = link_on(folder, path) {
            changed.push(link);
            continue;
        }
        let Some(found) = read(&folder.join(path))? else { continue };
        let is_new = files.get(path).is_some_and(|new| *new == found);
        if !is_new && stamp.files.get(path) != Some(&Digest::of(&found).to_string()) {
            changed.push(folder.join(path));
        }
    }
    Ok(changed)
}

/// Writes the files that are not as they should be, and removes those that only `earlier` has. The stamp comes last: after an interruption,
/// the next update finds files that are new already, and goes on.
fn write(
    language: &str,
    folder: &Path,
    files: &Files,
    earlier: &BTreeMap<String, String>,
) -> Result<Written, SdkError> {
    let mut changed = 0;
    // A link leads elsewhere, where nothing may be written or removed. The link itself was put there by hand.
    for path in files.keys().chain(earlier.keys()) {
        if let Some(path) = link_on(folder, path) {
            fs::remove_file(&path).map_err(|source| SdkError::File { path, source })?;
        }
    }
    for (path, bytes) in files {
        let path = folder.join(path);
        if read(&path)?.is_some_and(|found| found == *bytes) {
            continue;
        }
        let parent = path.parent().unwrap_or(folder);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes));
        written.map_err(|source| SdkError::File { path, source })?;
        changed += 1;
    }
    for path in earlier.keys().filter(|path| !files.contains_key(*path)) {
        let path = folder.join(path);
        if read(&path)?.is_some() {
            fs::remove_file(&path).map_err(|source| SdkError::File { path, source })?;
            changed += 1;
        }
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let digests = files.iter().map(|(path, bytes)| (path.clone(), Digest::of(bytes).to_string())).collect();
    Stamp { version: version.clone(), files: digests }.write(folder)?;
    Ok(Written { language: language.to_owned(), folder: folder.to_owned(), version, changed })
}

/// Returns the first symbolic link on the way from the library's folder to a file in it.
fn link_on(folder: &Path, file: &str) -> Option<PathBuf> {
    let mut path = folder.to_owned();
    Path::new(file).components().find_map(|part| {
        path.push(part);
        path.is_symlink().then(|| path.clone())
    })
}

/// Reads a file. `None` if it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, SdkError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SdkError::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_library_comes_whole_and_without_what_tools_leave() {
        let workspace = tempfile::tempdir().unwrap();
        let written = add(workspace.path(), "rust").unwrap();
        assert!(written.changed > 10, "{written:?}");
        let rust = workspace.path().join("sdk/rust");
        // The WIT packages are links in the repository, and files here.
        assert!(fs::symlink_metadata(rust.join("wit/deps/sql/sql.wit")).unwrap().is_file());
        assert!(!rust.join("wit/deps/sql").is_symlink());
        let files = library("rust").unwrap();
        assert!(files.keys().all(|path| !path.starts_with("target/") && path != "Cargo.lock"), "{:?}", files.keys());
        assert!(matches!(add(workspace.path(), "rust"), Err(SdkError::Present { .. })));
        fs::remove_file(rust.join(STAMP)).unwrap();
        assert!(matches!(add(workspace.path(), "rust"), Err(SdkError::Foreign { .. })));
        for language in ["cobol", "rust/src", "", ".."] {
            assert!(matches!(add(workspace.path(), language), Err(SdkError::UnknownLanguage { .. })), "{language}");
        }
    }

    #[test]
    fn an_update_renews_what_nobody_changed() {
        let workspace = tempfile::tempdir().unwrap();
        assert!(matches!(update(workspace.path(), false), Err(SdkError::Absent { .. })));
        add(workspace.path(), "rust").unwrap();
        let rust = workspace.path().join("sdk/rust");
        let changed = |force| update(workspace.path(), force).map(|written| written[0].changed);
        assert_eq!(changed(false).unwrap(), 0);

        // As if an earlier version had other text in one file, one file more, and one file less.
        let mut stamp = Stamp::read(&rust).unwrap().unwrap();
        for (path, text) in [("src/log.rs", "older"), ("src/gone.rs", "gone")] {
            fs::write(rust.join(path), text).unwrap();
            stamp.files.insert(path.to_owned(), Digest::of(text.as_bytes()).to_string());
        }
        stamp.files.remove("src/time.rs");
        fs::remove_file(rust.join("src/time.rs")).unwrap();
        stamp.write(&rust).unwrap();
        assert_eq!(changed(false).unwrap(), 3);
        assert!(rust.join("src/time.rs").exists() && !rust.join("src/gone.rs").exists());

        fs::write(rust.join("src/log.rs"), "mine").unwrap();
        fs::write(rust.join("src/own.rs"), "mine").unwrap();
        let refused = changed(false).unwrap_err().to_string();
        assert!(refused.contains("`sdk/rust/src/log.rs`. Move") && !refused.contains("own.rs"), "{refused}");
        assert_eq!(fs::read_to_string(rust.join("src/log.rs")).unwrap(), "mine");
        assert_eq!(changed(true).unwrap(), 1);
        assert_eq!(fs::read_to_string(rust.join("src/own.rs")).unwrap(), "mine");
        assert_eq!(changed(false).unwrap(), 0);

        // What links lead to stays as it is, whether the file or its folder is a link.
        let elsewhere = workspace.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("mine"), "mine").unwrap();
        for (link, target) in [("src/log.rs", elsewhere.join("mine")), ("wit", elsewhere.clone())] {
            let link = rust.join(link);
            fs::remove_dir_all(&link).or_else(|_| fs::remove_file(&link)).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        assert!(matches!(changed(false), Err(SdkError::Changed { .. })));
        changed(true).unwrap();
        assert_eq!(fs::read_to_string(elsewhere.join("mine")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
        assert!(!rust.join("src/log.rs").is_symlink() && !rust.join("wit").is_symlink());

        // A stamp can't name files elsewhere, which an update would remove.
        let victim = workspace.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        for outside in ["../../victim".to_owned(), victim.display().to_string()] {
            let mut stamp = Stamp::read(&rust).unwrap().unwrap();
            stamp.files.insert(outside, Digest::of(b"mine").to_string());
            let good = fs::read(rust.join(STAMP)).unwrap();
            stamp.write(&rust).unwrap();
            assert!(matches!(changed(true), Err(SdkError::Stamp { .. })));
            fs::write(rust.join(STAMP), good).unwrap();
        }
        assert!(victim.exists());

        fs::write(rust.join(STAMP), "version = 1").unwrap();
        assert!(matches!(update(workspace.path(), true), Err(SdkError::Stamp { .. })));
    }
}
