//! Reads a module's folder: its name, language and migrations.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::javascript;
use watertight_model::ids::ModuleName;
use watertight_model::migration::Migration;

/// The maximum size of a migration file, in bytes.
const MAX_MIGRATION_BYTES: u64 = 1 << 20;

/// A language that modules can be built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust: the folder is a Cargo package with a `cdylib`.
    Rust,
    /// Go: the folder is a Go module.
    Go,
    /// JavaScript: the folder is an npm package.
    JavaScript,
    /// TypeScript: the folder is an npm package whose `main` is a TypeScript file.
    TypeScript,
    /// Python: the folder has a `pyproject.toml`.
    Python,
    /// C: the folder has a file with the flags of the compiler.
    C,
}

impl Language {
    /// The languages that have a manifest of their own. C comes last: see [`of`](Self::of).
    const ALL: [Self; 5] = [Self::Rust, Self::Go, Self::JavaScript, Self::Python, Self::C];

    /// Returns the name of the language, as components carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    /// Returns the name of the file that marks a folder as a module of this language.
    fn manifest(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Go => "go.mod",
            Self::JavaScript | Self::TypeScript => "package.json",
            Self::Python => "pyproject.toml",
            Self::C => "compile_flags.txt",
        }
    }

    /// Whether a folder holds a module: it has the manifest of at least one language.
    pub fn is_known(folder: &Path) -> bool {
        Self::ALL.iter().any(|language| folder.join(language.manifest()).is_file())
    }

    /// Whether `path` is a folder into which a build writes bindings.
    pub fn is_made(path: &Path) -> bool {
        let makes = |folder| matches!(Self::of(folder), Ok(Self::Go | Self::TypeScript | Self::Python | Self::C));
        path.ends_with("bindings") && path.parent().is_some_and(makes)
    }

    pub(super) fn of(folder: &Path) -> Result<Self, BuildError> {
        let mut found = Self::ALL.into_iter().filter(|language| folder.join(language.manifest()).is_file());
        let language = found.next().ok_or_else(|| BuildError::UnknownLanguage { folder: folder.to_owned() })?;
        match found.next() {
            None if language == Self::JavaScript && javascript::is_typescript(folder) => Ok(Self::TypeScript),
            // A module in another language may have C code beside it, with flags for its author's editor.
            None | Some(Self::C) => Ok(language),
            Some(other) => Err(BuildError::SeveralLanguages {
                folder: folder.to_owned(),
                first: language.manifest(),
                second: other.manifest(),
            }),
        }
    }
}

/// A module that was read and is not compiled yet.
#[derive(Debug)]
pub(super) struct Source {
    /// The module's name, which is the name of its folder.
    pub(super) name: ModuleName,
    /// The module's folder, as an absolute path without symbolic links.
    pub(super) folder: PathBuf,
    pub(super) language: Language,
    pub(super) migrations: Vec<Migration>,
}

/// Reads the modules in `folders`, in that order. Returns the errors of those that can't be read.
pub(super) fn read_all(folders: &[PathBuf]) -> (Vec<Source>, Vec<BuildError>) {
    let mut sources = Vec::with_capacity(folders.len());
    let mut errors = Vec::new();
    let mut seen = BTreeMap::new();
    for folder in folders {
        match Source::read(folder) {
            Ok(source) => match seen.insert(source.name.clone(), source.folder.clone()) {
                // A folder that is named twice is built once.
                Some(first) if first == source.folder => {}
                Some(first) => errors.push(BuildError::SameName { name: source.name, first, second: source.folder }),
                None => sources.push(source),
            },
            Err(error) => errors.push(error),
        }
    }
    (sources, errors)
}

impl Source {
    fn read(folder: &Path) -> Result<Self, BuildError> {
        // Resolves the path first, so that a path such as `.` has a name.
        let folder = folder.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BuildError::NoFolder { folder: folder.to_owned() },
            _ => BuildError::unreadable(folder, error),
        })?;
        let text = folder.file_name().unwrap_or_default().to_string_lossy();
        let name = text.parse().map_err(|source| BuildError::Name { folder: folder.clone(), source })?;
        let language = Language::of(&folder)?;
        let migrations = migrations(&folder.join("migrations"))?;
        Ok(Self { name, folder, language, migrations })
    }
}

/// Reads the `.sql` files of a folder, sorted by name. Returns none if the folder doesn't exist.
pub(super) fn migrations(folder: &Path) -> Result<Vec<Migration>, BuildError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let unreadable = |error| BuildError::unreadable(folder, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(extension) = path.extension() else { continue };
        if extension == "sql" {
            files.push(path);
        } else if extension.eq_ignore_ascii_case("sql") {
            return Err(BuildError::Migration { path, reason: "its name must end in `.sql`, in lower case" });
        }
    }
    files.sort();
    files.iter().map(|path| migration(path)).collect()
}

fn migration(path: &Path) -> Result<Migration, BuildError> {
    let refused = |reason| BuildError::Migration { path: path.to_owned(), reason };
    let unreadable = |error| BuildError::unreadable(path, error);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| refused("its name is not Unicode"))?;
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_MIGRATION_BYTES {
        return Err(refused("it is larger than 1 MiB"));
    }
    let sql = String::from_utf8(fs::read(path).map_err(unreadable)?).map_err(|_| refused("it is not UTF-8"))?;
    if sql.trim().is_empty() {
        return Err(refused("it is empty"));
    }
    if sql.contains('\0') {
        return Err(refused("it has a zero byte, where SQLite would stop reading"));
    }
    Ok(Migration::new(name, sql))
}
