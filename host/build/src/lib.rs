//! `watertight build`: compiles a module's folder into one component file with the toolchain of its language.
//!
//! A build reads the folder, compiles its code, makes a component of it, and embeds the custom section that has the module's name,
//! migrations and documentation. Rust, Go and C builds are reproducible: the same source gives the same bytes. Nothing is printed here; the
//! caller's listener gets every step.

mod bindings;
mod c;
mod cache;
mod cargo;
mod contract;
mod documentation;
mod error;
mod go;
mod inputs;
mod javascript;
mod outdated;
mod prebuilt;
mod process;
mod python;
mod source;
pub mod stub;
mod walk;
mod world;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wit_component::ComponentEncoder;

pub use contract::{camel, upper_camel};
use documentation::Documentation;
pub use documentation::{folders_in, holds_wit, wit_files};
pub use error::{BuildError, BuildErrors};
pub use inputs::{Inputs, Packages, inputs};
pub use outdated::{outdated, outdated_file};
pub use prebuilt::{Prebuilt, embed};
pub use source::Language;
use source::Source;
pub use walk::{is_not_a_source, walk_sources};
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES, ModuleSection};
use watertight_component::shape;
use watertight_model::ids::{Digest, ModuleName};
use watertight_model::migration::Migration;
pub use world::{Available, World, available, needed};

/// The settings of a build.
#[derive(Debug, Clone)]
pub struct Options {
    /// The root folder of the workspace, which holds the folders `wit` and `target`.
    pub workspace: PathBuf,
    /// The output folder for components. `None` means `target/components` of the workspace.
    pub out: Option<PathBuf>,
    /// The profile that modules are compiled with.
    pub profile: Profile,
    /// Whether tools colour their output.
    pub colours: bool,
    /// Whether tools report only problems, if they have such an option.
    pub quiet: bool,
    /// What Cargo answered about packages in earlier builds, as a cache. May be empty.
    pub packages: Packages,
}

impl Options {
    /// Returns the settings for an optimised build into the workspace's default output folder, with uncoloured and complete tool output.
    pub fn of(workspace: PathBuf) -> Self {
        let packages = Packages::default();
        Self { workspace, out: None, profile: Profile::Release, colours: false, quiet: false, packages }
    }
}

/// The profile that decides what the compiler optimises for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Small and fast code, without function names and line numbers.
    Release,
    /// Small and fast code, with function names and line numbers.
    Debug,
    /// Short compile times, with function names and line numbers.
    Dev,
}

impl Profile {
    /// Returns whether the compiled code keeps function names and line numbers.
    fn keeps_names(self) -> bool {
        self != Self::Release
    }
}

/// A step of a build, reported when it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A toolchain starts to compile. This step takes the longest.
    Compiling {
        /// The modules that the toolchain compiles.
        modules: &'a [ModuleName],
        /// The command, as a person would type it.
        command: &'a str,
    },
    /// A line of a tool's output, without its line ending and with the tool's colours.
    Output(&'a str),
    /// A warning of the build itself. The build goes on.
    Warning(&'a str),
    /// The component of a module is complete and in the output folder.
    Built(&'a Built),
}

/// The result of building one module: its component file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Built {
    /// The module's name, which is the name of its folder.
    pub name: ModuleName,
    /// The path of the component file.
    pub path: PathBuf,
    /// The digest of the component's bytes.
    pub digest: Digest,
    /// The build id, which tells builds of a module apart.
    pub build: String,
    /// The size of the component in bytes.
    pub size: u64,
    /// The number of migrations that the component carries.
    pub migrations: usize,
    /// Whether the build wrote the file because it is new or has other contents than before.
    pub changed: bool,
}

/// Builds the modules in `folders`, and returns them in that order. Rust modules of one Cargo workspace are compiled
/// one after the other, or with [`Profile::Dev`] together.
///
/// # Errors
///
/// [`BuildErrors`] with every module that can't be built, the reason and advice. All other modules are built nevertheless.
pub fn build(
    folders: &[PathBuf],
    options: &Options,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<Built>, BuildErrors> {
    // A source that changes while it is read makes the component older than its sources.
    let begun = SystemTime::now();
    let (sources, mut errors) = source::read_all(folders);
    let rust: Vec<_> = sources.iter().filter(|source| source.language == Language::Rust).collect();
    let (cores, failed) = if rust.is_empty() { Default::default() } else { cargo::compile(&rust, options, listener) };
    errors.extend(failed);
    let mut cores = cores.into_iter();
    let documentation = Documentation::read(&options.workspace);
    let mut faults = documentation.faults.clone();
    let mut built = Vec::with_capacity(sources.len());
    for source in &sources {
        let compiled = match source.language {
            Language::Rust => match cores.next().flatten() {
                Some(core) => encode(source, &core),
                // The errors of Cargo already cover this module.
                None => continue,
            },
            Language::Go => go::compile(source, &options.workspace, options.profile.keeps_names(), listener),
            Language::JavaScript | Language::TypeScript => javascript::compile(source, &options.workspace, listener),
            Language::Python => python::compile(source, &options.workspace, listener),
            Language::C => c::compile(source, &options.workspace, options.profile.keeps_names(), listener),
        };
        let documentation = documentation.with(&source.folder.join("wit"));
        faults.extend(documentation.faults.iter().filter(|fault| !faults.contains(fault)).cloned().collect::<Vec<_>>());
        let content = Content {
            name: &source.name,
            language: source.language.as_str(),
            migrations: source.migrations.clone(),
            documentation: documentation.into_owned(),
            begun,
        };
        match compiled.and_then(|component| finish(content, component, options)) {
            Ok(module) => {
                listener(Event::Built(&module));
                built.push(module);
            }
            Err(error) => errors.push(error),
        }
    }
    // An error says what is wrong with a package that a module needs. A warning before it would hide that.
    if errors.is_empty() {
        faults.iter().for_each(|fault| listener(Event::Warning(fault)));
    }
    BuildErrors::or(errors, built)
}

/// Checks that a language can carry a world, before the module in `folder` has any code.
///
/// # Errors
///
/// [`BuildError::Unsupported`] with every function and type that it can't carry.
pub fn check_world(language: Language, name: &ModuleName, folder: &Path, world: &World) -> Result<(), BuildError> {
    let source = Source { name: name.clone(), folder: folder.to_owned(), language, migrations: Vec::new() };
    match language {
        Language::Rust => Ok(()),
        Language::Go => go::check_contract(&source, world),
        Language::JavaScript | Language::TypeScript => javascript::check_contract(&source, world),
        Language::Python => python::check_contract(&source, world),
        Language::C => c::check_contract(&source, world),
    }
}

/// What a component carries besides its code.
struct Content<'a> {
    name: &'a ModuleName,
    language: &'a str,
    migrations: Vec<Migration>,
    documentation: Documentation,
    /// The moment at which the build began to read the sources.
    begun: SystemTime,
}

/// Embeds the custom section with the module's name, migrations and documentation into a component, and writes the component file.
fn finish(content: Content<'_>, mut component: Vec<u8>, options: &Options) -> Result<Built, BuildError> {
    let Content { name, language, migrations, documentation, begun } = content;
    let not_ours = |error| BuildError::Encode { module: name.clone(), source: Box::new(error) };
    let shape = shape::read(&component).map_err(not_ours)?;
    if shape.exports.is_empty() {
        return Err(BuildError::NoExports { module: name.clone() });
    }
    // The types that exported interfaces use may belong to imported ones.
    let of_types = shape.imports.iter().filter(|(_, interface)| interface.is_types_only()).map(|(name, _)| name);
    let docs = documentation.of(shape.exports.keys().chain(of_types));
    let section = |error| BuildError::Section { module: name.clone(), source: error };
    let embedded = ModuleSection::new(&component, name.clone(), language, migrations, docs).map_err(section)?;
    embedded.append_to(&mut component).map_err(section)?;
    if component.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(BuildError::TooLarge { module: name.clone(), size: component.len() as u64 });
    }
    let out = options.out.clone().unwrap_or_else(|| options.workspace.join("target/components"));
    let path = out.join(format!("{name}.wasm"));
    let changed = write_if_changed(&path, &component).map_err(|error| BuildError::unwritable(&path, error))?;
    // Also a component with the same bytes as before is now as new as its sources: see `outdated`. If the file belongs to another user, the
    // worst result is a needless note.
    let _ = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(begun));
    // Checks that a host can read the written bytes.
    let artifact = Artifact::new(&path, component.into())
        .map_err(|error| BuildError::Encode { module: name.clone(), source: Box::new(error) })?;
    Ok(Built {
        name: name.clone(),
        digest: artifact.digest,
        build: artifact.build(),
        size: artifact.bytes.len() as u64,
        migrations: artifact.migrations().len(),
        path,
        changed,
    })
}

/// Makes a component of the core WebAssembly module `core`, which Cargo compiled from a Rust module.
fn encode(source: &Source, core: &Path) -> Result<Vec<u8>, BuildError> {
    let core = fs::read(core).map_err(|error| BuildError::unreadable(core, error))?;
    let encoded = ComponentEncoder::default().validate(true).module(&core).and_then(ComponentEncoder::encode);
    encoded.map_err(|error| BuildError::Encode { module: source.name.clone(), source: error.into() })
}

/// Writes a file under a temporary name and renames it, so that readers never see a partial file. Returns false if the file has these
/// bytes already.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = path.with_extension(format!("wasm.{}.part", std::process::id()));
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // Reports the first error. A leftover temporary file does no harm.
        let _ = fs::remove_file(&aside);
    }
    written.map(|()| true)
}

#[cfg(test)]
mod tests;
