//! Checks that both modules of a call mean the same resource by the handles that the call carries.
//!
//! Two modules may define a resource of one interface. A handle is of the resource of one of them. So if a function carries handles of an
//! interface, caller and callee must import that interface from the same module, or the callee must be that module.

use std::collections::BTreeMap;

use super::Node;
use watertight_component::shape::Type;
use watertight_model::config::AppConfig;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem};

/// Reports each call that carries handles of an interface that its caller and its callee have from different modules.
pub(super) fn check(config: &AppConfig, modules: &BTreeMap<ModuleName, Node>, problems: &mut Vec<Problem>) {
    for (caller, node) in modules {
        for (import, provider) in &node.calls {
            let Some(callee) = modules.get(&provider.module) else { continue };
            for (defined, definer) in definitions(node, import, modules) {
                let Some((function, path)) = handle(node, import, defined) else { continue };
                let other = origin(&provider.module, callee, defined);
                let Some(other) = other.filter(|other| *other != definer) else { continue };
                let message = format!(
                    "`{function}` carries handles of `{defined}` between modules `{caller}` and `{}`, which don't mean the same resource: \
                     `{caller}` has it of module `{definer}`, and `{0}` of module `{other}`",
                    provider.module
                );
                let help = format!("let the same module serve `{defined}` to both, by `calls` of [modules.{caller}]");
                let is_function = node.artifact.shape.imports[import].is_function;
                let place = if is_function { &InterfaceName::world() } else { import };
                let problem =
                    Problem::new(Code::TypeMismatch, message).module(caller).interface(place).function(function);
                let (expected, found) =
                    (format!("a resource of module `{definer}`"), format!("a resource of module `{other}`"));
                let mut problem = problem.file(&config.manifest).help(help).expected(expected, found);
                problem.type_path = Some(path);
                problem.line = config.modules.get(caller).map(|module| module.line);
                problems.push(problem);
            }
        }
    }
}

/// Lists the interfaces with resources that a module imports from other modules, besides `import`, each with the module that defines those
/// resources. Where that can't be told, the interface is left out: the module imports it twice, under labels, or the other module imports it
/// too and may pass it on.
fn definitions<'a>(
    node: &'a Node,
    import: &InterfaceName,
    modules: &BTreeMap<ModuleName, Node>,
) -> Vec<(&'a InterfaceName, &'a ModuleName)> {
    let own = node.artifact.shape.imports[import].identity(import);
    let defined = node.calls.iter().filter_map(|(name, provider)| {
        let interface = &node.artifact.shape.imports[name];
        let identity = interface.identity(name);
        let defines = modules.get(&provider.module).is_some_and(|node| imports(node, identity).next().is_none());
        let is_one = imports(node, identity).count() == 1;
        let counts = !interface.resources.is_empty() && identity != own && defines && is_one;
        counts.then_some((identity, &provider.module))
    });
    defined.collect()
}

/// Finds the first handle of the interface `defined` in the functions that a module imports under the name `import`: the function and the
/// path into its types.
fn handle<'a>(node: &'a Node, import: &InterfaceName, defined: &InterfaceName) -> Option<(&'a str, String)> {
    let is_of = |ty: &Type| match ty {
        Type::Own(resource) | Type::Borrow(resource) => resource.interface.as_ref() == Some(defined),
        _ => false,
    };
    let mut functions = node.artifact.shape.imports[import].functions.iter();
    functions.find_map(|(name, function)| Some((name.as_str(), function.find_part(is_of)?.0)))
}

/// Returns the module whose resources of the interface `defined` the exports of `module` have. `None` if that can't be told: the module
/// both imports and exports the interface, imports it twice, or knows none.
fn origin<'a>(module: &'a ModuleName, node: &'a Node, defined: &InterfaceName) -> Option<&'a ModuleName> {
    let mut exports = node.artifact.shape.exports.iter();
    let exported = exports.any(|(name, export)| is_version_of(defined, export.identity(name)));
    let mut imported = imports(node, defined);
    match (exported, imported.next(), imported.next()) {
        (true, None, _) => Some(module),
        (false, Some(name), None) => node.calls.get(name).map(|provider| &provider.module),
        _ => None,
    }
}

/// Iterates over the names under which a module imports the interface `defined`, in whatever version.
fn imports<'a>(node: &'a Node, defined: &InterfaceName) -> impl Iterator<Item = &'a InterfaceName> {
    let imports = node.artifact.shape.imports.iter();
    imports.filter(move |(name, import)| is_version_of(defined, import.identity(name))).map(|(name, _)| name)
}

/// Whether the linker accepts one interface's version for the other's.
fn is_version_of(one: &InterfaceName, other: &InterfaceName) -> bool {
    one.can_serve(other) || other.can_serve(one)
}
