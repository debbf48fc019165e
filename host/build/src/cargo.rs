//! Compiles Rust modules with Cargo, each by a run of its own, so that its bytes do not depend on which other modules are built.
//!
//! The target is `wasm32-unknown-unknown`, whose output imports the interfaces of the module's world and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::error::BuildError;
use super::process::{ProgramOutput, capture_output, run};
use super::source::Source;
use super::{Event, Options, Profile};
use watertight_model::ids::ModuleName;

/// The advice on how to install Rust.
pub(super) const HELP: &str = "install Rust from https://rustup.rs, or put it on the PATH";

/// The compilation target of modules.
const TARGET: &str = "wasm32-unknown-unknown";

/// The settings of the Cargo profiles `module`, `module-debug` and `module-dev`, used for workspaces that don't define them. The first two
/// give small and fast code, the last one short compile times. `module-dev` optimises dependencies, because they are compiled once and
/// procedural macros among them run at each edit.
const PROFILES: [(&str, &[&str]); 3] = [
    (
        "module",
        &[
            "inherits=\"release\"",
            "opt-level=3",
            "lto=true",
            "codegen-units=1",
            "panic=\"abort\"",
            "strip=\"debuginfo\"",
            "debug=false",
        ],
    ),
    ("module-debug", &["inherits=\"module\"", "strip=\"none\"", "debug=\"line-tables-only\""]),
    (
        "module-dev",
        &[
            "inherits=\"dev\"",
            "opt-level=0",
            "panic=\"abort\"",
            "incremental=true",
            "debug=\"line-tables-only\"",
            "package.\"*\".opt-level=2",
        ],
    ),
];

/// A package that Cargo compiles.
struct Package<'a> {
    /// The package's index in the list that was passed to [`compile`].
    index: usize,
    module: &'a ModuleName,
    name: String,
    manifest: PathBuf,
}

/// Compiles every source. Returns the core modules' files in the order of the sources, with `None` for one that did not compile. Each
/// error is returned once for all modules that it concerns.
pub(super) fn compile(
    sources: &[&Source],
    options: &Options,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> (Vec<Option<PathBuf>>, Vec<BuildError>) {
    let mut files = vec![None; sources.len()];
    let mut errors = Vec::new();
    let mut workspaces: BTreeMap<PathBuf, Vec<Package<'_>>> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        match package(index, source).and_then(|package| Ok((workspace(&package, options)?, package))) {
            Ok((workspace, package)) => workspaces.entry(workspace).or_default().push(package),
            // Without a toolchain, every other module would fail with the same error.
            Err(error @ BuildError::NoToolchain { .. }) => return (files, vec![error]),
            Err(error) => errors.push(error),
        }
    }
    let runs = workspaces.iter().flat_map(|(manifest, packages)| {
        // Cargo unites the features that the packages of one run want of a dependency. Only the profile for short compile times accepts that.
        let size = if options.profile == Profile::Dev { packages.len() } else { 1 };
        packages.chunks(size).map(move |packages| (manifest, packages))
    });
    for (manifest, packages) in runs {
        let (command, shown) = command(manifest, packages, options);
        let modules: Vec<_> = packages.iter().map(|package| package.module.clone()).collect();
        listener(Event::Compiling { modules: &modules, command: &shown });
        // The files that exist afterwards show what succeeded, so the exit status is ignored.
        match run(command, HELP, listener, compiled) {
            Ok(ran) => collect_results(packages, ran, shown, &mut files, &mut errors),
            Err(error) => errors.push(error),
        }
        // Without the target, every other module would fail with the same error.
        if matches!(errors.last(), Some(BuildError::MissingTarget { .. })) {
            break;
        }
    }
    (files, errors)
}

fn package<'a>(index: usize, source: &'a Source) -> Result<Package<'a>, BuildError> {
    let manifest = source.folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|error| BuildError::unreadable(&manifest, error))?;
    let wrong = |message| BuildError::Manifest { path: manifest.clone(), message };
    let document: Manifest = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
    let name = document.package.ok_or_else(|| wrong("it has no `[package]`".to_owned()))?.name;
    Ok(Package { index, module: &source.name, name, manifest })
}

#[derive(Deserialize)]
struct Manifest {
    package: Option<PackageTable>,
}

#[derive(Deserialize)]
struct PackageTable {
    name: String,
}

/// Returns the manifest of the Cargo workspace that a package is in. A package outside of any workspace is its own.
fn workspace(package: &Package<'_>, options: &Options) -> Result<PathBuf, BuildError> {
    if let Some(folder) = package.manifest.parent().and_then(|folder| options.packages.workspace(folder)) {
        return Ok(folder.join("Cargo.toml"));
    }
    let mut command = cargo();
    command.args(["locate-project", "--workspace", "--message-format", "plain", "--manifest-path"]);
    command.arg(&package.manifest);
    let wrong = |message| BuildError::Manifest { path: package.manifest.clone(), message };
    Ok(capture_output(command, HELP)?.map_err(wrong)?.into())
}

/// Returns the command that runs Cargo. If Cargo started this process, uses the same Cargo and thus its toolchain.
pub(super) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The packages that compiled: the path of each package's manifest, and of its core module. The second is `None` for a package without a
/// `.wasm` file.
type Compiled = HashMap<PathBuf, Option<PathBuf>>;

/// Returns the command of one run of Cargo, and its text as a person would type it.
fn command(workspace: &Path, packages: &[Package<'_>], options: &Options) -> (Command, String) {
    let profile = match options.profile {
        Profile::Release => "module",
        Profile::Debug => "module-debug",
        Profile::Dev => "module-dev",
    };
    let mut arguments = vec!["build", "--lib", "--target", TARGET, "--profile", profile, "--manifest-path"];
    let manifest = workspace.to_string_lossy();
    arguments.push(&manifest);
    for package in packages {
        arguments.extend(["-p", &package.name]);
    }
    let shown = format!("cargo {}", arguments.join(" "));
    let mut command = cargo();
    command.args(arguments);
    // An error in one module must not keep the others from being compiled.
    command.args(["--keep-going", "--message-format", "json-render-diagnostics"]);
    if options.quiet {
        command.arg("--quiet");
    }
    if options.colours {
        command.args(["--color", "always"]);
    }
    for setting in missing_profiles(workspace) {
        command.args(["--config", &setting]);
    }
    // Rustup looks for `rust-toolchain.toml` in the current folder and its parents.
    if let Some(folder) = workspace.parent() {
        command.current_dir(folder);
    }
    (command, shown)
}

/// Stores the core module of each package at the package's index, and adds an error for each package that has none.
fn collect_results(
    packages: &[Package<'_>],
    ran: ProgramOutput<Compiled>,
    shown: String,
    files: &mut [Option<PathBuf>],
    errors: &mut Vec<BuildError>,
) {
    let ProgramOutput { printed: compiled, errors: output, .. } = ran;
    let mut failed = Vec::new();
    for package in packages {
        match compiled.get(&package.manifest) {
            Some(Some(file)) => files[package.index] = Some(file.clone()),
            Some(None) => errors.push(BuildError::NoWasm { module: package.module.clone() }),
            None => failed.push(package.module.clone()),
        }
    }
    if failed.is_empty() {
        return;
    }
    errors.push(if output.contains(&format!("`{TARGET}` target may not be installed")) {
        BuildError::MissingTarget { target: TARGET }
    } else {
        BuildError::Toolchain { modules: failed, command: shown, output }
    });
}

/// Returns the settings of those profiles in [`PROFILES`] that the workspace's manifest doesn't define.
fn missing_profiles(workspace: &Path) -> Vec<String> {
    // Cargo itself reports a manifest that can't be read.
    let document: toml::Table =
        std::fs::read_to_string(workspace).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let present = |name: &str| document.get("profile").and_then(|profiles| profiles.get(name)).is_some();
    let missing = PROFILES.iter().filter(|(name, _)| !present(name));
    missing
        .flat_map(|(name, settings)| settings.iter().map(move |setting| format!("profile.{name}.{setting}")))
        .collect()
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// Parses Cargo's messages. Returns the packages that were compiled, by manifest, each with its `.wasm` file if there is one.
fn compiled(stdout: impl Read) -> Compiled {
    let mut compiled = HashMap::new();
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        // Build scripts and macros may print other lines between the messages.
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        // A build script is an artifact of the same manifest, but not the module.
        let is_script = message.target.is_some_and(|target| target.kind.iter().any(|kind| kind == "custom-build"));
        if message.reason == "compiler-artifact"
            && !is_script
            && let Some(manifest) = message.manifest_path.and_then(|manifest| manifest.canonicalize().ok())
        {
            let is_wasm = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
            compiled.insert(manifest, message.filenames.into_iter().find(is_wasm));
        }
    }
    compiled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_is_told_from_a_mistake() {
        let module: ModuleName = "alpha".parse().expect("a module name");
        let package = Package { index: 0, module: &module, name: "alpha".to_owned(), manifest: "/x/Cargo.toml".into() };
        let judge = |output: &str| {
            let mut errors = Vec::new();
            let ran = ProgramOutput { success: false, printed: Compiled::new(), errors: output.to_owned() };
            super::collect_results(
                std::slice::from_ref(&package),
                ran,
                "cargo build".to_owned(),
                &mut [None],
                &mut errors,
            );
            errors.pop().expect("a module that has no file is an error")
        };
        let error = judge(
            "error[E0463]: can't find crate for `std`\n  = note: the `wasm32-unknown-unknown` target may not be installed",
        );
        assert_eq!(error.help().as_deref(), Some("run `rustup target add wasm32-unknown-unknown`"));
        assert!(matches!(judge("error: expected `;`"), BuildError::Toolchain { .. }));
    }
}
