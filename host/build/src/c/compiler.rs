//! Finds a C compiler for WebAssembly with wasi-libc, and installs one if there is none.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Event;
use crate::cache;
use crate::error::BuildError;
use crate::process::{capture_output, check_version, step};
use crate::source::Source;

/// The Python package with the compiler that is installed if there is none: Zig, which contains clang and wasi-libc.
const PACKAGE: &str = "ziglang==0.17.1";

/// The compiler, in the folder where the package is installed.
const PROGRAM: &str = "ziglang/zig";

/// The oldest supported version of Zig.
const OLDEST: &str = "0.14";

/// The variable that names the folder of a wasi-sdk.
const WASI_SDK: &str = "WASI_SDK_PATH";

/// The advice on how to install a compiler.
pub(super) const HELP: &str = "install Zig 0.14 or newer from https://ziglang.org or by `pip install ziglang`, put it on the PATH, or set \
     `WASI_SDK_PATH` to the folder of a wasi-sdk; where Python has pip, `watertight build` installs Zig itself";

/// A C compiler for WebAssembly.
pub(super) struct Compiler {
    program: PathBuf,
    arguments: &'static [&'static str],
    /// The folder in which Zig keeps what it compiled, if the compiler is one that the build installed.
    cache: Option<PathBuf>,
}

impl Compiler {
    /// Returns a command that runs the compiler for WebAssembly.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments);
        if let Some(cache) = &self.cache {
            command.env("ZIG_GLOBAL_CACHE_DIR", cache).env("ZIG_LOCAL_CACHE_DIR", cache);
        }
        command
    }

    /// Returns the compiler's command as a person would type it.
    pub(super) fn shown(&self) -> String {
        [&[self.program.to_string_lossy().as_ref()], self.arguments].concat().join(" ")
    }
}

/// Returns the compiler: that of the wasi-sdk which `WASI_SDK_PATH` names, Zig on the PATH, or Zig as this host pins it, which is installed
/// once for a user.
pub(super) fn ready(
    source: &Source,
    workspace: &Path,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Compiler, BuildError> {
    if let Some(sdk) = std::env::var_os(WASI_SDK) {
        let program = Path::new(&sdk).join("bin/clang");
        if !program.is_file() {
            let folder = Path::new(&sdk).display();
            let reason = format!("`{WASI_SDK}` is `{folder}`, which is no folder of a wasi-sdk: it has no `bin/clang`");
            return Err(BuildError::NoToolchain { program, help: HELP, source: std::io::Error::other(reason) });
        }
        return Ok(Compiler { program, arguments: &["--target=wasm32-wasip1"], cache: None });
    }
    let zig = |program: PathBuf, cache| Compiler { program, arguments: &["cc", "--target=wasm32-wasi"], cache };
    let mut version = Command::new("zig");
    version.arg("version");
    if let Ok(said) = capture_output(version, HELP) {
        check_version("Zig", &said.unwrap_or_else(|said| said), &[OLDEST])?;
        return Ok(zig("zig".into(), None));
    }
    let folder = cache::folder(workspace).join(format!("c-{}", PACKAGE.replace("==", "-")));
    let program = folder.join(PROGRAM);
    cache::once(&folder, PROGRAM, |aside| install(source, aside, listener))?;
    Ok(zig(program, Some(folder.with_added_extension("cache"))))
}

/// Installs Zig from the registry of Python packages into a folder.
fn install(source: &Source, folder: &Path, listener: &(dyn Fn(Event<'_>) + Sync)) -> Result<(), BuildError> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--version"]);
    if capture_output(command, HELP)?.is_err() {
        let source =
            std::io::Error::other("there is no C compiler for WebAssembly, and Python has no pip to install one");
        return Err(BuildError::NoToolchain { program: "zig".into(), help: HELP, source });
    }
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
    let shown = format!("python3 {} {} {PACKAGE}", arguments.join(" "), folder.display());
    let mut command = Command::new("python3");
    command.args(arguments).arg(folder).arg(PACKAGE).env("PIP_ROOT_USER_ACTION", "ignore");
    step(source, command, shown, HELP, listener)
}
