//! Reads a Python module's `pyproject.toml`, and checks how its packages are pinned.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::BuildError;

/// The file beside `pyproject.toml` that pins the module's packages.
pub(super) const PINNED: &str = "requirements.txt";

/// The text before the name of a package of which pip finds no wheel.
const NOT_FOUND: &str = "No matching distribution found for ";

/// The file with the module's dependencies and settings.
pub(super) const MANIFEST: &str = "pyproject.toml";

/// What a build uses of a `pyproject.toml`.
pub(super) struct Project {
    /// The Python module with the classes that the world exports.
    pub(super) component: String,
    /// The folders with further code, as absolute paths.
    pub(super) folders: Vec<PathBuf>,
    /// These folders as the file names them.
    pub(super) names: Vec<String>,
    /// Python modules to load at build time, besides those that the code imports.
    pub(super) preload: Vec<String>,
    /// The packages that the code needs, as requirements for pip.
    pub(super) dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    project: Option<ProjectTable>,
    tool: Option<ToolTable>,
}

#[derive(Deserialize)]
struct ProjectTable {
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct ToolTable {
    watertight: Option<Settings>,
}

/// The table `[tool.watertight]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "component")]
    component: String,
    #[serde(default)]
    path: Vec<String>,
    #[serde(default)]
    preload: Vec<String>,
}

fn component() -> String {
    "component".to_owned()
}

impl Project {
    /// Reads the file of the module in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, BuildError> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|error| BuildError::unreadable(&path, error))?;
        let wrong = |message: String| BuildError::Manifest { path: path.clone(), message };
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        let settings = manifest.tool.and_then(|tool| tool.watertight);
        let settings = settings.unwrap_or(Settings { component: component(), path: Vec::new(), preload: Vec::new() });
        let file = settings.component.replace('.', "/");
        if !folder.join(&file).with_added_extension("py").is_file() && !folder.join(&file).join("__init__.py").is_file()
        {
            let name = &settings.component;
            return Err(wrong(format!(
                "there is no file `{file}.py` for the Python module `{name}`, which has the classes of the world's exports (`component` of \
                 `[tool.watertight]` names it, `component` by default)"
            )));
        }
        let mut folders = Vec::with_capacity(settings.path.len());
        for name in &settings.path {
            let found = folder.join(name).canonicalize().ok().filter(|path| path.is_dir());
            folders.push(
                found.ok_or_else(|| {
                    wrong(format!("`path` of `[tool.watertight]` names `{name}`, which is no folder"))
                })?,
            );
        }
        let dependencies = manifest.project.map(|project| project.dependencies).unwrap_or_default();
        Ok(Self {
            component: settings.component,
            folders,
            names: settings.path,
            preload: settings.preload,
            dependencies,
        })
    }

    /// Refuses a `requirements.txt` that leaves a version open, or lacks a package that the module names.
    pub(super) fn check_pinned(&self, text: &str, file: &Path) -> Result<(), BuildError> {
        let wrong = |message: String| Err(BuildError::Manifest { path: file.to_owned(), message });
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let pinned: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("--hash")).collect();
        if let Some(open) = pinned.iter().find(|line| !line.contains("==")) {
            return wrong(format!(
                "`{open}` pins no version: write `NAME==VERSION`, or remove the file to have it written anew"
            ));
        }
        for needed in &self.dependencies {
            let name = package(needed);
            if !pinned.iter().any(|line| package(line) == name) {
                return wrong(format!(
                    "`{name}` of `pyproject.toml` is missing: remove the file to have it written anew"
                ));
            }
        }
        Ok(())
    }
}

/// Returns the name of the package in a requirement, in the form in which names are compared.
fn package(requirement: &str) -> String {
    let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let name = requirement.trim().split(|char| !is_part(char)).next().unwrap_or_default();
    name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Replaces an error of pip for a package that it doesn't find, or of which it finds no wheel of pure Python, by one that names the package.
/// `file` has the requirement. `exists` says whether the registry has a package of the name at all.
pub(super) fn pure(error: BuildError, file: &Path, exists: impl FnOnce(&str) -> bool) -> BuildError {
    let BuildError::Toolchain { output, .. } = &error else { return error };
    // Without a network, pip finds no wheel either.
    if output.contains("NewConnectionError") || output.contains("Retrying") {
        return error;
    }
    let Some((_, found)) = output.split_once(NOT_FOUND) else { return error };
    let requirement = found.split([' ', '\n', ';']).next().unwrap_or_default();
    let is_part = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    let name = requirement.split(|char| !is_part(char)).next().unwrap_or_default();
    let message = if exists(name) {
        format!(
            "there is no wheel of `{requirement}` in pure Python (`py3-none-any`) for it: a package with native code can't run in a component"
        )
    } else {
        format!("pip finds no package `{name}`: is the name spelt right?")
    };
    BuildError::Manifest { path: file.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_not_there_is_told_from_one_with_native_code() {
        let output = "ERROR: Could not find a version that satisfies the requirement slugfy>=1 (from versions: none)\n\
                      ERROR: No matching distribution found for slugfy>=1\n";
        for (exists, said) in
            [(false, "pip finds no package `slugfy`"), (true, "no wheel of `slugfy>=1` in pure Python")]
        {
            let failed =
                BuildError::Toolchain { modules: Vec::new(), command: "pip".to_owned(), output: output.to_owned() };
            let told = pure(failed, Path::new("pyproject.toml"), |name| {
                assert_eq!(name, "slugfy");
                exists
            });
            let told = told.to_string();
            assert!(told.contains(said) && told.contains("pyproject.toml"), "{told}");
        }
    }

    #[test]
    fn names_of_packages_compare_as_pip_compares_them() {
        for (requirement, name) in [
            ("Ruamel.Yaml>=0.18", "ruamel-yaml"),
            ("a__b-c[extra]==1 ; python_version > '3'", "a-b-c"),
            (" plain ", "plain"),
            ("x @ file:///x.whl", "x"),
        ] {
            assert_eq!(package(requirement), name);
        }
    }
}
