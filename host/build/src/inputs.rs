//! Finds the inputs of a module: the files and folders that its build reads.
//!
//! The result may name too many files, but never too few. If a change of a named file makes no difference, the toolchain notices that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cargo::{HELP, cargo};
use super::process::capture_output;
use super::python;
use super::source::Language;
use super::world;

/// The files beside a Cargo workspace's manifest on which all its packages depend.
const WORKSPACE_FILES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml", ".cargo/config"];

/// The files and folders that the build of a module reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The folders of which the build reads all contents.
    pub folders: BTreeSet<PathBuf>,
    /// The single files that the build reads. They may be missing.
    pub files: BTreeSet<PathBuf>,
}

/// Returns the inputs of the module in `folder`: its folder, the contracts that its world needs, for Rust the packages that it depends on
/// by path, and for Python the folders of `path` in its `pyproject.toml`.
pub fn inputs(folder: &Path, workspace: &Path, packages: &mut Packages) -> Inputs {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    // If the needed contracts can't be determined, every contract counts as needed.
    let contracts = world::contracts(&folder, workspace).unwrap_or_else(|| [workspace.join("wit")].into());
    let mut inputs = Inputs { folders: contracts, files: BTreeSet::new() };
    if Language::of(&folder).is_ok_and(|language| language == Language::Rust) {
        packages.add(&folder, &mut inputs);
    }
    if Language::of(&folder).is_ok_and(|language| language == Language::Python) {
        inputs.folders.extend(python::folders(&folder));
    }
    inputs.folders.insert(folder);
    inputs
}

/// What Cargo answered about packages, as a cache by the package's folder.
#[derive(Debug, Clone, Default)]
pub struct Packages(BTreeMap<PathBuf, Package>);

#[derive(Debug, Clone)]
struct Package {
    /// The folders of packages on which this package depends by path, without those only for its tests.
    by_path: Vec<PathBuf>,
    /// The folder of the package's Cargo workspace.
    workspace: PathBuf,
}

impl Packages {
    /// Adds the inputs of the package in `folder`. Adds only the folder if Cargo fails; the build then reports why.
    fn add(&mut self, folder: &Path, inputs: &mut Inputs) {
        let mut wanted = vec![folder.to_owned()];
        while let Some(folder) = wanted.pop() {
            if !inputs.folders.insert(folder.clone()) {
                continue;
            }
            if !self.0.contains_key(&folder) {
                self.query_cargo(&folder);
            }
            let Some(package) = self.0.get(&folder) else { continue };
            inputs.files.extend(WORKSPACE_FILES.iter().map(|file| package.workspace.join(file)));
            wanted.extend(package.by_path.iter().cloned());
        }
    }

    /// Returns the folder of the Cargo workspace that the package in `folder` belongs to, if it is cached.
    pub(super) fn workspace(&self, folder: &Path) -> Option<&Path> {
        Some(&self.0.get(folder)?.workspace)
    }

    /// Asks Cargo about all packages in the workspace of a folder at once.
    fn query_cargo(&mut self, folder: &Path) {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
        command.arg(folder.join("Cargo.toml")).current_dir(folder);
        let Ok(Ok(json)) = capture_output(command, HELP) else { return };
        let Ok(metadata) = serde_json::from_str::<Metadata>(&json) else { return };
        for package in metadata.packages {
            let Some(folder) = package.manifest_path.parent() else { continue };
            let needed = package.dependencies.into_iter().filter(|needed| needed.kind.as_deref() != Some("dev"));
            let by_path = needed.filter_map(|needed| Some(real(&needed.path?))).collect();
            let package = Package { by_path, workspace: metadata.workspace_root.clone() };
            self.0.insert(real(folder), package);
        }
    }
}

/// Returns the folder of a Cargo package and those of the packages that it depends on by path, without those only for its tests. Reads
/// manifests and runs no Cargo, so it can be asked where there is none. What a manifest names in another way is left out.
pub(super) fn packages_by_path(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut open) = (BTreeSet::new(), vec![real(folder)]);
    while let Some(folder) = open.pop() {
        let Some(manifest) = manifest(&folder).filter(|_| !found.contains(&folder)) else { continue };
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        let tables = targets.into_iter().flatten().filter_map(|(_, target)| target.as_table()).chain([&manifest]);
        let kinds = tables.flat_map(|table| [table.get("dependencies"), table.get("build-dependencies")]);
        for (name, dependency) in kinds.flatten().filter_map(toml::Value::as_table).flatten() {
            let path = match dependency.get("workspace") {
                Some(_) => path_in_workspace(&folder, name),
                None => dependency.get("path").and_then(|path| Some(folder.join(path.as_str()?))),
            };
            open.extend(path.map(|path| real(&path)));
        }
        found.insert(folder);
    }
    found
}

/// Returns the folder of a dependency that the package in `folder` takes from its Cargo workspace, if that names it by path.
fn path_in_workspace(folder: &Path, name: &str) -> Option<PathBuf> {
    let root = |folder: &Path| Some((folder.to_owned(), manifest(folder)?.remove("workspace")?));
    let (root, workspace) = folder.ancestors().find_map(root)?;
    let path = workspace.get("dependencies")?.get(name)?.get("path")?;
    Some(root.join(path.as_str()?))
}

fn manifest(folder: &Path) -> Option<toml::Table> {
    std::fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().ok()
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<PackageOf>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct PackageOf {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    /// The kind of the dependency: `dev`, `build`, or `None` for an ordinary one.
    kind: Option<String>,
    path: Option<PathBuf>,
}
