//! Finds components that are older than their sources.
//!
//! A build sets a component's modification time to the moment at which it began to read the sources, also if it wrote no new bytes. Nothing is
//! compiled, and no tool runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::source::Language;
use super::walk::walk_sources;
use super::{inputs, python, wit_files, world};
use watertight_model::config::{AppConfig, ComponentSource, ModuleConfig};
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Code, Problem};

/// The maximum number of files and folders that are looked at for one component.
const MAX_ENTRIES: usize = 50_000;
/// Files and folders of a module that no build reads, by the end of their names: tests and texts for people.
const NOT_BUILT: [&str; 5] = ["test", "tests", "_test.go", ".md", "Makefile"];

/// Returns a note for each component of an application that is older than its sources. Components without sources beside the manifest get none.
pub fn outdated(config: &AppConfig) -> Vec<Problem> {
    let note = |(name, module): (&ModuleName, &ModuleConfig)| {
        let ComponentSource::Folder { folder, component } = &module.component.value else { return None };
        let note = note(name.as_str(), folder, component, config)?.module(name);
        Some(note.file(&config.manifest).line(module.component.line))
    };
    config.modules.iter().filter_map(note).collect()
}

/// Returns a note if `component`, a file in the output folder of the workspace, is older than the module folder of the same name beside the
/// manifest.
pub fn outdated_file(component: &Path, config: &AppConfig) -> Option<Problem> {
    let name = component.file_stem()?.to_str()?;
    let built = config.workspace.join("target/components").join(name).with_added_extension("wasm");
    let is_built = component.canonicalize().ok()? == built.canonicalize().ok()?;
    note(name, &config.root.join(name), &built, config).filter(|_| is_built)
}

/// Returns a note if a component is older than its sources in `folder`. `name` is what `watertight build` takes.
fn note(name: &str, folder: &Path, component: &Path, config: &AppConfig) -> Option<Problem> {
    let language = Language::of(folder).ok()?;
    let built = modified(component)?;
    let (_, file) = sources(folder, language, &config.workspace).filter(|(time, _)| *time > built).max()?;
    let file = file.strip_prefix(&config.workspace).unwrap_or(&file).display().to_string();
    let message = format!("the component of `{name}` is older than its sources: `{file}` changed after the last build");
    Some(Problem::new(Code::Outdated, message).help(format!("run `watertight build {name}`")))
}

/// Returns the files that the build of a module reads, with the time at which each was modified. Locks and manifests of a language's workspace
/// are left out, because they change when other modules do.
fn sources(folder: &Path, language: Language, workspace: &Path) -> impl Iterator<Item = (SystemTime, PathBuf)> {
    let contracts = world::contracts(folder, workspace).unwrap_or_default();
    let contracts = contracts.into_iter().flat_map(|folder| wit_files(&folder));
    let folders: BTreeSet<PathBuf> = match language {
        Language::Rust => inputs::packages_by_path(folder),
        Language::Python => python::folders(folder).into_iter().chain([folder.to_owned()]).collect(),
        _ => [folder.to_owned()].into(),
    };
    let files = folders.into_iter().flat_map(|folder| {
        let files = walk_sources(&folder).take(MAX_ENTRIES).filter(|entry| entry.path().is_file());
        files.map(ignore::DirEntry::into_path).filter(move |file| is_built(file, &folder))
    });
    contracts.chain(files).filter_map(|file| Some((modified(&file)?, file)))
}

/// Whether a build may read a file in the folder of a module or package.
fn is_built(file: &Path, folder: &Path) -> bool {
    let Ok(within) = file.strip_prefix(folder) else { return true };
    let mut parts = within.components().filter_map(|part| part.as_os_str().to_str());
    let is_test = |name: &str| NOT_BUILT.contains(&name);
    let ends = |name: &str| NOT_BUILT.iter().any(|end| end.starts_with(['_', '.']) && name.ends_with(end));
    !parts.next().is_some_and(is_test) && !file.file_name().and_then(|name| name.to_str()).is_some_and(ends)
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}
