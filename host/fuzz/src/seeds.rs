//! Seeds from the repository's own test data.

use std::fs;
use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// Returns the path of a file or folder of the repository's tests.
pub(crate) fn tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(name)
}

/// Returns the files below `folder` whose name ends with `ending`, sorted by path.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the entries of a folder of the repository can be read").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().is_some_and(|path| path.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Builds a component for the only world of the package in `wit`. Each of its functions traps. Returns `None` if the text needs other
/// packages, or is wrong on purpose.
pub(crate) fn component(wit: &str) -> Option<Vec<u8>> {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let package = resolve.push_source("seed.wit", wit).ok()?;
    let world = resolve.select_world(&[package], None).ok()?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).ok()?;
    ComponentEncoder::default().module(&module).and_then(ComponentEncoder::encode).ok()
}
