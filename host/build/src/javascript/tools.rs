//! Installs the programs that make components of JavaScript, componentize-js, a bundler and TypeScript's compiler, in the versions that this host pins.
//!
//! npm installs them once for each user and set of versions. Modules need none of them in their own `package.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Event;
use crate::cache::{self, short};
use crate::error::BuildError;
use crate::process::step;
use crate::source::Source;
use crate::write_if_changed;
use watertight_model::ids::Digest;

const PACKAGE: &str = include_str!("tools/package.json");
const LOCK: &str = include_str!("tools/package-lock.json");

/// The scripts that Node.js runs, and those that become part of a component.
const SCRIPTS: [(&str, &str); 5] = [
    ("componentize.mjs", include_str!("componentize.mjs")),
    ("places.mjs", include_str!("places.mjs")),
    ("shim.mjs", include_str!("shim.mjs")),
    ("types.mjs", include_str!("types.mjs")),
    ("values.mjs", include_str!("values.mjs")),
];

/// The file that npm writes after it has installed all packages, relative to the folder of the installation.
const INSTALLED: &str = "node_modules/.package-lock.json";

/// Returns the digest of what this host contributes to making a component: its scripts, and the pinned versions of the tools.
pub(super) fn digest() -> Digest {
    let scripts: String = SCRIPTS.iter().map(|(name, text)| format!("{name}\n{text}\n")).collect();
    Digest::of(format!("{LOCK}\n{scripts}").as_bytes())
}

/// Installs the programs if they are missing, and returns the path of the script for Node.js to run.
pub(super) fn ready(
    source: &Source,
    workspace: &Path,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<PathBuf, BuildError> {
    let folder = cache::folder(workspace).join(format!("javascript-{}", short(&Digest::of(LOCK.as_bytes()))));
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error| BuildError::unwritable(&path, error)
    };
    cache::once(&folder, INSTALLED, |aside| install(source, aside, help, listener))?;
    let scripts = folder.join(format!("scripts-{}", short(&digest())));
    fs::create_dir_all(&scripts).map_err(unwritable(&scripts))?;
    for (name, text) in SCRIPTS {
        let file = scripts.join(name);
        write_if_changed(&file, text.as_bytes()).map_err(unwritable(&file))?;
    }
    Ok(scripts.join(SCRIPTS[0].0))
}

/// Installs the programs into a folder.
fn install(
    source: &Source,
    folder: &Path,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), BuildError> {
    let prepared = fs::write(folder.join("package.json"), PACKAGE)
        .and_then(|()| fs::write(folder.join("package-lock.json"), LOCK));
    prepared.map_err(|error| BuildError::unwritable(folder, error))?;
    let mut command = Command::new("npm");
    // Install scripts of packages are not run. The needed programs come prebuilt.
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    command.current_dir(folder).args(arguments);
    let shown = format!("npm {} (componentize-js, esbuild and TypeScript)", arguments.join(" "));
    step(source, command, shown, help, listener)
}
