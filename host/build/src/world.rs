//! Gathers a module's world from its own `wit` folder and the packages of the workspace that it needs.
//!
//! The result is one WIT text for the code generators of all languages, so no contract has to be copied into a module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider as adapter;
use wit_component::{ComponentEncoder, StringEncoding, WitPrinter, embed_component_metadata};
use wit_parser::{PackageName, Resolve, UnresolvedPackageGroup, WorldId, WorldItem, WorldKey};

use super::documentation::{folders_in, holds_wit};
use super::error::BuildError;
use super::source::Source;
use watertight_model::ids::ModuleName;

/// The WIT text of the package `watertight:lifecycle`, in the version of this host. A workspace may lack the package or have an older
/// version.
const LIFECYCLE: &str = include_str!("../../../wit/lifecycle/lifecycle.wit");

/// The interface by which a module reports why a call failed.
pub(super) const FAILURE: &str = "watertight:lifecycle/failure@1.0.0";

/// WIT packages by name, each with its folder.
pub type Available = BTreeMap<PackageName, (PathBuf, UnresolvedPackageGroup)>;

/// The WIT world that a module implements, with everything that the world uses.
pub struct World {
    /// The name of the world.
    pub name: String,
    /// The world and everything that the world uses, as one WIT text. The module's package comes first, and the others are nested in it.
    pub text: String,
    resolve: Resolve,
    id: WorldId,
}

impl World {
    /// Reads the only world of `main`, which has no folder yet. What it uses is among `available`.
    pub fn of(main: UnresolvedPackageGroup, available: Available) -> anyhow::Result<Self> {
        let (packages, _) = needed(&main, available);
        Self::resolve(main, packages, false)
    }

    /// Reads the only world in the `wit` folder of the module in `folder`.
    pub fn read(folder: &Path, workspace: &Path) -> anyhow::Result<Self> {
        let wit = folder.join("wit");
        anyhow::ensure!(holds_wit(&wit), "there is no `.wit` file in `{}`", wit.display());
        Self::of_text(UnresolvedPackageGroup::parse_dir(&wit)?, &wit, workspace)
    }

    /// Reads the only world in the module's `wit` folder.
    pub(super) fn gather(source: &Source, workspace: &Path) -> Result<Self, BuildError> {
        Self::gathered(source, workspace, false)
    }

    /// Reads the only world in the module's `wit` folder, and adds an import of [`FAILURE`] for the code that the build puts around the
    /// module.
    pub(super) fn gather_with_failure(source: &Source, workspace: &Path) -> Result<Self, BuildError> {
        Self::gathered(source, workspace, true)
    }

    fn gathered(source: &Source, workspace: &Path, reports_failure: bool) -> Result<Self, BuildError> {
        let wit = source.folder.join("wit");
        let refused = |message: String| BuildError::World { module: source.name.clone(), message };
        if !holds_wit(&wit) {
            return Err(refused(format!("there is no `.wit` file in `{}`", wit.display())));
        }
        let main = UnresolvedPackageGroup::parse_dir(&wit).map_err(|error| refused(format!("{error:#}")))?;
        let mut packages = packages(&main, &wit, workspace).map_err(|error| refused(format!("{error:#}")))?;
        if reports_failure {
            let lifecycle = UnresolvedPackageGroup::parse("lifecycle.wit", LIFECYCLE);
            let lifecycle = lifecycle.expect("the host's own contract is WIT");
            packages.retain(|package| package.main.name != lifecycle.main.name);
            packages.push(lifecycle);
        }
        Self::resolve(main, packages, reports_failure).map_err(|error| refused(format!("{error:#}")))
    }

    /// Resolves the only world of `main` with the packages that a module with the WIT folder `wit` may use.
    pub(super) fn of_text(main: UnresolvedPackageGroup, wit: &Path, workspace: &Path) -> anyhow::Result<Self> {
        let packages = packages(&main, wit, workspace)?;
        Self::resolve(main, packages, false)
    }

    fn resolve(
        main: UnresolvedPackageGroup,
        packages: Vec<UnresolvedPackageGroup>,
        reports_failure: bool,
    ) -> anyhow::Result<Self> {
        let mut resolve = Resolve::default();
        let pushed = resolve.push_groups(main, packages);
        let package = pushed.map_err(|error| anyhow::Error::msg(resolve.render_error(&error.into())))?;
        let id = resolve.select_world(&[package], None)?;
        if reports_failure {
            import_failure(&mut resolve, id);
        }
        let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != package).collect();
        let mut printer = WitPrinter::default();
        printer.print(&resolve, package, &others)?;
        let text = printer.output.to_string();
        Ok(Self { name: resolve.worlds[id].name.clone(), text, resolve, id })
    }

    /// Returns the text without documentation comments. A code generator that copies them into code may break on what they contain.
    pub(super) fn undocumented(&self) -> anyhow::Result<String> {
        let package =
            self.resolve.worlds[self.id].package.ok_or_else(|| anyhow::Error::msg("the world has no package"))?;
        let others: Vec<_> = self.resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != package).collect();
        let mut printer = WitPrinter::default();
        printer.emit_docs(false).print(&self.resolve, package, &others)?;
        Ok(printer.output.to_string())
    }

    /// Returns the resolved packages, and the id of the world in them.
    pub fn resolved(&self) -> (&Resolve, WorldId) {
        (&self.resolve, self.id)
    }

    /// Makes a component that implements the world from a core module. If the module imports WASI's preview 1, an adapter implements that
    /// with preview 2. Adds a description of the world to `core`.
    pub(super) fn component_of(&self, core: &mut Vec<u8>) -> anyhow::Result<Vec<u8>> {
        embed_component_metadata(core, &self.resolve, self.id, StringEncoding::UTF8, false)?;
        let name = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
        let mut encoder = ComponentEncoder::default();
        encoder.validate(true).module(core)?;
        encoder.adapter(name, adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
        encoder.encode()
    }
}

/// Adds [`FAILURE`] to the imports of a world if it isn't there.
fn import_failure(resolve: &mut Resolve, world: WorldId) {
    let named =
        |(id, _): &(wit_parser::InterfaceId, &wit_parser::Interface)| resolve.id_of(*id).as_deref() == Some(FAILURE);
    let Some((id, _)) = resolve.interfaces.iter().find(named) else { return };
    let item = WorldItem::Interface {
        id,
        stability: Default::default(),
        external_id: None,
        docs: Default::default(),
        span: Default::default(),
    };
    resolve.worlds[world].imports.entry(WorldKey::Interface(id)).or_insert(item);
}

/// Lists the interfaces with functions that the world in a module's WIT folder exports, without those of the host's and of WASI's packages
/// and those that the world defines itself. `None` if the folder has no WIT.
///
/// # Errors
///
/// The reason why the world can't be read, as a text for people.
pub(super) fn interfaces_exported(
    module: &ModuleName,
    wit: &Path,
    workspace: &Path,
) -> Result<Option<Vec<String>>, String> {
    if !holds_wit(wit) {
        return Ok(None);
    }
    let failed = |error: anyhow::Error| format!("the world of module `{module}` can't be read: {error:#}");
    let main =
        UnresolvedPackageGroup::parse_dir(wit).map_err(|error| failed(anyhow::Error::msg(format!("{error:#}"))))?;
    let world = World::of_text(main, wit, workspace).map_err(failed)?;
    let (resolve, id) = world.resolved();
    let exports = resolve.worlds[id].exports.iter().filter_map(|(key, item)| match (key, item) {
        (WorldKey::Interface(_), WorldItem::Interface { id, .. }) => Some(*id),
        _ => None,
    });
    let contracts = exports.filter(|id| {
        let interface = &resolve.interfaces[*id];
        let namespace = interface.package.map(|package| resolve.packages[package].name.namespace.as_str());
        !interface.functions.is_empty() && !matches!(namespace, Some("wasi" | "watertight"))
    });
    Ok(Some(contracts.filter_map(|id| resolve.id_of(id)).collect()))
}

/// Returns the folders of the workspace's packages that a module's world needs. `None` if they can't be determined.
pub(super) fn contracts(folder: &Path, workspace: &Path) -> Option<BTreeSet<PathBuf>> {
    let wit = folder.join("wit");
    let main = UnresolvedPackageGroup::parse_dir(&wit).ok()?;
    let available = available(&wit, workspace);
    let folders: BTreeMap<PackageName, PathBuf> =
        available.iter().map(|(name, (folder, _))| (name.clone(), folder.clone())).collect();
    let (packages, missing) = needed(&main, available);
    let folder = |package: UnresolvedPackageGroup| folders.get(&package.main.name).cloned();
    if !missing.is_empty() { None } else { packages.into_iter().map(folder).collect() }
}

/// Returns the packages that a module may use, with their folders. A package in the module's own `wit/deps` takes precedence over one of
/// the same name in the workspace's `wit`, and this one over one in the workspace's `wit/deps`. Leaves out folders with invalid WIT; if the
/// module needs one, its package is reported as missing.
pub fn available(wit: &Path, workspace: &Path) -> Available {
    let mut packages = BTreeMap::new();
    for folder in folders(wit, workspace) {
        if let Ok(group) = UnresolvedPackageGroup::parse_dir(&folder) {
            packages.entry(group.main.name.clone()).or_insert((folder, group));
        }
    }
    packages
}

/// Returns the folders in which packages are looked for, the most exact first.
fn folders(wit: &Path, workspace: &Path) -> impl Iterator<Item = PathBuf> {
    let shared = workspace.join("wit");
    let deps = folders_in(&shared.join("deps"));
    let folders = folders_in(&wit.join("deps")).into_iter().chain([shared.clone()]).chain(folders_in(&shared));
    folders.chain(deps).filter(|folder| holds_wit(folder))
}

/// Returns the packages that `main` needs directly or indirectly, as far as they are there.
///
/// # Errors
///
/// What is wrong in the WIT of a package that is needed.
fn packages(
    main: &UnresolvedPackageGroup,
    wit: &Path,
    workspace: &Path,
) -> anyhow::Result<Vec<UnresolvedPackageGroup>> {
    let (packages, missing) = needed(main, available(wit, workspace));
    for folder in if missing.is_empty() { Vec::new() } else { folders(wit, workspace).collect() } {
        if let Err(error) = UnresolvedPackageGroup::parse_dir(&folder)
            && missing.iter().any(|package| declares(&folder, package))
        {
            anyhow::bail!("the WIT in `{}` is not valid: {error:#}", folder.display());
        }
    }
    Ok(packages)
}

/// Whether a file of a folder whose WIT is not valid has the line `package NAME` for this package.
fn declares(folder: &Path, package: &PackageName) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_line = |line: &str| {
        let name = line.trim_start().strip_prefix("package ").map(|rest| rest.trim().trim_end_matches([';', '{', ' ']));
        name.is_some_and(|name| *name == package.to_string())
    };
    let texts = files.filter(|file| file.extension().is_some_and(|extension| extension == "wit"));
    texts.filter_map(|file| std::fs::read_to_string(file).ok()).any(|text| text.lines().any(is_line))
}

/// Returns the packages that `main` needs directly or indirectly, and the names of those that are missing.
pub fn needed(
    main: &UnresolvedPackageGroup,
    mut available: Available,
) -> (Vec<UnresolvedPackageGroup>, BTreeSet<PackageName>) {
    let named = |group: &UnresolvedPackageGroup| -> BTreeSet<PackageName> {
        let packages = std::iter::once(&group.main).chain(&group.nested);
        packages.flat_map(|package| package.foreign_deps.keys().cloned()).collect()
    };
    let mut wanted = named(main);
    let mut packages: Vec<UnresolvedPackageGroup> = Vec::new();
    let mut missing = BTreeSet::new();
    let own: BTreeSet<&PackageName> =
        std::iter::once(&main.main).chain(&main.nested).map(|package| &package.name).collect();
    while let Some(name) = wanted.pop_first() {
        if let Some((_, package)) = available.remove(&name) {
            wanted.extend(named(&package));
            packages.push(package);
        } else if !own.contains(&name) && packages.iter().all(|package| package.main.name != name) {
            // A package that was found before is no longer in `available`.
            missing.insert(name);
        }
    }
    (packages, missing)
}
