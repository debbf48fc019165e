//! Makes components of JavaScript and TypeScript modules. A bundler gathers the module's files and packages, and componentize-js embeds the
//! bundle into a JavaScript engine. For TypeScript, the types of the world are generated into the folder `bindings` of the module first, and
//! TypeScript's own compiler checks the module's files against them.
//!
//! A shim around the module's code keeps 64-bit integers exact, takes time and randomness from the world's imports, and reports errors with
//! message and source lines. The engine's state, including its random seeds, is saved after the module's top level has run. Two builds of
//! the same source thus differ in their bytes. The build therefore caches the component with the digests of all its inputs, and rebuilds it
//! only if an input changes.

mod description;
mod names;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::json;

use super::error::BuildError;
use super::process::{capture_output, check_version, step};
use super::source::{Language, Source};
use super::world::World;
use super::{Event, write_if_changed};
use description::Description;
use watertight_model::ids::Digest;

/// The oldest Node.js version that componentize-js supports.
const OLDEST: &str = "20";

/// The advice on how to install Node.js.
const HELP: &str = "install Node.js 20 or newer, with npm, from https://nodejs.org, or put it on the PATH";

/// The extensions of files that may become part of a component, besides those of [`TYPESCRIPT`].
const SCRIPTS: [&str; 4] = ["js", "mjs", "cjs", "json"];

/// The extensions of TypeScript files.
const TYPESCRIPT: [&str; 4] = ["ts", "mts", "cts", "tsx"];

/// The file in which npm records what it installed.
const INSTALLED: &str = "node_modules/.package-lock.json";

/// The content of a module's `package.json` that a build uses.
#[derive(Deserialize)]
struct Package {
    main: Option<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, serde_json::Value>,
}

/// Returns a module's component. Reuses the cached one if all inputs are the same.
pub(super) fn compile(
    source: &Source,
    workspace: &Path,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<u8>, BuildError> {
    let world = World::gather_with_failure(source, workspace)?;
    let package = Package::read(source)?;
    let main = package.main(source)?;
    let description = Description::of(source, &world, main)?;
    let bindings = (source.language == Language::TypeScript).then(|| source.folder.join("bindings"));
    let version = capture_output(node(source, &["--version"]), HELP)?;
    let version = version.unwrap_or_else(|said| said);
    check_version("Node.js", &version, &[OLDEST])?;

    let made = workspace.join("target/javascript").join(source.name.as_str());
    let beside = |extension: &str| made.with_added_extension(extension);
    let (wit, component, stamp, job, bundle) =
        (beside("wit"), beside("wasm"), beside("inputs"), beside("json"), beside("bundle.js"));
    package.install(source, listener)?;
    let inputs = inputs(source, &world, &version, bindings.as_deref())?;
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == inputs)
        && bindings.as_ref().is_none_or(|folder| folder.is_dir())
        && let Ok(kept) = fs::read(&component)
    {
        return Ok(kept);
    }
    let script = tools::ready(source, workspace, HELP, listener)?;
    let write = |path: &Path, text: &str| {
        write_if_changed(path, text.as_bytes()).map_err(|error| BuildError::unwritable(path, error))
    };
    write(&wit, &world.text)?;
    let text = json!({
        "folder": source.folder, "main": main, "dependencies": package.dependencies, "wit": wit, "world": world.name,
        "bindings": bindings, "contract": description, "bundle": bundle, "output": component,
    });
    write(&job, &text.to_string())?;
    // If the build fails from here on, the cached component may not match the recorded inputs.
    let _ = fs::remove_file(&stamp);
    // Componentize-js runs a WebAssembly program, the splicer, only once. With compiler threads beside it, Node.js takes three times as
    // long.
    let arguments = ["--single-threaded", &script.to_string_lossy(), &job.to_string_lossy()].map(str::to_owned);
    let shown = format!("node {}", arguments.join(" "));
    let mut command = node(source, &[]);
    command.args(arguments);
    step(source, command, shown, HELP, listener)?;
    let bytes = fs::read(&component).map_err(|error| BuildError::unreadable(&component, error))?;
    write(&stamp, &inputs)?;
    Ok(bytes)
}

/// Returns whether the npm package in a folder is written in TypeScript: whether its `main` names such a file.
pub(super) fn is_typescript(folder: &Path) -> bool {
    let package = fs::read(folder.join("package.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let main = package.and_then(|package: Package| package.main);
    main.is_some_and(|main| has_extension(Path::new(&main), &TYPESCRIPT))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

/// Refuses a world with functions, types or names that JavaScript can't carry.
pub(super) fn check_contract(source: &Source, world: &World) -> Result<(), BuildError> {
    Description::of(source, world, "").map(drop)
}

impl Package {
    fn read(source: &Source) -> Result<Self, BuildError> {
        let manifest = source.folder.join("package.json");
        let text = fs::read(&manifest).map_err(|error| BuildError::unreadable(&manifest, error))?;
        serde_json::from_slice(&text).map_err(|error| refused(source, error.to_string()))
    }

    /// Returns the file with the module's exports, as the field `main` of `package.json` names it.
    fn main(&self, source: &Source) -> Result<&str, BuildError> {
        let wrong = |message: String| Err(refused(source, message));
        let Some(main) = &self.main else {
            return wrong("it has no `main`: the file with the component's exports".to_owned());
        };
        if !source.folder.join(main).is_file() {
            return wrong(format!("its `main` is `{main}`, and there is no such file"));
        }
        Ok(main)
    }

    /// Installs the packages of the module as `package-lock.json` pins them. Does nothing if they are installed or none are needed.
    fn install(&self, source: &Source, listener: &(dyn Fn(Event<'_>) + Sync)) -> Result<(), BuildError> {
        if self.dependencies.is_empty() {
            return Ok(());
        }
        let changed = |path: &str| fs::metadata(source.folder.join(path)).and_then(|metadata| metadata.modified());
        let Ok(pinned) = changed("package-lock.json") else {
            if source.folder.join("node_modules").is_dir() {
                return Ok(());
            }
            let (module, folder) = (source.name.clone(), source.folder.clone());
            return Err(BuildError::NotInstalled { module, folder });
        };
        if changed(INSTALLED).is_ok_and(|installed| installed >= pinned) {
            return Ok(());
        }
        let mut command = Command::new("npm");
        // Install scripts of packages are not run. The bundle uses only the code that the packages ship.
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        command.current_dir(&source.folder).args(arguments);
        let shown = format!("npm {}", arguments.join(" "));
        step(source, command, shown, HELP, listener)
    }
}

fn refused(source: &Source, message: String) -> BuildError {
    BuildError::Manifest { path: source.folder.join("package.json"), message }
}

fn node(source: &Source, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(&source.folder).args(arguments);
    command
}

/// Returns a list of the digests of all inputs of a component: the module's files without the generated ones in `bindings`, its world, and
/// the tools.
fn inputs(source: &Source, world: &World, node: &str, bindings: Option<&Path>) -> Result<String, BuildError> {
    let mut files = BTreeMap::new();
    collect(&source.folder, bindings, &mut files).map_err(|error| BuildError::unreadable(&source.folder, error))?;
    // npm's record identifies the contents of `node_modules`.
    let installed = source.folder.join(INSTALLED);
    if let Ok(bytes) = fs::read(&installed) {
        files.insert(installed, Digest::of(&bytes));
    }
    let mut list = format!("node {node}\ntools {}\nworld {}\n", tools::digest(), Digest::of(world.text.as_bytes()));
    for (path, digest) in files {
        let path = path.strip_prefix(&source.folder).unwrap_or(&path).display().to_string();
        list.push_str(&format!("{path} {digest}\n"));
    }
    Ok(list)
}

/// Collects the digests of all scripts and manifests in a folder.
fn collect(folder: &Path, bindings: Option<&Path>, files: &mut BTreeMap<PathBuf, Digest>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "node_modules" || name.starts_with('.') || bindings == Some(path.as_path()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, bindings, files)?;
        } else if has_extension(&path, &SCRIPTS) || has_extension(&path, &TYPESCRIPT) {
            files.insert(path.clone(), Digest::of(&fs::read(&path)?));
        }
    }
    Ok(())
}
