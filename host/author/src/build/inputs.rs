//! What a module is made of: the files and folders that its build reads.
//!
//! It names rather too much than too little. Where a change of something named makes no difference, the toolchain finds out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cargo::{HELP, cargo};
use super::process::ask;
use super::source::Language;
use super::world;

/// Files beside a Cargo workspace's manifest that all its packages depend on.
const WORKSPACE_FILES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml", ".cargo/config"];

/// What a build reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Folders, with all that is in them.
    pub folders: BTreeSet<PathBuf>,
    /// Single files, whether or not they are there.
    pub files: BTreeSet<PathBuf>,
}

/// What the module in `folder` is made of: its own folder, the contracts that its world needs, and for Rust the packages that it depends
/// on by path.
pub fn inputs(folder: &Path, workspace: &Path, packages: &mut Packages) -> Inputs {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    // Where nobody can say which contracts are needed, each may be.
    let contracts = world::contracts(&folder, workspace).unwrap_or_else(|| [workspace.join("wit")].into());
    let mut inputs = Inputs { folders: contracts, files: BTreeSet::new() };
    if Language::of(&folder).is_ok_and(|language| language == Language::Rust) {
        packages.add(&folder, &mut inputs);
    }
    inputs.folders.insert(folder);
    inputs
}

/// Cargo's packages, as far as it was asked about them.
#[derive(Debug, Clone, Default)]
pub struct Packages(BTreeMap<PathBuf, Package>);

#[derive(Debug, Clone)]
struct Package {
    /// The folders of packages that it depends on by path, tests aside.
    by_path: Vec<PathBuf>,
    /// The folder of its workspace.
    workspace: PathBuf,
}

impl Packages {
    /// Adds what the package in `folder` is made of. Where Cargo can't say, that is the folder alone: its build will tell why.
    fn add(&mut self, folder: &Path, inputs: &mut Inputs) {
        let mut wanted = vec![folder.to_owned()];
        while let Some(folder) = wanted.pop() {
            if !inputs.folders.insert(folder.clone()) {
                continue;
            }
            if !self.0.contains_key(&folder) {
                self.ask(&folder);
            }
            let Some(package) = self.0.get(&folder) else { continue };
            inputs.files.extend(WORKSPACE_FILES.iter().map(|file| package.workspace.join(file)));
            wanted.extend(package.by_path.iter().cloned());
        }
    }

    /// The folder of the workspace that the package in `folder` is in, where Cargo has said so.
    pub(super) fn workspace(&self, folder: &Path) -> Option<&Path> {
        Some(&self.0.get(folder)?.workspace)
    }

    /// Asks Cargo about all packages of a folder's workspace at once.
    fn ask(&mut self, folder: &Path) {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
        command.arg(folder.join("Cargo.toml")).current_dir(folder);
        let Ok(Ok(json)) = ask(command, HELP) else { return };
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
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
    path: Option<PathBuf>,
}
