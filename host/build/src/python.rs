//! Makes components of Python modules. componentize-py runs the module's top level in a WebAssembly build of CPython, and saves the
//! interpreter with everything that was loaded.
//!
//! A copy of the module's sources is what the interpreter sees, so no test, virtual environment or cache becomes part of a component. A
//! guard around the exported functions reports exceptions with words, file and line. The saved interpreter has a random seed for the hashes
//! of texts, so two builds of the same source differ in their bytes. The build therefore caches the component with the digests of all its
//! inputs, and rebuilds it only if an input changes.

mod initializer;
mod project;
mod sources;
mod tools;
mod types;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use wit_parser::TypeDefKind;

use super::cache::remove;
use super::contract::{functions, labels};
use super::error::BuildError;
use super::process::{capture_output, check_version, step};
use super::source::Source;
use super::world::World;
use super::{Event, write_if_changed};
use project::Project;
use sources::Tree;
use tools::Tools;
use watertight_model::ids::Digest;

/// The oldest Python version that componentize-py supports.
const OLDEST: &str = "3.9";

/// The version of the Python in components, for which packages are chosen.
const IN_COMPONENTS: &str = "3.14";

/// The advice on how to install Python.
const HELP: &str = "install Python 3.9 or newer with venv and pip, from https://www.python.org or by `apt-get install python3-venv`, or \
                    put it on the PATH";

/// The options of pip that keep it from asking, and from talking about itself.
const QUIET_PIP: [&str; 3] = ["--quiet", "--disable-pip-version-check", "--no-input"];

/// The options of pip that choose wheels of pure Python, for the Python in components.
const PURE: [&str; 9] = [
    "--only-binary=:all:",
    "--platform",
    "any",
    "--implementation",
    "py",
    "--abi",
    "none",
    "--python-version",
    IN_COMPONENTS,
];

/// The folder of a module for the stubs of its world, and the file in it that says of which world they are.
const STUBS: &str = "bindings";
const STUBS_OF: &str = ".world";

/// Returns the folders from which a module's build takes further code, for watching them.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    Project::read(folder).map(|project| project.folders).unwrap_or_default()
}

/// Returns a module's component. Reuses the cached one if all inputs are the same.
pub(super) fn compile(
    source: &Source,
    workspace: &Path,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<u8>, BuildError> {
    let world = World::gather_with_failure(source, workspace)?;
    check_contract(source, &world)?;
    let project = Project::read(&source.folder)?;
    let trees = sources::read(&source.folder, &project)?;
    let version = capture_output(python(), HELP)?.unwrap_or_else(|said| said);
    check_version("Python", &version, &[OLDEST])?;
    let build = Build { source, made: workspace.join("target/python").join(source.name.as_str()), listener };
    let tools = tools::ready(source, workspace, &version, HELP, listener)?;
    let refused =
        |error: anyhow::Error| BuildError::World { module: source.name.clone(), message: format!("{error:#}") };
    let text = world.undocumented().map_err(refused)?;
    build.write_stubs(&tools, &world)?;
    let pinned = build.pin(&tools, &project)?;

    let (component, stamp) = (build.beside("wasm"), build.beside("inputs"));
    let contract = types::describe(&world);
    let inputs = inputs(&format!("{text}\n{contract}"), &version, &pinned, &project, &trees);
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == inputs)
        && let Ok(kept) = fs::read(&component)
    {
        return Ok(kept);
    }
    // If the build fails from here on, the cached component may not match the recorded inputs.
    let _ = fs::remove_file(&stamp);
    let packages = build.install(&tools, &project, &pinned)?;
    let folders = sources::copy(&trees, &build.beside("sources"))?;
    let wit = build.beside("wit");
    build.write(&wit, &text)?;
    let names: Vec<String> = std::iter::once(".".to_owned()).chain(project.names.iter().cloned()).collect();
    let job = json!({
        "wit": wit, "world": world.name, "app": tools::GLUE_MODULE, "output": component, "sources": folders, "packages": packages,
        "glue": tools.glue, "settings": build.beside("settings"), "component": project.component, "preload": project.preload,
        "names": names, "contract": contract,
    });
    build.drive(&tools, "component", &job.to_string())?;
    let made = fs::read(&component).map_err(|error| BuildError::unreadable(&component, error))?;
    let encode = |error: wasmparser::BinaryReaderError| BuildError::Encode {
        module: source.name.clone(),
        source: Box::new(error),
    };
    let bytes = initializer::without(made).map_err(encode)?;
    fs::write(&component, &bytes).map_err(|error| BuildError::unwritable(&component, error))?;
    build.write(&stamp, &inputs)?;
    Ok(bytes)
}

/// Refuses a world with parts that componentize-py 0.25 doesn't support.
pub(super) fn check_contract(source: &Source, world: &World) -> Result<(), BuildError> {
    let (resolve, _) = world.resolved();
    let mut parts = Vec::new();
    for function in functions(world) {
        parts.extend(function.unsupported_types(resolve, |kind| {
            !matches!(kind, TypeDefKind::Map(..) | TypeDefKind::FixedLengthList(..) | TypeDefKind::Unknown)
        }));
    }
    parts.extend(labels(world));
    BuildError::unless_supported(&source.name, "Python", parts)
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("--version");
    command
}

/// Returns a list of all inputs of a component: the world, the tools, the packages, the settings and the files.
fn inputs(world: &str, python: &str, pinned: &str, project: &Project, trees: &[Tree]) -> String {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let settings = format!("{}\n{}", project.component, project.preload.join("\n"));
    let mut list = format!(
        "python {python}\ntools {}\nworld {}\npackages {}\nsettings {}\n",
        tools::digest(),
        digest(world),
        digest(pinned),
        digest(&settings)
    );
    for (index, tree) in trees.iter().enumerate() {
        for (path, digest) in &tree.files {
            list.push_str(&format!("{index} {} {digest}\n", path.display()));
        }
    }
    list
}

/// Whether pip finds a package of this name, in whatever form.
fn exists(tools: &Tools, name: &str) -> bool {
    let mut command = Command::new(&tools.python);
    command.args(["-m", "pip", "index", "versions"]).args(QUIET_PIP).arg(name);
    capture_output(command, HELP).is_ok_and(|found| found.is_ok())
}

/// The build of one module.
struct Build<'a> {
    source: &'a Source,
    /// The path of what the build makes, without an extension.
    made: PathBuf,
    listener: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Build<'_> {
    fn beside(&self, extension: &str) -> PathBuf {
        self.made.with_added_extension(extension)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), BuildError> {
        write_if_changed(path, text.as_bytes()).map(drop).map_err(|error| BuildError::unwritable(path, error))
    }

    /// Runs a command of the driver with a job.
    fn drive(&self, tools: &Tools, command: &str, job: &str) -> Result<(), BuildError> {
        let file = self.beside(&format!("{command}.json"));
        self.write(&file, job)?;
        let mut program = Command::new(&tools.python);
        program.current_dir(&self.source.folder).arg(&tools.driver).arg(command).arg(&file);
        let shown = format!("python {} {command} {}", tools.driver.display(), file.display());
        step(self.source, program, shown, HELP, self.listener)
    }

    /// Writes stubs of the world's interfaces into the module's folder, for editors, unless they are there.
    fn write_stubs(&self, tools: &Tools, world: &World) -> Result<(), BuildError> {
        let folder = self.source.folder.join(STUBS);
        let of = Digest::of(format!("{} {}", tools::digest(), world.text).as_bytes()).to_string();
        if fs::read_to_string(folder.join(STUBS_OF)).is_ok_and(|kept| kept == of) {
            return Ok(());
        }
        let wit = self.beside("stubs.wit");
        self.write(&wit, &world.text)?;
        let aside = self.beside("stubs");
        remove(&aside).map_err(|error| BuildError::unwritable(&aside, error))?;
        let job = json!({"wit": wit, "world": world.name, "output": aside});
        self.drive(tools, "stubs", &job.to_string())?;
        // The cache and the module's folder may be on different disks, so the files are copied.
        let trees = [Tree::read(&aside, &[])?];
        remove(&folder).map_err(|error| BuildError::unwritable(&folder, error))?;
        sources::copy_into(&trees[0], &folder)?;
        self.write(&folder.join(STUBS_OF), &of)
    }

    /// Returns the text of `requirements.txt`. Writes the file if it is missing and packages are needed.
    fn pin(&self, tools: &Tools, project: &Project) -> Result<String, BuildError> {
        if project.dependencies.is_empty() {
            return Ok(String::new());
        }
        let file = self.source.folder.join(project::PINNED);
        if !file.is_file() {
            let pip: Vec<&str> = ["install"].into_iter().chain(QUIET_PIP).chain(PURE).collect();
            // pip refuses to choose for another platform than its own without a folder to install into.
            let target = self.beside("nothing");
            let pip: Vec<String> = pip
                .into_iter()
                .map(str::to_owned)
                .chain(["--target".to_owned(), target.display().to_string()])
                .collect();
            let job = json!({"pip": pip, "dependencies": project.dependencies, "output": file});
            // The list is not written yet: the requirement is that of the module's own file.
            let manifest = self.source.folder.join(project::MANIFEST);
            self.drive(tools, "pin", &job.to_string())
                .map_err(|error| project::pure(error, &manifest, |name| exists(tools, name)))?;
            let text = format!("`{}` is new: it pins the packages of `{}`. Keep it", file.display(), self.source.name);
            (self.listener)(Event::Warning(&text));
        }
        let text = fs::read_to_string(&file).map_err(|error| BuildError::unreadable(&file, error))?;
        project.check_pinned(&text, &file)?;
        Ok(text)
    }

    /// Installs the module's packages, and returns their folder.
    fn install(&self, tools: &Tools, project: &Project, pinned: &str) -> Result<PathBuf, BuildError> {
        let (folder, stamp) = (self.beside("packages"), self.beside("packages.txt"));
        let unwritable = |error| BuildError::unwritable(&folder, error);
        if folder.is_dir() && fs::read_to_string(&stamp).is_ok_and(|kept| kept == pinned) {
            return Ok(folder);
        }
        let _ = fs::remove_file(&stamp);
        remove(&folder).and_then(|()| fs::create_dir_all(&folder)).map_err(unwritable)?;
        if !project.dependencies.is_empty() {
            let file = self.source.folder.join(project::PINNED);
            let arguments = ["-m", "pip", "install", "--no-deps"];
            let mut command = Command::new(&tools.python);
            command.args(arguments).args(QUIET_PIP).args(PURE).arg("--target").arg(&folder).arg("-r").arg(&file);
            let shown = format!("python {} -r {}", arguments.join(" "), file.display());
            step(self.source, command, shown, HELP, self.listener)
                .map_err(|error| project::pure(error, &file, |name| exists(tools, name)))?;
        }
        self.write(&stamp, pinned)?;
        Ok(folder)
    }
}
