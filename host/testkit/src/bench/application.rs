//! Applications for benchmarks: the shop of this repository, and small ones for single measurements.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use watertight_build::{self as build, Event, Options};
use watertight_model::config::{self, ComponentSource, Overrides};

use super::folder;
use crate::host::write_copy;
use crate::paths::repository;

/// Builds the shop's modules if their sources changed, and returns the shop's manifest.
pub fn shop() -> anyhow::Result<PathBuf> {
    let config = config::load(&repository(), &Overrides::default())?;
    let folders = config.modules.values().filter_map(|module| match &module.component.value {
        ComponentSource::Folder { folder, .. } => Some(folder.clone()),
        ComponentSource::File(_) => None,
    });
    make(&folders.collect::<Vec<_>>(), None)?;
    Ok(config.manifest)
}

/// Builds guests of `benches/guests` and returns their component files, in the order of `names`.
pub fn guests<const N: usize>(names: [&str; N]) -> anyhow::Result<[PathBuf; N]> {
    let out = folder()?.join("components");
    let guests = repository().join("host/benches/guests");
    make(&names.map(|name| guests.join(name)), Some(out.clone()))?;
    Ok(names.map(|name| out.join(name).with_extension("wasm")))
}

/// Copies the shop to `folder`. `settings` is appended to the copy's manifest.
pub fn copy_of_shop(shop: &Path, folder: &Path, settings: &str) -> anyhow::Result<PathBuf> {
    write_copy(shop, folder, &[], settings)?;
    Ok(folder.join("app.toml"))
}

/// Copies the shop to `folder` and adds hostile modules. `put` writes their components into the folder that it gets, and returns the text
/// for them that the manifest needs. `routes` is the text of their routes. `settings` is appended to the manifest.
pub fn with_hostile(
    shop: &Path,
    folder: &Path,
    settings: &str,
    routes: &str,
    put: impl FnOnce(&Path) -> String,
) -> anyhow::Result<PathBuf> {
    const SHOP: &str = "[compartments.shop]\nmodules = [\"orders\", \"payments\", \"notifications\"]\n";
    let app = copy_of_shop(shop, folder, &format!("{settings}{SHOP}"))?;
    let hostile = put(app.parent().context("the manifest stands in a folder")?);
    let manifest = std::fs::read_to_string(&app)?;
    std::fs::write(&app, manifest + &hostile)?;
    std::fs::write(app.with_file_name("routes").join("hostile.toml"), routes)?;
    Ok(app)
}

fn make(folders: &[PathBuf], out: Option<PathBuf>) -> anyhow::Result<()> {
    let options = Options { out, ..Options::of(repository()) };
    build::build(folders, &options, &|event| match event {
        Event::Compiling { command, .. } => eprintln!("  running {command}"),
        Event::Output(line) | Event::Warning(line) => eprintln!("  {line}"),
        Event::Built(_) => {}
    })?;
    Ok(())
}
