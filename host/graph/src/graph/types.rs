//! Interfaces that modules import for their types alone, with handles in them: in a compartment those of one name become one.
//!
//! So modules that share a name must mean the same by it, even where neither calls the other. Types of values alone are each module's own.

use std::collections::BTreeMap;

use super::{Compartment, Node};
use watertight_component::shape::{Interface, Type, shared_type_differences};
use watertight_model::config::AppConfig;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem};

/// A module's import of types.
struct Import<'a> {
    module: &'a ModuleName,
    name: &'a InterfaceName,
    interface: &'a Interface,
}

/// Compares all imports of types under one name, in one compartment, with the first of that name, by the order of modules.
pub(super) fn check(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    compartment: &Compartment,
    problems: &mut Vec<Problem>,
) {
    let mut first: BTreeMap<&str, Vec<Import<'_>>> = BTreeMap::new();
    for (module, node) in modules.iter().filter(|(module, _)| compartment.modules.contains(module)) {
        let with_handles = |interface: &Interface| interface.types.values().any(Type::has_handle);
        let imports = node.artifact.shape.imports.iter();
        for (name, interface) in imports.filter(|(_, i)| i.is_types_only() && with_handles(i)) {
            let known = first.entry(name.unversioned()).or_default();
            // The same name up to compatible versions: that is what composition makes one of.
            match known.iter().find(|other| other.name.serves(name) || name.serves(other.name)) {
                Some(other) => compare(config, &Import { module, name, interface }, other, problems),
                None => known.push(Import { module, name, interface }),
            }
        }
    }
}

/// A component imports only the types that it uses: just those that both import can differ.
fn compare(config: &AppConfig, import: &Import<'_>, other: &Import<'_>, problems: &mut Vec<Problem>) {
    for difference in shared_type_differences(import.interface, other.interface) {
        let message = format!(
            "modules `{}` and `{}` import `{}` with different types, and no two such can share a compartment",
            import.module, other.module, import.name
        );
        let mut problem = Problem::new(Code::TypeMismatch, message)
            .module(import.module)
            .interface(import.name)
            .expected(difference.expected, difference.found)
            .file(&config.manifest)
            .help("build both modules against the same version of the contract, or place them apart");
        problem.line = config.modules.get(import.module).map(|module| module.line);
        problem.type_path = difference.type_path;
        problems.push(problem);
    }
}
