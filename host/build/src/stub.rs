//! Makes a component for a contract from WIT alone. It has the contract's exports with their types, and each of its functions traps.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wit_component::dummy_module;
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageName, UnresolvedPackageGroup};

use super::world::{World, available, interfaces_exported};
use watertight_component::artifact::{Docs, FAKE, ModuleSection};
use watertight_component::shape;
use watertight_model::ids::{InterfaceName, ModuleName};

/// A component for a contract, without code.
pub struct Stub {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// The folders of the packages that define the exports.
    pub folders: Vec<PathBuf>,
}

impl Stub {
    /// Makes a component for the contract of `module`. `package` names a package of the workspace. Without it, the contract is what the
    /// world in `wit`, the module's own folder, exports; if there is none, it is the package in the folder of the workspace's `wit` that has
    /// the module's name.
    ///
    /// # Errors
    ///
    /// The reason why there is no contract, or why it makes no component, as a text for people.
    pub fn find(module: &ModuleName, package: Option<&str>, wit: &Path, workspace: &Path) -> Result<Self, String> {
        let packages = available(wit, workspace);
        let own_folder = workspace.join("wit").join(module.as_str());
        let of_package = |(name, (_, group)): (&PackageName, &(PathBuf, UnresolvedPackageGroup))| {
            let interfaces = group.main.interfaces.iter().filter(|(_, interface)| !interface.functions.is_empty());
            interfaces.filter_map(|(_, interface)| Some(name.interface_id(interface.name.as_deref()?))).collect()
        };
        let interfaces: Vec<String> = match package {
            Some(package) => {
                let found = packages.iter().find(|(name, _)| name.to_string() == package);
                found.map(of_package).ok_or_else(|| {
                    let names: Vec<_> = packages.keys().map(|name| format!("`{name}`")).collect();
                    format!("there is no WIT package `{package}`, only {}", names.join(", "))
                })?
            }
            None => match interfaces_exported(module, wit, workspace)? {
                Some(interfaces) => interfaces,
                None => packages.iter().find(|(_, (folder, _))| *folder == own_folder).map(of_package).ok_or_else(|| {
                    format!(
                        "neither `{}` nor `{}` has WIT; name the package in the fake: \"contract\": \"alpha:greeting@1.0.0\"",
                        wit.display(),
                        own_folder.display()
                    )
                })?,
            },
        };
        if interfaces.is_empty() {
            return Err("its contract exports no interface with functions that a fake could serve".to_owned());
        }
        let defines = |name: &PackageName| interfaces.iter().any(|id| in_package(id, name));
        let folders =
            packages.iter().filter(|(name, _)| defines(name)).map(|(_, (folder, _))| folder.clone()).collect();
        let exports: String = interfaces.iter().map(|id| format!("  export {id};\n")).collect();
        let text = format!("package watertight-fake:contract;\nworld contract {{\n{exports}}}\n");
        let component = encode(module, &text, wit, workspace).map_err(|error| format!("{error:#}"))?;
        Ok(Self { component, folders })
    }
}

/// Whether the interface with this id, such as `alpha:greeting/greet@1.0.0`, is in a package.
fn in_package(id: &str, package: &PackageName) -> bool {
    id.split_once('/').is_some_and(|(_, rest)| package.interface_id(rest.split('@').next().unwrap_or(rest)) == id)
}

/// Returns the names of what the component of the module in `folder` will export, by the world in the folder. `None` if the world can't be
/// read; a build says why.
pub fn exports(folder: &Path, workspace: &Path) -> Option<BTreeSet<InterfaceName>> {
    let world = World::read(folder, workspace).ok()?;
    let (resolve, id) = world.resolved();
    let mut core = dummy_module(resolve, id, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    let component = world.component_of(&mut core).ok()?;
    Some(shape::read(&component).ok()?.exports.into_keys().collect())
}

fn encode(module: &ModuleName, text: &str, wit: &Path, workspace: &Path) -> anyhow::Result<Vec<u8>> {
    let main = UnresolvedPackageGroup::parse("contract.wit", text)
        .map_err(|error| anyhow::Error::msg(format!("{error:?}")))?;
    let world = World::of_text(main, wit, workspace)?;
    let (resolve, id) = world.resolved();
    let mut core = dummy_module(resolve, id, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    let mut component = world.component_of(&mut core)?;
    let section = ModuleSection::new(&component, module.clone(), FAKE, Vec::new(), Docs::default())?;
    section.append_to(&mut component)?;
    Ok(component)
}
