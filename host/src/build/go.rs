//! Compiles Go modules: bindings from the world, the Go toolchain for `wasip1`, and WASI's adapter around what it makes.
//!
//! The bindings go to the folder `bindings` of the module, which is made anew by each build. They call the module's own packages
//! `component/export_NAMESPACE_PACKAGE_INTERFACE`, one for each interface that it exports.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use wasi_preview1_component_adapter_provider as adapter;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

use super::error::BuildError;
use super::process::{ask, check_version, step};
use super::source::Source;
use super::world::World;
use super::{Event, write_if_changed};

/// The oldest Go that makes components: it pins what is handed to the host.
const OLDEST: &str = "1.25";

/// How to get Go.
const HELP: &str = "install Go 1.25 or newer from https://go.dev, or put it on the PATH";

/// What all bindings begin with: they are for components only, so that `go vet ./...` and `go test ./...` pass them by.
const CONSTRAINT: &str = "//go:build wasip1\n\n";

/// Compiles a module, and returns its component.
pub(super) fn compile(
    source: &Source,
    workspace: &Path,
    debug: bool,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<u8>, BuildError> {
    let world = World::gather(source, workspace)?;
    let path = check(source)?;
    generate(source, &world, &path)?;
    let core = build(source, workspace, debug, listener)?;
    let mut core = fs::read(&core).map_err(|error| BuildError::unreadable(&core, error))?;
    encode(&mut core, &world).map_err(|error| BuildError::Encode { module: source.name.clone(), source: error.into() })
}

fn encode(core: &mut Vec<u8>, world: &World) -> anyhow::Result<Vec<u8>> {
    world.embed(core)?;
    let name = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(core)?;
    encoder.adapter(name, adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
    encoder.encode()
}

fn go(source: &Source, arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    // Which toolchain runs is up to the folder's `go.mod`.
    command.current_dir(&source.folder).args(arguments);
    command
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoMod {
    module: Module,
    /// The oldest Go that the module takes.
    go: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    path: String,
}

/// The Go module's path; checks that the toolchain is there and new enough.
fn check(source: &Source) -> Result<String, BuildError> {
    let manifest = source.folder.join("go.mod");
    let wrong = |message| BuildError::Manifest { path: manifest.clone(), message };
    let json = ask(go(source, &["mod", "edit", "-json"]), HELP)?.map_err(wrong)?;
    let read: GoMod = serde_json::from_str(&json).map_err(|error| wrong(format!("it names no module: {error}")))?;
    let version = ask(go(source, &["env", "GOVERSION"]), HELP)?.map_err(wrong)?;
    check_version("Go", &version, &[OLDEST, read.go.as_deref().unwrap_or(OLDEST)])?;
    Ok(read.module.path)
}

/// Writes the bindings into the module's folder, and takes away what an earlier world left there.
fn generate(source: &Source, world: &World, path: &str) -> Result<(), BuildError> {
    let refused =
        |error: anyhow::Error| BuildError::World { module: source.name.clone(), message: format!("{error:#}") };
    let mut files = Files::default();
    let generate = |files: &mut Files| {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("world.wit", &world.text)?;
        let id = resolve.select_world(&[package], Some(&world.name))?;
        let options = wit_bindgen_go::Opts {
            format: wit_bindgen_go::Format::False,
            pkg_name: Some(format!("{path}/bindings")),
            export_pkg_name: Some(format!("{path}/component")),
            ..Default::default()
        };
        options.build().generate(&mut resolve, id, files)
    };
    generate(&mut files).map_err(refused)?;
    let main = format!("package main\n\nimport _ \"{path}/bindings/wit_exports\"\n\nfunc main() {{}}\n");
    files.push("main.go", main.as_bytes());

    let folder = source.folder.join("bindings");
    let mut written = BTreeSet::new();
    for (name, content) in files.iter() {
        let file = folder.join(name);
        let content = [CONSTRAINT.as_bytes(), content].concat();
        write_if_changed(&file, &content).map_err(|error| BuildError::unwritable(&file, error))?;
        written.insert(file);
    }
    remove_others(&folder, &written).map_err(|error| BuildError::unwritable(&folder, error))
}

/// Removes what no generator wrote.
fn remove_others(folder: &Path, written: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, written)?;
            // Only where it is empty now.
            let _ = fs::remove_dir(&path);
        } else if !written.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Runs Go, and returns the core module's file.
fn build(
    source: &Source,
    workspace: &Path,
    debug: bool,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<PathBuf, BuildError> {
    let output = workspace.join("target/go").join(source.name.as_str()).with_added_extension("wasm");
    // Wit-bindgen's runtime names a function of Go's own by its linker name.
    let flags = if debug { "-ldflags=-checklinkname=0" } else { "-ldflags=-s -w -checklinkname=0" };
    let arguments = ["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", flags, "-o"];
    let shown = format!("GOOS=wasip1 GOARCH=wasm go {} {} ./bindings", arguments.join(" "), output.display());
    let mut command = go(source, &arguments);
    command.arg(&output).arg("./bindings").env("GOOS", "wasip1").env("GOARCH", "wasm").env("CGO_ENABLED", "0");
    step(source, command, shown, HELP, listener)?;
    Ok(output)
}
