//! Checks interfaces that modules import only for their types, where those types have handles.
//!
//! In a compartment, all imports of one such interface become one. So modules that share the name must agree on its
//! types, even if neither calls the other. Interfaces of value types stay separate for each module.

use std::collections::BTreeMap;

use super::{Compartment, Node};
use watertight_component::shape::{Interface, Type, shared_type_differences};
use watertight_model::config::AppConfig;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem};

/// A module's import of an interface that holds only types.
struct Import<'a> {
    module: &'a ModuleName,
    name: &'a InterfaceName,
    interface: &'a Interface,
}

/// Compares the types of imports in a compartment that have the same name and are only for types: each with the first, in the order of
/// modules.
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
            // Composition merges imports whose names differ only by compatible versions.
            match known.iter().find(|other| other.name.can_serve(name) || name.can_serve(other.name)) {
                Some(other) => compare(config, &Import { module, name, interface }, other, problems),
                None => known.push(Import { module, name, interface }),
            }
        }
    }
}

/// Compares the types that both imports have. A component imports only the types that it uses, so other types can't be
/// compared.
fn compare(config: &AppConfig, import: &Import<'_>, other: &Import<'_>, problems: &mut Vec<Problem>) {
    for difference in shared_type_differences(import.interface, other.interface) {
        let message = format!(
            "modules `{}` and `{}` import `{}` with different types, so they can't share a compartment",
            import.module, other.module, import.name
        );
        let mut problem = Problem::new(Code::TypeMismatch, message)
            .module(import.module)
            .interface(import.name)
            .expected(difference.expected, difference.found)
            .file(&config.manifest)
            .help(
                "build both modules against the same version of the contract, or place them in different compartments",
            );
        problem.line = config.modules.get(import.module).map(|module| module.line);
        problem.type_path = difference.type_path;
        problems.push(problem);
    }
}
