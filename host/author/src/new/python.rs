//! Names and unwritten functions of Python modules, as componentize-py expects them.

use std::collections::BTreeMap;

use wit_parser::{Function, FunctionKind, Interface, Resolve, TypeId, WorldItem};

use watertight_build::{World, upper_camel};

/// The words of Python that can't be names.
pub(super) const KEYWORDS: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "false", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "none", "nonlocal", "not", "or",
    "pass", "raise", "return", "true", "try", "while", "with", "yield",
];

/// Returns the name of a function, parameter or interface.
pub(super) fn snake(name: &str) -> String {
    let is_keyword = KEYWORDS.contains(&name) && !["false", "none", "true"].contains(&name);
    format!("{}{}", name.replace('-', "_"), if is_keyword { "_" } else { "" })
}

/// Returns the name of the class of an interface or a resource.
pub(super) fn class(name: &str) -> String {
    format!("{}{}", upper_camel(name), if ["false", "none", "true"].contains(&name) { "_" } else { "" })
}

/// Returns the name of the Python module of an imported interface, such as `acme:cart/cart@1.0.0`. Where a world imports several
/// interfaces of one name, it has namespace and package before it.
pub(super) fn imported(world: &World, interface: &str) -> String {
    let (resolve, id) = world.resolved();
    let imports = resolve.worlds[id].imports.values().filter_map(|item| match item {
        WorldItem::Interface { id, .. } => resolve.id_of(*id),
        _ => None,
    });
    let (package, own) = parts(interface);
    let others = imports.filter(|other| other != interface && parts(other).1 == own);
    match others.count() {
        0 => snake(own),
        _ => format!("{package}-{own}").replace([':', '-'], "_"),
    }
}

/// Returns package and name of an interface, without the version.
fn parts(interface: &str) -> (&str, &str) {
    let (package, rest) = interface.split_once('/').unwrap_or_default();
    (package, rest.split('@').next().unwrap_or_default())
}

/// Returns a class for each interface and each resource that a world exports, with functions that raise.
pub(super) fn unwritten(world: &World) -> String {
    let (resolve, id) = world.resolved();
    let exports = resolve.worlds[id].exports.values().filter_map(|item| match item {
        WorldItem::Interface { id, .. } => Some(&resolve.interfaces[*id]),
        _ => None,
    });
    exports.flat_map(|interface| classes(resolve, interface)).collect::<Vec<_>>().join("\n\n\n")
}

fn classes(resolve: &Resolve, interface: &Interface) -> Vec<String> {
    let (mut own, mut resources) = (Vec::new(), BTreeMap::<TypeId, Vec<String>>::new());
    for function in interface.functions.values() {
        let written = unwritten_function(function);
        match function.kind.resource() {
            Some(resource) => resources.entry(resource).or_default().push(written),
            None => own.push(written),
        }
    }
    let mut classes = Vec::new();
    for (resource, functions) in &resources {
        let name = class(resolve.types[*resource].name.as_deref().unwrap_or_default());
        classes.push(format!("class {name}:\n{}", functions.join("\n\n")));
    }
    if !own.is_empty() {
        let name = class(interface.name.as_deref().unwrap_or_default());
        classes.push(format!("class {name}(exports.{name}):\n{}", own.join("\n\n")));
    }
    classes
}

fn unwritten_function(function: &Function) -> String {
    let first = match function.kind {
        FunctionKind::Static(_) | FunctionKind::AsyncStatic(_) => "cls",
        _ => "self",
    };
    let is_bound = matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_));
    let parameters = function.params.iter().skip(usize::from(is_bound)).map(|parameter| snake(&parameter.name));
    let parameters: Vec<String> = std::iter::once(first.to_owned()).chain(parameters).collect();
    let name = match function.kind {
        FunctionKind::Constructor(_) => "__init__".to_owned(),
        _ => snake(function.item_name()),
    };
    let decorator = if first == "cls" { "    @classmethod\n" } else { "" };
    let def = if function.kind.is_async() { "async def" } else { "def" };
    let said = function.name.rsplit(']').next().unwrap_or_default();
    format!(
        "{decorator}    {def} {name}({}):\n        raise NotImplementedError(\"{said} is not written yet\")",
        parameters.join(", ")
    )
}
