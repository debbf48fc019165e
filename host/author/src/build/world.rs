//! Gathers a module's world from its own `wit` folder and the packages of the workspace that it needs.
//!
//! The result is one WIT text for the code generators of all languages, so no contract has to be copied into a module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wit_component::{StringEncoding, WitPrinter, embed_component_metadata};
use wit_parser::{PackageName, Resolve, UnresolvedPackageGroup, WorldId, WorldItem, WorldKey};

use super::documentation::{folders_in, holds_wit};
use super::error::BuildError;
use super::source::Source;

/// The WIT text of the package `watertight:lifecycle`, in the version of this host. A workspace may lack the package or have an older
/// version.
const LIFECYCLE: &str = include_str!("../../../../wit/lifecycle/lifecycle.wit");

/// The interface by which a module reports why a call failed.
pub(super) const FAILURE: &str = "watertight:lifecycle/failure@1.0.0";

/// The WIT world that a module implements, with everything that the world uses.
pub(super) struct World {
    /// The name of the world.
    pub(super) name: String,
    /// The world and everything that the world uses, as one WIT text. The module's package comes first, and the others are nested in it.
    pub(super) text: String,
    resolve: Resolve,
    id: WorldId,
}

impl World {
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
        let (mut packages, _) = needed(&main, available(&wit, workspace));
        if reports_failure {
            let lifecycle = UnresolvedPackageGroup::parse("lifecycle.wit", LIFECYCLE);
            let lifecycle = lifecycle.expect("the host's own contract is WIT");
            packages.retain(|package| package.main.name != lifecycle.main.name);
            packages.push(lifecycle);
        }
        Self::resolve(main, packages, reports_failure).map_err(|error| refused(format!("{error:#}")))
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
    pub(super) fn resolved(&self) -> (&Resolve, WorldId) {
        (&self.resolve, self.id)
    }

    /// Embeds a description of the world into a core module, as a custom section. The component encoder makes the component from it.
    pub(super) fn embed(&self, core: &mut Vec<u8>) -> anyhow::Result<()> {
        embed_component_metadata(core, &self.resolve, self.id, StringEncoding::UTF8, false)
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

/// Returns the folders of the workspace's packages that a module's world needs. `None` if they can't be determined.
pub(super) fn contracts(folder: &Path, workspace: &Path) -> Option<BTreeSet<PathBuf>> {
    let wit = folder.join("wit");
    let main = UnresolvedPackageGroup::parse_dir(&wit).ok()?;
    let available = available(&wit, workspace);
    let folders: BTreeMap<PackageName, PathBuf> =
        available.iter().map(|(name, (folder, _))| (name.clone(), folder.clone())).collect();
    let (packages, missing) = needed(&main, available);
    let folder = |package: UnresolvedPackageGroup| folders.get(&package.main.name).cloned();
    if missing { None } else { packages.into_iter().map(folder).collect() }
}

/// Returns the packages that a module may use, with their folders. A package in the module's own `wit/deps` takes precedence over one of
/// the same name in the workspace. Leaves out folders with invalid WIT; if the module needs one, its package is reported as missing.
fn available(wit: &Path, workspace: &Path) -> BTreeMap<PackageName, (PathBuf, UnresolvedPackageGroup)> {
    let shared = workspace.join("wit");
    let folders = folders_in(&wit.join("deps")).into_iter().chain([shared.clone()]).chain(folders_in(&shared));
    let mut packages = BTreeMap::new();
    for folder in folders.filter(|folder| holds_wit(folder)) {
        if let Ok(group) = UnresolvedPackageGroup::parse_dir(&folder) {
            packages.entry(group.main.name.clone()).or_insert((folder, group));
        }
    }
    packages
}

/// Returns the packages that `main` needs directly or indirectly, and whether some of them are missing.
fn needed(
    main: &UnresolvedPackageGroup,
    mut available: BTreeMap<PackageName, (PathBuf, UnresolvedPackageGroup)>,
) -> (Vec<UnresolvedPackageGroup>, bool) {
    let named = |group: &UnresolvedPackageGroup| -> BTreeSet<PackageName> {
        let packages = std::iter::once(&group.main).chain(&group.nested);
        packages.flat_map(|package| package.foreign_deps.keys().cloned()).collect()
    };
    let mut wanted = named(main);
    let mut packages: Vec<UnresolvedPackageGroup> = Vec::new();
    let mut missing = false;
    let own: BTreeSet<&PackageName> =
        std::iter::once(&main.main).chain(&main.nested).map(|package| &package.name).collect();
    while let Some(name) = wanted.pop_first() {
        if let Some((_, package)) = available.remove(&name) {
            wanted.extend(named(&package));
            packages.push(package);
        } else {
            // A package that was found before is no longer in `available`.
            missing |= !own.contains(&name) && packages.iter().all(|package| package.main.name != name);
        }
    }
    (packages, missing)
}
