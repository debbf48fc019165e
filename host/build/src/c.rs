//! Compiles C modules: generates bindings from the module's WIT world, runs a C compiler for WebAssembly with wasi-libc, and makes a
//! component of the result.
//!
//! The compiler gets the flags of `compile_flags.txt`, which editors read too, and every `.c` file below `src`. Each build regenerates the
//! folder `bindings` of the module. A file there has two functions that stand in for those of the C library, so that a failed assertion is
//! reported by `watertight:lifecycle/failure`. A module that uses nothing else of an operating system then imports its world and no WASI.

mod compiler;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_parser::{FunctionKind, TypeDefKind};

use super::bindings::remove_others;
use super::contract::functions;
use super::error::BuildError;
use super::process::step;
use super::source::Source;
use super::world::World;
use super::{Event, write_if_changed};

/// The file with the compiler's flags, one a line. It marks a folder as a module in C.
const FLAGS: &str = "compile_flags.txt";

/// The C code that becomes part of every module. `WORLD` stands for the name of the module's world in C.
const SUPPORT: &str = include_str!("c/watertight.c");

/// The size of a module's stack in bytes, which is that of Rust modules.
const STACK: u32 = 1 << 20;

/// The greatest depth of folders below `src`.
const MAX_DEPTH: usize = 16;

/// Compiles a module, and returns its component.
pub(super) fn compile(
    source: &Source,
    workspace: &Path,
    debug: bool,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<u8>, BuildError> {
    let world = World::gather_with_failure(source, workspace)?;
    check_contract(source, &world)?;
    let flags = flags(source)?;
    let mut files = Vec::new();
    sources(source, &source.folder.join("src"), MAX_DEPTH, &mut files)?;
    if files.is_empty() {
        return Err(refused(source, "there is no `.c` file in the folder `src` beside it".to_owned()));
    }
    files.extend(generate(source, &world)?);

    let compiler = compiler::ready(source, workspace, listener)?;
    let output = workspace.join("target/c").join(source.name.as_str()).with_added_extension("wasm");
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).map_err(|error| BuildError::unwritable(folder, error))?;
    }
    let mut arguments: Vec<String> =
        ["-mexec-model=reactor", "-O2", if debug { "-g" } else { "-s" }].map(str::to_owned).into();
    arguments.push(format!("-Wl,-z,stack-size={STACK}"));
    // Debug information has paths within the module, wherever its folder stands.
    arguments.push("-ffile-compilation-dir=.".to_owned());
    arguments.extend(["-Dabort=watertight_abort", "-D__assert_fail=watertight_assert_fail"].map(str::to_owned));
    // Zig leaves out assertions in optimised code. Only the author may.
    arguments.push("-UNDEBUG".to_owned());
    arguments.extend(flags);
    arguments.extend(files.iter().map(|file| file.display().to_string()));
    arguments.extend(["-o".to_owned(), output.display().to_string()]);
    let mut command = compiler.command();
    command.args(&arguments).current_dir(&source.folder);
    let shown = format!("{} {}", compiler.shown(), arguments.join(" "));
    step(source, command, shown, compiler::HELP, listener)?;
    let mut core = fs::read(&output).map_err(|error| BuildError::unreadable(&output, error))?;
    world
        .component_of(&mut core)
        .map_err(|error| BuildError::Encode { module: source.name.clone(), source: error.into() })
}

fn refused(source: &Source, message: String) -> BuildError {
    BuildError::Manifest { path: source.folder.join(FLAGS), message }
}

/// Returns the compiler's flags. As for clangd, each line is one flag, and an empty line is none.
fn flags(source: &Source) -> Result<Vec<String>, BuildError> {
    let path = source.folder.join(FLAGS);
    let text = fs::read(&path).map_err(|error| BuildError::unreadable(&path, error))?;
    let text = String::from_utf8(text).map_err(|_| refused(source, "it is not UTF-8".to_owned()))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Adds the C files in a folder, relative to the module's folder and sorted.
fn sources(source: &Source, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    let unreadable = |error| BuildError::unreadable(folder, error);
    if !folder.is_dir() {
        return Ok(());
    }
    if depth == 0 {
        return Err(refused(source, format!("there are more than {MAX_DEPTH} levels of folders in `src` beside it")));
    }
    let entries = fs::read_dir(folder).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(source, &path, depth - 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "c") {
            files.push(path.strip_prefix(&source.folder).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

/// Refuses a world for which the bindings can't be generated.
pub(super) fn check_contract(source: &Source, world: &World) -> Result<(), BuildError> {
    let (resolve, _) = world.resolved();
    let mut parts = Vec::new();
    for function in functions(world) {
        if function.is_async() {
            parts.push(format!("{} is an `async func`", function.display_name()));
        }
        let is_of_resource = matches!(
            function.function.kind,
            FunctionKind::Method(_) | FunctionKind::Static(_) | FunctionKind::Constructor(_)
        );
        if function.interface.is_none() && is_of_resource {
            parts.push(format!("{} is a function of a resource outside of any interface", function.display_name()));
        }
        parts.extend(function.unsupported_types(resolve, |kind| {
            !matches!(kind, TypeDefKind::Stream(_) | TypeDefKind::Future(_) | TypeDefKind::FixedLengthList(..))
        }));
    }
    BuildError::unless_supported(&source.name, "C", parts)
}

/// Writes the bindings into the module's folder, and removes what an earlier WIT world needed. Returns the C files of them.
fn generate(source: &Source, world: &World) -> Result<Vec<PathBuf>, BuildError> {
    let refused =
        |error: anyhow::Error| BuildError::World { module: source.name.clone(), message: format!("{error:#}") };
    let mut files = Files::default();
    let generate = |files: &mut Files| {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("world.wit", &world.text)?;
        let id = resolve.select_world(&[package], Some(&world.name))?;
        let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
        options.build().generate(&mut resolve, id, files)
    };
    generate(&mut files).map_err(refused)?;
    files.push("watertight.c", SUPPORT.replace("WORLD", &world.name.replace('-', "_").to_lowercase()).as_bytes());

    let folder = source.folder.join("bindings");
    let mut written = BTreeSet::new();
    let mut code = Vec::new();
    for (name, content) in files.iter() {
        let file = folder.join(name);
        let is_code = file.extension().is_some_and(|extension| extension == "c");
        // The author's warnings concern the author's own code.
        let quiet: &[u8] = if is_code { b"#pragma clang diagnostic ignored \"-Weverything\"\n" } else { b"" };
        write_if_changed(&file, &[quiet, content].concat()).map_err(|error| BuildError::unwritable(&file, error))?;
        if is_code {
            code.push(Path::new("bindings").join(name));
        }
        written.insert(file);
    }
    remove_others(&folder, &written).map_err(|error| BuildError::unwritable(&folder, error))?;
    Ok(code)
}
