//! Puts the section with a module's name, migrations and documentation into a component that another tool made.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wit_component::DecodedWasm;

use super::documentation::Documentation;
use super::error::BuildError;
use super::source::migrations;
use super::{Built, Content, Event, Options, finish};
use watertight_component::artifact::{MAX_COMPONENT_BYTES, ModuleSection};
use watertight_model::ids::ModuleName;

/// A component that another tool made, and what it is to carry.
#[derive(Debug, Clone)]
pub struct Prebuilt {
    /// The component's file. It is not changed.
    pub file: PathBuf,
    /// The name of the module, and of the file that is written.
    pub name: ModuleName,
    /// The language that the module is written in, for people: 1 to 64 printable ASCII characters.
    pub language: String,
    /// The folder of the module's migrations. `None` means that it has none.
    pub migrations: Option<PathBuf>,
}

/// Writes a copy of a component that carries the section of a module. The documentation is that of the component's own WIT if it has any,
/// and otherwise that of the workspace.
///
/// # Errors
///
/// [`BuildError`] if the file is not a component, has such a section already, or a migration is not acceptable.
pub fn embed(
    prebuilt: &Prebuilt,
    options: &Options,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Built, BuildError> {
    let path = &prebuilt.file;
    let component = read(path, &prebuilt.name)?;
    let not_ours = |reason: String| BuildError::NotPrebuilt { path: path.clone(), reason };
    let decoded = wit_component::decode(&component).map_err(|error| not_ours(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, _) = decoded else {
        return Err(not_ours("it is a WIT package without code".to_owned()));
    };
    let section = |error| BuildError::Section { module: prebuilt.name.clone(), source: error };
    if ModuleSection::find(&component).map_err(section)?.is_some() {
        return Err(not_ours(
            "it has the section already; name the file that the component's own tool made".to_owned(),
        ));
    }
    let folder = prebuilt.migrations.as_deref();
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(BuildError::NoFolder { folder: folder.to_owned() });
    }
    let standing = Documentation::read(&options.workspace);
    standing.faults.iter().for_each(|fault| listener(Event::Warning(fault)));
    let begun = SystemTime::now();
    let content = Content {
        name: &prebuilt.name,
        language: &prebuilt.language,
        migrations: folder.map_or(Ok(Vec::new()), migrations)?,
        documentation: Documentation::of_component(&resolve).or(&standing),
        begun,
    };
    let built = finish(content, component, options)?;
    listener(Event::Built(&built));
    Ok(built)
}

/// Reads a file, up to the size that hosts accept.
fn read(path: &Path, name: &ModuleName) -> Result<Vec<u8>, BuildError> {
    let unreadable = |error| BuildError::unreadable(path, error);
    let mut bytes = Vec::new();
    // A pipe or a device may never end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(BuildError::TooLarge { module: name.clone(), size: bytes.len() as u64 });
    }
    Ok(bytes)
}
