//! Makes components of JavaScript modules: npm installs what the module pins, and componentize-js puts its code into an engine.
//!
//! The engine is snapshotted after the module's top level ran, random seeds and all: building twice gives two files that do the same.
//! So what was built is kept with the digest of all that went into it, and made again only when that changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::error::BuildError;
use super::process::{ask, check_version, step};
use super::source::Source;
use super::world::World;
use super::{Event, write_if_changed};
use crate::ids::Digest;

/// The oldest Node.js that componentize-js runs on.
const OLDEST: &str = "20";

/// How to get Node.js.
const HELP: &str = "install Node.js 20 or newer, with npm, from https://nodejs.org, or put it on the PATH";

/// What node runs.
const SCRIPT: &str = include_str!("componentize.mjs");

/// How the names of files end that may go into a component.
const SCRIPTS: [&str; 4] = ["js", "mjs", "cjs", "json"];

/// Where npm says what it installed.
const INSTALLED: &str = "node_modules/.package-lock.json";

#[derive(Deserialize)]
struct Package {
    main: Option<String>,
}

/// A module's component: made now, or kept from when the same was made.
pub(super) fn compile(
    source: &Source,
    workspace: &Path,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<u8>, BuildError> {
    let world = World::gather(source, workspace)?;
    let main = main(source)?;
    let version = ask(node(source, &["--version"]), HELP)?;
    let version = version.unwrap_or_else(|said| said);
    check_version("Node.js", &version, &[OLDEST])?;

    let made = workspace.join("target/javascript").join(source.name.as_str());
    let (wit, component, stamp) =
        (made.with_added_extension("wit"), made.with_added_extension("wasm"), made.with_added_extension("inputs"));
    let inputs = inputs(source, &world, &version)?;
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == inputs)
        && let Ok(kept) = fs::read(&component)
    {
        return Ok(kept);
    }
    install(source, listener)?;
    let write = |path: &Path, text: &str| {
        write_if_changed(path, text.as_bytes()).map_err(|error| BuildError::unwritable(path, error))
    };
    write(&wit, &world.text)?;
    // Whatever goes wrong from here on, the old component is no more what the stamp says.
    let _ = fs::remove_file(&stamp);
    let file = |path: &Path| path.to_string_lossy().into_owned();
    let arguments = [file(&source.folder.join(main)), file(&wit), world.name.clone(), file(&component)];
    let shown = format!("node componentize.mjs {}", arguments.join(" "));
    let mut command = node(source, &["--input-type=module", "--eval", SCRIPT, "--"]);
    command.args(arguments);
    step(source, command, shown, HELP, listener)?;
    let bytes = fs::read(&component).map_err(|error| BuildError::unreadable(&component, error))?;
    write(&stamp, &inputs)?;
    Ok(bytes)
}

/// The file that has the module's exports: what `package.json` says is `main`.
fn main(source: &Source) -> Result<PathBuf, BuildError> {
    let manifest = source.folder.join("package.json");
    let wrong = |message: String| BuildError::Manifest { path: manifest.clone(), message };
    let text = fs::read(&manifest).map_err(|error| BuildError::unreadable(&manifest, error))?;
    let package: Package = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let main =
        package.main.ok_or_else(|| wrong("it has no `main`: the file with the component's exports".to_owned()))?;
    if !source.folder.join(&main).is_file() {
        return Err(wrong(format!("its `main` is `{main}`, and there is no such file")));
    }
    Ok(main.into())
}

/// Installs what `package-lock.json` pins, unless that was done.
fn install(source: &Source, listener: &(dyn Fn(Event<'_>) + Sync)) -> Result<(), BuildError> {
    let lock = source.folder.join("package-lock.json");
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let pinned = changed(&lock).map_err(|error| BuildError::unreadable(&lock, error))?;
    if changed(&source.folder.join(INSTALLED)).is_ok_and(|installed| installed >= pinned) {
        return Ok(());
    }
    let mut command = Command::new("npm");
    // No package's own scripts: what is needed comes ready-made.
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    command.current_dir(&source.folder).args(arguments);
    let shown = format!("npm {}", arguments.join(" "));
    step(source, command, shown, HELP, listener)
}

fn node(source: &Source, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(&source.folder).args(arguments);
    command
}

/// All that goes into a component, as a list of digests: the module's files, its world, and what puts them together.
fn inputs(source: &Source, world: &World, node: &str) -> Result<String, BuildError> {
    let mut files = BTreeMap::new();
    collect(&source.folder, &mut files).map_err(|error| BuildError::unreadable(&source.folder, error))?;
    let mut list =
        format!("node {node}\nscript {}\nworld {}\n", Digest::of(SCRIPT.as_bytes()), Digest::of(world.text.as_bytes()));
    for (path, digest) in files {
        let path = path.strip_prefix(&source.folder).unwrap_or(&path).display().to_string();
        list.push_str(&format!("{path} {digest}\n"));
    }
    Ok(list)
}

/// The digests of a folder's scripts and manifests.
fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Digest>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What is installed follows from the lock file.
        if name == "node_modules" || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if SCRIPTS.iter().any(|extension| path.extension().is_some_and(|found| found == *extension)) {
            files.insert(path.clone(), Digest::of(&fs::read(&path)?));
        }
    }
    Ok(())
}
