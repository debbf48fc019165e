//! The description of a module's world that the JavaScript shim works with: functions and types in plain form.

use serde::Serialize;
use serde_json::Value;
use wit_parser::{FunctionKind, Resolve, TypeDefKind, WorldItem, WorldKey};

use crate::contract::{ContractFunction, Types, camel, functions, key, labels, upper_camel};
use crate::error::BuildError;
use crate::javascript::names::unreadable_names;
use crate::source::{Language, Source};
use crate::world::{FAILURE, World};

/// A module's WIT world, as JSON for the scripts that make the component.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    main: String,
    types: Vec<Value>,
    imports: Vec<Item>,
    exports: Vec<Item>,
    host: HostInterfaces,
}

/// The names of the interfaces that the shim itself uses, as the world imports them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HostInterfaces {
    random: Option<String>,
    wall_clock: Option<String>,
    monotonic_clock: Option<String>,
    failure: String,
}

/// An interface of a world, or a function that the world has directly.
#[derive(Serialize)]
struct Item {
    name: String,
    /// The name under which the JavaScript engine looks for the export. In camel case if it is a name that the world gives, and not an
    /// interface's own name.
    export: String,
    /// The names under which a module may export the interface.
    names: Vec<String>,
    functions: Vec<DescribedFunction>,
    resources: Vec<Resource>,
    function: Option<DescribedFunction>,
}

#[derive(Serialize)]
struct Resource {
    js: String,
    key: String,
}

#[derive(Serialize, Clone)]
struct DescribedFunction {
    js: String,
    /// The function's name for messages.
    label: String,
    kind: &'static str,
    /// The resource to which the function belongs if it is a method, a static method or a constructor. `None` for any other function.
    resource: Option<String>,
    /// Whether the function belongs to the world itself, and to no interface.
    root: bool,
    names: Vec<String>,
    params: Vec<Value>,
    result: Option<Value>,
}

impl Description {
    /// Describes a module's world. `main` is the path of the file with the module's exports. Refuses a world with parts that
    /// componentize-js doesn't support.
    pub(super) fn of(source: &Source, world: &World, main: &str) -> Result<Self, BuildError> {
        let (resolve, _) = world.resolved();
        let all = functions(world);
        let mut parts: Vec<String> = all.iter().flat_map(|function| uncarried(function, resolve)).collect();
        parts.extend(unreadable_names(world));
        parts.extend(labels(world));
        let language = if source.language == Language::TypeScript { "TypeScript" } else { "JavaScript" };
        BuildError::unless_supported(&source.name, language, parts)?;
        let mut types = Types::new(world, camel);
        let imports = items(world, &all, false, &mut types);
        let exports = items(world, &all, true, &mut types);
        let named = |start: &str| {
            let fits = |item: &&Item| item.name.strip_prefix(start).is_some_and(|rest| rest.starts_with("@0.2"));
            imports.iter().find(fits).map(|item| item.name.clone())
        };
        let host = HostInterfaces {
            random: named("wasi:random/random"),
            wall_clock: named("wasi:clocks/wall-clock"),
            monotonic_clock: named("wasi:clocks/monotonic-clock"),
            failure: FAILURE.to_owned(),
        };
        Ok(Self { main: main.to_owned(), types: types.into_json(), imports, exports, host })
    }
}

/// Returns the parts of a function that componentize-js 0.23 doesn't support.
fn uncarried(function: &ContractFunction<'_>, resolve: &Resolve) -> Vec<String> {
    let mut parts = function.unsupported_types(resolve, |kind| {
        !matches!(
            kind,
            TypeDefKind::Map(..)
                | TypeDefKind::FixedLengthList(..)
                | TypeDefKind::Stream(_)
                | TypeDefKind::Future(_)
                | TypeDefKind::Unknown
        )
    });
    if function.is_async() {
        parts.push(format!("{} is an `async func`", function.display_name()));
    }
    parts
}

/// Returns the imports or the exports of a world.
fn items(world: &World, all: &[ContractFunction<'_>], exports: bool, types: &mut Types<'_>) -> Vec<Item> {
    let (resolve, id) = world.resolved();
    let entries = if exports { &resolve.worlds[id].exports } else { &resolve.worlds[id].imports };
    let alias = |world_key: &WorldKey| match world_key {
        WorldKey::Name(name) => Some(camel(name)),
        WorldKey::Interface(id) => resolve.interfaces[*id].name.as_deref().map(camel),
    };
    let mut items = Vec::new();
    for (world_key, item) in entries {
        let name = resolve.name_world_key(world_key);
        let functions: Vec<_> = all
            .iter()
            .filter(|one| one.is_export == exports && one.item == name)
            .map(|one| describe(one, resolve, types))
            .collect();
        let (resources, function) = match item {
            WorldItem::Type { .. } => continue,
            WorldItem::Function(_) => (Vec::new(), functions.first().cloned()),
            WorldItem::Interface { id, .. } => {
                let all = resolve.interfaces[*id].types.iter();
                let resources = all.filter(|(_, id)| matches!(resolve.types[**id].kind, TypeDefKind::Resource));
                (resources.map(|(name, id)| Resource { js: upper_camel(name), key: key(*id) }).collect(), None)
            }
        };
        // If two interfaces have the same short name, a module must use the full names.
        let is_clear = entries.keys().filter(|other| alias(other) == alias(world_key)).count() == 1;
        let mut names: Vec<String> = if is_clear { alias(world_key).into_iter().collect() } else { Vec::new() };
        names.push(name.clone());
        let export = match world_key {
            WorldKey::Name(label) => camel(label),
            WorldKey::Interface(_) => name.clone(),
        };
        items.push(Item { name, export, names, functions, resources, function });
    }
    items
}

fn describe(one: &ContractFunction<'_>, resolve: &Resolve, types: &mut Types<'_>) -> DescribedFunction {
    let function = one.function;
    let (kind, resource) = match function.kind {
        FunctionKind::Method(id) => ("method", Some(id)),
        FunctionKind::Static(id) => ("static", Some(id)),
        FunctionKind::Constructor(id) => ("constructor", Some(id)),
        _ => ("function", None),
    };
    let resource = resource.and_then(|id| resolve.types[id].name.as_deref()).map(upper_camel);
    let name = camel(function.item_name());
    let path = [one.interface.and_then(|id| resolve.interfaces[id].name.as_deref().map(camel)), resource.clone()];
    let mut label: Vec<String> = path.into_iter().flatten().collect();
    if kind != "constructor" {
        label.push(name.clone());
    }
    // The first parameter of a method is the resource itself.
    let params = function.params.iter().skip(usize::from(kind == "method"));
    DescribedFunction {
        js: name,
        label: label.join("."),
        kind,
        resource,
        root: one.interface.is_none(),
        names: params.clone().map(|param| camel(&param.name)).collect(),
        params: params.map(|param| types.reference(param.ty, one.is_export)).collect(),
        result: function.result.map(|ty| types.reference(ty, one.is_export)),
    }
}
