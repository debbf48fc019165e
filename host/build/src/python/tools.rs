//! Installs componentize-py, in the version that this host pins, into a virtual environment of the user's cache.
//!
//! It is installed once for each user, version of Python and version of the tool. Modules need none of it in their own dependencies.

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

/// What pip installs: componentize-py with its digests.
const REQUIREMENTS: &str = include_str!("tools.txt");

/// The script that Python runs, and the code that becomes part of every component.
const DRIVER: &str = include_str!("componentize.py");
const GLUE: &str = include_str!("glue.py");
const VALUES: &str = include_str!("values.py");

/// The name of the Python module that [`GLUE`] becomes. componentize-py looks for the exports there.
pub(super) const GLUE_MODULE: &str = "watertight_component";
/// The name of the Python module that [`VALUES`] becomes.
const VALUES_MODULE: &str = "watertight_values";

/// Python, in the virtual environment.
const PROGRAM: &str = "bin/python";

/// The programs of a user's virtual environment.
pub(super) struct Tools {
    /// Python, with componentize-py and pip.
    pub(super) python: PathBuf,
    /// The script that makes components.
    pub(super) driver: PathBuf,
    /// The folder with the Python modules [`GLUE_MODULE`] and [`VALUES_MODULE`].
    pub(super) glue: PathBuf,
}

/// Returns the digest of what this host contributes to making a component: its scripts, and the pinned versions of the tools.
pub(super) fn digest() -> Digest {
    Digest::of([REQUIREMENTS, DRIVER, GLUE, VALUES].join("\n").as_bytes())
}

/// Installs the programs if they are missing. `version` is the version of the Python that `python3` starts.
pub(super) fn ready(
    source: &Source,
    workspace: &Path,
    version: &str,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Tools, BuildError> {
    // A virtual environment belongs to the Python that made it.
    let made_by = Digest::of(format!("{REQUIREMENTS}{version}").as_bytes());
    let folder = cache::folder(workspace).join(format!("python-{}", short(&made_by)));
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error| BuildError::unwritable(&path, error)
    };
    cache::once(&folder, PROGRAM, |aside| install(source, aside, help, listener))?;
    let scripts = folder.join(format!("scripts-{}", short(&digest())));
    let (driver, glue) = (scripts.join("componentize.py"), scripts.join("glue"));
    let module = |name: &str| glue.join(name).with_added_extension("py");
    for (file, text) in [(&driver, DRIVER), (&module(GLUE_MODULE), GLUE), (&module(VALUES_MODULE), VALUES)] {
        write_if_changed(file, text.as_bytes()).map_err(unwritable(file))?;
    }
    Ok(Tools { python: folder.join(PROGRAM), driver, glue })
}

/// Makes the virtual environment in a folder that is moved afterwards. So `pip` and its like are run as modules of Python: the programs in
/// `bin` carry the folder's path, but Python itself doesn't.
fn install(
    source: &Source,
    folder: &Path,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), BuildError> {
    let unwritable = |error| BuildError::unwritable(folder, error);
    let mut command = Command::new("python3");
    command.args(["-m", "venv"]).arg(folder);
    step(source, command, format!("python3 -m venv {}", folder.display()), help, listener)?;
    let requirements = folder.join("tools.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(unwritable)?;
    let arguments = ["-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"];
    let mut command = Command::new(folder.join(PROGRAM));
    command.args(arguments).args(super::QUIET_PIP).arg("-r").arg(&requirements);
    step(source, command, format!("python3 {} (componentize-py)", arguments.join(" ")), help, listener)
}
