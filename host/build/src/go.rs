//! Compiles Go modules: generates bindings from the module's WIT world, runs the Go toolchain for `wasip1`, and adds the adapter that
//! implements WASI's preview 1 with preview 2.
//!
//! Each build regenerates the folder `bindings` of the module. The bindings call the module's own packages
//! `component/export_NAMESPACE_PACKAGE_INTERFACE`, one for each exported interface. If such an interface has resources, its package also
//! gets a file `wit_bindings.go`. The resources are types of the module's own, and Go allows methods on them only in their own package.
//!
//! A module that depends by path on the library for authors (`watertight sdk add go`) also gets `bindings/host`: the host's capabilities that
//! its world imports, for the interfaces of the library. The library has the text of these files, because they call the module's own
//! bindings, and Go packages cannot be generic over packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_parser::TypeDefKind;

use super::bindings::remove_others;
use super::contract::functions;
use super::error::BuildError;
use super::process::{capture_output, check_version, step};
use super::source::Source;
use super::world::World;
use super::{Event, write_if_changed};

/// The oldest supported Go version. Older ones can't keep Go's garbage collector from moving or freeing memory that the host reads.
const OLDEST: &str = "1.25";

/// The oldest Go version that fetches a newer one by itself.
const OLDEST_THAT_FETCHES: &str = "1.21";

/// The advice on how to install Go.
const HELP: &str = "install Go 1.25 or newer from https://go.dev, or put it on the PATH";

/// The name of the file that is generated into the module's own Go package of an exported interface, if the interface has resources.
const RESOURCES: &str = "wit_bindings.go";

/// The maximum number of items that a tuple may have in the Go bindings.
const MAX_TUPLE: usize = 16;

/// The build constraint at the start of all bindings. It excludes them from `go vet ./...` and `go test ./...`, which build for the
/// developer's machine.
const CONSTRAINT: &str = "//go:build wasip1\n\n";

/// The path of the library for authors, as a Go module.
const LIBRARY: &str = "watertight/guest";

/// The folder of the library with the texts for `bindings/host`. A text has the name of the package of bindings that it needs; `host` needs
/// none.
const ADAPTERS: &str = "adapters";

/// The extension of the texts, so that Go does not compile them where they stand.
const ADAPTER: &str = ".go.txt";

/// What stands for the path of the module's bindings in the texts.
const BINDINGS: &str = "BINDINGS";

/// Compiles a module, and returns its component.
pub(super) fn compile(
    source: &Source,
    workspace: &Path,
    debug: bool,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<u8>, BuildError> {
    let world = World::gather(source, workspace)?;
    check_contract(source, &world)?;
    let manifest = check(source)?;
    generate(source, &world, &manifest)?;
    let core = build(source, workspace, debug, listener)?;
    let mut core = fs::read(&core).map_err(|error| BuildError::unreadable(&core, error))?;
    world
        .component_of(&mut core)
        .map_err(|error| BuildError::Encode { module: source.name.clone(), source: error.into() })
}

fn go(source: &Source, arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    // Go selects the toolchain by the folder's `go.mod`.
    command.current_dir(&source.folder).args(arguments);
    command
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoMod {
    module: Module,
    /// The oldest Go version that the module's `go.mod` accepts.
    go: Option<String>,
    replace: Option<Vec<Replacement>>,
}

impl GoMod {
    /// Returns the folder of the library for authors, if the module depends on it by path.
    fn library(&self, folder: &Path) -> Option<PathBuf> {
        let replaced = self.replace.iter().flatten().find(|replacement| replacement.old.path == LIBRARY)?;
        Some(folder.join(&replaced.new.path))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replacement {
    old: Module,
    new: Module,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    path: String,
}

/// Checks that Go itself works, whatever a module's `go.mod` says.
fn check_installed() -> Result<(), BuildError> {
    let mut command = Command::new("go");
    command.arg("version").current_dir("/").env("GOTOOLCHAIN", "local");
    let broken = |said: String| BuildError::NoToolchain {
        program: "go".into(),
        help: HELP,
        source: std::io::Error::other(format!("`go version` fails: {said}")),
    };
    let version = capture_output(command, HELP)?.map_err(broken)?;
    // A newer Go can fetch the version that `go.mod` asks for. One from before 1.21 can't.
    check_version("Go", &version, &[OLDEST_THAT_FETCHES])
}

/// Returns the description of the Go module. Checks that the toolchain is installed and recent enough.
fn check(source: &Source) -> Result<GoMod, BuildError> {
    let manifest = source.folder.join("go.mod");
    let wrong = |message| BuildError::Manifest { path: manifest.clone(), message };
    check_installed()?;
    let json = capture_output(go(source, &["mod", "edit", "-json"]), HELP)?.map_err(wrong)?;
    let read: GoMod = serde_json::from_str(&json)
        .map_err(|error| wrong(format!("the output of `go mod edit -json` can't be understood: {error}")))?;
    if read.module.path.is_empty() {
        return Err(wrong("it has no line `module PATH`: run `go mod edit -module=example.com/NAME`".to_owned()));
    }
    let version = capture_output(go(source, &["env", "GOVERSION"]), HELP)?.map_err(wrong)?;
    check_version("Go", &version, &[OLDEST, read.go.as_deref().unwrap_or(OLDEST)])?;
    Ok(read)
}

/// Refuses a world for which Go's bindings can't be generated, or its code can't be linked.
pub(super) fn check_contract(source: &Source, world: &World) -> Result<(), BuildError> {
    let (resolve, _) = world.resolved();
    let mut parts = Vec::new();
    for function in functions(world) {
        if function.is_async() {
            // The bindings need a hook in Go's scheduler that no released Go has.
            parts.push(format!("{} is an `async func`", function.display_name()));
        }
        parts.extend(function.unsupported_types(resolve, |kind| match kind {
            TypeDefKind::Stream(_) | TypeDefKind::Future(_) | TypeDefKind::FixedLengthList(..) => false,
            TypeDefKind::Tuple(tuple) => tuple.types.len() <= MAX_TUPLE,
            _ => true,
        }));
    }
    BuildError::unless_supported(&source.name, "Go", parts)
}

/// Writes the bindings into the module's folder, and removes bindings that an earlier WIT world needed.
fn generate(source: &Source, world: &World, manifest: &GoMod) -> Result<(), BuildError> {
    let path = &manifest.module.path;
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
    if let Some(library) = manifest.library(&source.folder) {
        let folder = library.join(ADAPTERS);
        adapt(&folder, path, &mut files).map_err(|error| BuildError::unreadable(&folder, error))?;
    }

    let folder = source.folder.join("bindings");
    let mut written = BTreeSet::new();
    for (name, content) in files.iter() {
        let file = match name.split_once('/').filter(|(package, _)| package.starts_with("export_")) {
            None => folder.join(name),
            Some((package, RESOURCES)) => source.folder.join("component").join(package).join(RESOURCES),
            // An empty assembly file, needed only by builds for other targets than components.
            Some(_) => continue,
        };
        let content = [CONSTRAINT.as_bytes(), content].concat();
        write_if_changed(&file, &content).map_err(|error| BuildError::unwritable(&file, error))?;
        written.insert(file);
    }
    remove_resources(&source.folder.join("component"), &written)
        .and_then(|()| remove_others(&folder, &written))
        .map_err(|error| BuildError::unwritable(&folder, error))
}

/// Adds the package `host` with the capabilities for which there are bindings. `folder` holds the texts, and `path` is the Go module's path.
fn adapt(folder: &Path, path: &str, files: &mut Files) -> std::io::Result<()> {
    let packages: BTreeSet<String> =
        files.iter().filter_map(|(name, _)| Some(name.split_once('/')?.0.to_owned())).collect();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(package) = name.to_str().and_then(|name| name.strip_suffix(ADAPTER)) else { continue };
        if package == "host" || packages.contains(package) {
            let text = fs::read_to_string(entry.path())?.replace(BINDINGS, &format!("{path}/bindings"));
            files.push(&format!("host/{package}.go"), text.as_bytes());
        }
    }
    Ok(())
}

/// Removes generated files of resources that the world no longer has.
fn remove_resources(folder: &Path, written: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    // A module that exports no interface has no such folder.
    let Ok(packages) = fs::read_dir(folder) else { return Ok(()) };
    for package in packages {
        let file = package?.path().join(RESOURCES);
        if file.is_file() && !written.contains(&file) {
            fs::remove_file(&file)?;
        }
    }
    Ok(())
}

/// Runs the Go toolchain, and returns the path of the core module.
fn build(
    source: &Source,
    workspace: &Path,
    debug: bool,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<PathBuf, BuildError> {
    let output = workspace.join("target/go").join(source.name.as_str()).with_added_extension("wasm");
    // The runtime of wit-bindgen uses an internal function of Go by its linker name, which Go's linker checks by default.
    let flags = if debug { "-ldflags=-checklinkname=0" } else { "-ldflags=-s -w -checklinkname=0" };
    let arguments = ["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", flags, "-o"];
    let shown = format!("GOOS=wasip1 GOARCH=wasm go {} {} ./bindings", arguments.join(" "), output.display());
    let mut command = go(source, &arguments);
    command.arg(&output).arg("./bindings").env("GOOS", "wasip1").env("GOARCH", "wasm").env("CGO_ENABLED", "0");
    step(source, command, shown, HELP, listener)?;
    Ok(output)
}
