//! `watertight build`: a module's folder becomes one component file, by its language's own toolchain.
//!
//! A folder is read, its code compiled, made a component, and given its section of name, migrations and
//! documentation. The same source gives the same file, bit for bit. Nothing is printed here: a caller hears of every step.

mod cargo;
mod contract;
mod documentation;
mod error;
mod go;
mod inputs;
mod javascript;
mod process;
mod source;
mod world;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wit_component::ComponentEncoder;

use documentation::Documentation;
pub use error::{BuildError, BuildErrors};
pub use inputs::{Inputs, Packages, inputs};
pub use source::Language;
use source::Source;
use watertight_component::artifact::{Artifact, Embedded, MAX_COMPONENT_BYTES};
use watertight_component::shape;
use watertight_model::ids::{Digest, ModuleName};

/// How and where modules are built.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds `wit/` and `target/`.
    pub workspace: PathBuf,
    /// Where components go; `target/components` of the workspace where nothing else is said.
    pub out: Option<PathBuf>,
    /// What the code is compiled for.
    pub profile: Profile,
    /// Whether tools shall colour what they say.
    pub colours: bool,
    /// Whether tools shall only speak where something is wrong, if they can be told so.
    pub quiet: bool,
    /// What Cargo has said of packages before; nothing, where it wasn't asked.
    pub packages: Packages,
}

impl Options {
    /// Small and fast code, where it belongs in that workspace, by tools that say what they do.
    pub fn of(workspace: PathBuf) -> Self {
        let packages = Packages::default();
        Self { workspace, out: None, profile: Profile::Release, colours: false, quiet: false, packages }
    }
}

/// What code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// To be small and fast.
    Release,
    /// The same, with names and lines kept.
    Debug,
    /// To be there soon, with names and lines.
    Dev,
}

impl Profile {
    /// Whether names and lines are kept.
    fn keeps_names(self) -> bool {
        self != Self::Release
    }
}

/// A step of a build, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A toolchain starts; this takes the longest.
    Compiling {
        /// The modules that it compiles.
        modules: &'a [ModuleName],
        /// The command, as one could type it.
        command: &'a str,
    },
    /// A toolchain said something: one line, without its end, with the colours that the tool gave it.
    Output(&'a str),
    /// Something is odd, and the build goes on.
    Warning(&'a str),
    /// A module's component is where it belongs.
    Built(&'a Built),
}

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Built {
    /// The module: its folder's name.
    pub name: ModuleName,
    /// The component file.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its build id.
    pub build: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many migrations it carries.
    pub migrations: usize,
    /// Whether the file was not there before, or was another.
    pub changed: bool,
}

/// Builds the modules in `folders`, and returns them in that order; those in one Cargo workspace are compiled by one run of Cargo.
///
/// # Errors
///
/// Every module that can't be built, each with the reason and what to do. The others are built nevertheless.
pub fn build(
    folders: &[PathBuf],
    options: &Options,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<Built>, BuildErrors> {
    let (sources, mut errors) = source::read_all(folders);
    let rust: Vec<_> = sources.iter().filter(|source| source.language == Language::Rust).collect();
    let (cores, failed) = if rust.is_empty() { Default::default() } else { cargo::compile(&rust, options, listener) };
    errors.extend(failed);
    let mut cores = cores.into_iter();
    let documentation = Documentation::read(&options.workspace, listener);
    let mut built = Vec::with_capacity(sources.len());
    for source in &sources {
        let compiled = match source.language {
            Language::Rust => match cores.next().flatten() {
                Some(core) => encode(source, &core),
                // Why it isn't there was said for all Rust modules together.
                None => continue,
            },
            Language::Go => go::compile(source, &options.workspace, options.profile.keeps_names(), listener),
            Language::JavaScript => javascript::compile(source, &options.workspace, listener),
        };
        match compiled.and_then(|component| finish(source, component, &documentation, options, listener)) {
            Ok(module) => {
                listener(Event::Built(&module));
                built.push(module);
            }
            Err(error) => errors.push(error),
        }
    }
    BuildErrors::or(errors, built)
}

/// Gives a component its section, and writes the file.
fn finish(
    source: &Source,
    mut component: Vec<u8>,
    documentation: &Documentation,
    options: &Options,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Built, BuildError> {
    let name = &source.name;
    let not_ours = |error| BuildError::Encode { module: name.clone(), source: Box::new(error) };
    let shape = shape::read(&component).map_err(not_ours)?;
    if shape.exports.is_empty() {
        return Err(BuildError::NoExports { module: name.clone() });
    }
    let docs = documentation.with(&source.folder.join("wit"), listener).of(shape.exports.keys());
    let section = |error| BuildError::Section { module: name.clone(), source: error };
    let embedded = Embedded::new(&component, name.clone(), source.language.as_str(), source.migrations.clone(), docs)
        .map_err(section)?;
    embedded.append_to(&mut component).map_err(section)?;
    if component.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(BuildError::TooLarge { module: name.clone(), size: component.len() as u64 });
    }
    let out = options.out.clone().unwrap_or_else(|| options.workspace.join("target/components"));
    let path = out.join(format!("{name}.wasm"));
    let changed = write_if_changed(&path, &component).map_err(|error| BuildError::unwritable(&path, error))?;
    // What was written is what the host will read.
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

/// Makes a Rust module's core module a component.
fn encode(source: &Source, core: &Path) -> Result<Vec<u8>, BuildError> {
    let core = fs::read(core).map_err(|error| BuildError::unreadable(core, error))?;
    let encoded = ComponentEncoder::default().validate(true).module(&core).and_then(ComponentEncoder::encode);
    encoded.map_err(|error| BuildError::Encode { module: source.name.clone(), source: error.into() })
}

/// Writes aside and renames, so that no reader ever sees half a file; says whether there was anything to write.
fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let aside = path.with_extension(format!("wasm.{}.part", std::process::id()));
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // The first error counts; a half-written file beside the real one harms nobody.
        let _ = fs::remove_file(&aside);
    }
    written.map(|()| true)
}

#[cfg(test)]
mod tests;
