//! Reads the documentation comments of interfaces from WIT text, because compiled components don't keep them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wit_parser::{Resolve, TypeDef, TypeDefKind, TypeId, UnresolvedPackage, UnresolvedPackageGroup};

use watertight_component::artifact::{Docs, InterfaceDocs};
use watertight_model::ids::InterfaceName;

/// The documentation comments of the interfaces in WIT folders.
#[derive(Debug, Clone, Default)]
pub(super) struct Documentation {
    interfaces: BTreeMap<InterfaceName, InterfaceDocs>,
    /// A sentence for each folder whose WIT is not valid.
    pub(super) faults: Vec<String>,
}

impl Documentation {
    /// Reads the documentation comments of every WIT package of the workspace: in the folder `wit`, its subfolders and those of `wit/deps`.
    pub(super) fn read(workspace: &Path) -> Self {
        let mut documentation = Self::default();
        let wit = workspace.join("wit");
        documentation.add_folder(&wit);
        for folder in folders_in(&wit).into_iter().chain(folders_in(&wit.join("deps"))) {
            documentation.add_folder(&folder);
        }
        documentation
    }

    /// Adds the documentation in a module's own `wit` folder and in the folder's `deps`. The workspace takes precedence for an interface
    /// that both have.
    pub(super) fn with(&self, wit: &Path) -> Cow<'_, Self> {
        if !wit.is_dir() {
            return Cow::Borrowed(self);
        }
        let mut documentation = self.clone();
        documentation.add_folder(wit);
        for folder in folders_in(&wit.join("deps")) {
            documentation.add_folder(&folder);
        }
        Cow::Owned(documentation)
    }

    /// Returns the documentation comments that a component carries itself.
    pub(super) fn of_component(resolve: &Resolve) -> Self {
        let named = resolve.interfaces.iter().filter_map(|(id, interface)| Some((resolve.id_of(id)?, interface)));
        let found = named.filter_map(|(name, interface)| {
            let docs = interface_docs(&|id| &resolve.types[id], interface);
            (docs != InterfaceDocs::default()).then_some((name.parse().ok()?, docs))
        });
        Self { interfaces: found.collect(), faults: Vec::new() }
    }

    /// Adds the documentation of interfaces that only `other` has.
    pub(super) fn or(mut self, other: &Self) -> Self {
        for (name, docs) in &other.interfaces {
            self.interfaces.entry(name.clone()).or_insert_with(|| docs.clone());
        }
        self
    }

    /// Returns the documentation comments of these interfaces.
    pub(super) fn of<'a>(&self, interfaces: impl Iterator<Item = &'a InterfaceName>) -> Docs {
        Docs(interfaces.filter_map(|name| Some((name.clone(), self.interfaces.get(name)?.clone()))).collect())
    }

    fn add_folder(&mut self, folder: &Path) {
        if !holds_wit(folder) {
            return;
        }
        match UnresolvedPackageGroup::parse_dir(folder) {
            Ok(group) => {
                self.add_package(&group.main);
                group.nested.iter().for_each(|package| self.add_package(package));
            }
            // A module that needs this package is not built, and the reason is its error.
            Err(error) => {
                let folder = folder.display();
                self.faults.push(format!("no documentation from `{folder}`, which is not valid WIT: {error:#}"));
            }
        }
    }

    fn add_package(&mut self, package: &UnresolvedPackage) {
        for (_, interface) in package.interfaces.iter() {
            let name = interface.name.as_ref().and_then(|name| package.name.interface_id(name).parse().ok());
            let Some(name) = name else { continue };
            // Interfaces that this package only uses belong to other packages and have no text here.
            let docs = interface_docs(&|id| &package.types[id], interface);
            if docs != InterfaceDocs::default() {
                self.interfaces.entry(name).or_insert(docs);
            }
        }
    }
}

fn interface_docs<'a>(find: &dyn Fn(TypeId) -> &'a TypeDef, interface: &wit_parser::Interface) -> InterfaceDocs {
    let functions =
        interface.functions.iter().filter_map(|(name, function)| Some((name.clone(), text(&function.docs)?)));
    let mut types = BTreeMap::new();
    for (name, id) in &interface.types {
        let ty = find(*id);
        let parts: Vec<(&str, &wit_parser::Docs)> = match &ty.kind {
            TypeDefKind::Record(record) => record.fields.iter().map(|field| (&*field.name, &field.docs)).collect(),
            TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| (&*case.name, &case.docs)).collect(),
            TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| (&*case.name, &case.docs)).collect(),
            TypeDefKind::Flags(flags) => flags.flags.iter().map(|flag| (&*flag.name, &flag.docs)).collect(),
            _ => Vec::new(),
        };
        let parts = parts.into_iter().map(|(part, docs)| (format!("{name}.{part}"), docs));
        let all = std::iter::once((name.clone(), &ty.docs)).chain(parts);
        types.extend(all.filter_map(|(name, docs)| Some((name, text(docs)?))));
    }
    InterfaceDocs { docs: text(&interface.docs), functions: functions.collect(), types }
}

fn text(docs: &wit_parser::Docs) -> Option<Arc<str>> {
    let text = docs.contents.as_deref()?.trim();
    (!text.is_empty()).then(|| text.into())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// Returns the folders in a folder, in the order of their names. Returns none if it can't be read.
pub fn folders_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.is_dir()).collect()
}

/// Returns the WIT files of a folder.
pub fn wit_files(folder: &Path) -> Vec<PathBuf> {
    let is_wit = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wit");
    entries(folder).into_iter().filter(is_wit).collect()
}

/// Whether a folder has WIT files.
pub fn holds_wit(folder: &Path) -> bool {
    !wit_files(folder).is_empty()
}
