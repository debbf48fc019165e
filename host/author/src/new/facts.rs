//! What the templates of a module must know: its names, its contract, its neighbours' functions, and where the WIT of all these stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wit_parser::{
    Function, FunctionKind, InterfaceId, PackageName, Resolve, Type, TypeDefKind, UnresolvedPackageGroup, WorldItem,
};

use watertight_model::ids::{CapabilityName, InterfaceName, ModuleName};
use watertight_model::problem::list_names;

use super::{ModuleOptions, NewError, Place, c, callee, python, stubs, templates};
use crate::wit::{DEPS, Packages};
use watertight_build::{Available, Language, World, available, camel, check_world, upper_camel};

/// The interface of the capability `sql`.
const SQL: &str = "watertight:sql/sql@1.0.0";

/// What a new module is made of.
pub(super) struct Facts {
    /// What the templates are rendered with.
    pub(super) json: Value,
    /// Files of the module that no template has: their paths in the module's folder, and their texts.
    pub(super) packages: Vec<(PathBuf, String)>,
    /// The packages of the host that the application needs and does not have.
    pub(super) host: BTreeSet<PackageName>,
    /// The capabilities that the manifest grants.
    pub(super) uses: Vec<String>,
    /// The modules that the manifest lets it call.
    pub(super) calls: Vec<ModuleName>,
    /// What has to be written by hand.
    pub(super) notes: Vec<String>,
}

/// An interface of another module that the new module calls.
struct Call {
    interface: String,
    json: Value,
}

pub(super) fn gather(
    place: &Place,
    options: &ModuleOptions,
    name: &ModuleName,
    folder: &Path,
    packages: &Packages,
) -> Result<Facts, NewError> {
    let mut available = available(&folder.join("wit"), &place.workspace);
    let standing: BTreeSet<PackageName> = available.keys().cloned().collect();
    for package in packages.iter().filter(|package| !standing.contains(&package.name)) {
        let at = place.workspace.join(DEPS).join(package.folder());
        let group = UnresolvedPackageGroup::parse(at.join("package.wit"), &package.text);
        available.insert(package.name.clone(), (at, group.map_err(|_| unparsable(&package.name))?));
    }
    let starter = options.exports.is_none();
    let (uses, mut imports) = capabilities(place, options, packages)?;
    let mut calls = Vec::new();
    let mut notes = Vec::new();
    for text in &options.calls {
        let module = callee(text)?;
        let found = call(place, &module)?;
        if found.iter().all(|call| call.json["function"].is_null()) && starter {
            notes.push(format!(
                "`{module}` has no function that the template could call: call one in the new module's code"
            ));
        }
        calls.extend(found.into_iter().map(|call| (module.clone(), call)));
    }
    calls.sort_by(|(_, a), (_, b)| a.interface.cmp(&b.interface));
    if starter {
        imports.extend(options.language.imports.iter().map(|import| (*import).to_owned()));
    }
    imports.extend(calls.iter().map(|(_, call)| call.interface.clone()));
    let mut seen = BTreeSet::new();
    imports.retain(|import| seen.insert(import.clone()));

    let package = format!("{}:{name}@1.0.0", place.app);
    let interface = format!("{}:{name}/{name}@1.0.0", place.app);
    let exports = match &options.exports {
        None => vec![json!({ "interface": interface })],
        Some(wanted) => exported(wanted, &available)?,
    };
    let snake = |text: &str| text.replace('-', "_");
    let (namespace, rust) = (snake(place.app.as_str()), snake(name.as_str()));
    let first = exports.first().and_then(|export| export["interface"].as_str()).unwrap_or_default().to_owned();
    let go_interface = go_package(&first);
    let mut facts = json!({
        "app": place.app, "name": name, "snake": rust, "rust": rust, "camel": camel(name.as_str()),
        "namespace": { "rust": namespace }, "package": package, "interface": interface,
        "world_package": format!("{}:{name}-module", place.app),
        "starter": starter, "sql": uses.iter().any(|one| one == CapabilityName::SQL),
        "imports": imports, "exports": exports, "calls": calls.iter().map(|(_, call)| &call.json).collect::<Vec<_>>(),
        "go": { "package": name.as_str().replace('-', ""), "interface": go_interface, "export": format!("export_{go_interface}") },
        "c": { "prefix": format!("exports_{go_interface}") },
        "export_folder": format!("export_{go_interface}"), "stubs": "", "wit_paths": [], "cargo": {},
    });
    if starter {
        let rendered = templates::render("contract", &facts).map_err(NewError::Template)?;
        let contract =
            rendered.into_iter().find(|(path, _)| path.extension().is_some_and(|extension| extension == "wit"));
        let (path, text) = contract.ok_or_else(|| NewError::Template(anyhow::anyhow!("there is no contract")))?;
        let group = UnresolvedPackageGroup::parse(&path, &text);
        let group = group.map_err(|error| NewError::Template(anyhow::anyhow!("{error:#?}")))?;
        let there = available.insert(group.main.name.clone(), (place.workspace.join("wit").join(name.as_str()), group));
        if there.is_some() {
            let reason =
                format!("the application has its contract `{package}`; implement it with `--exports {package}`");
            return Err(NewError::reserved(name.as_str(), reason));
        }
    }
    let folders: Vec<(PackageName, PathBuf)> =
        available.iter().map(|(name, (folder, _))| (name.clone(), folder.clone())).collect();
    let world = world(&facts, available)?;
    check_world(options.language.language, name, folder, &world).map_err(Box::new)?;
    facts["stubs"] = match starter {
        true => Value::from(""),
        false => stubs::of(options.language.language, &world).map_err(NewError::Template)?.into(),
    };
    let packages = match options.language.language {
        Language::Go if !starter => {
            stubs::go_packages(&world, &format!("{}/{name}", place.app)).map_err(NewError::Template)?
        }
        _ => Vec::new(),
    };
    facts["python"] = json!({
        "export": python::snake(name.as_str()), "class": python::class(name.as_str()),
        "sql": python::imported(&world, SQL),
    });
    for (fact, (_, call)) in facts["calls"].as_array_mut().into_iter().flatten().zip(&calls) {
        fact["path"]["python"] = python::imported(&world, &call.interface).into();
    }
    if options.language.language == Language::C {
        c::describe(&world, &mut facts["calls"]).map_err(NewError::Template)?;
    }
    let (paths, host) = needed(&world, &folders, &standing, folder);
    facts["wit_paths"] = paths.into();
    let called: BTreeSet<ModuleName> = calls.into_iter().map(|(module, _)| module).collect();
    Ok(Facts { json: facts, packages, host, uses, calls: called.into_iter().collect(), notes })
}

fn unparsable(package: &PackageName) -> NewError {
    NewError::Template(anyhow::anyhow!("the host's package `{package}` is not WIT"))
}

/// Returns what the manifest grants, and the interfaces that the world imports for it.
fn capabilities(
    place: &Place,
    options: &ModuleOptions,
    packages: &Packages,
) -> Result<(Vec<String>, Vec<String>), NewError> {
    let (mut uses, mut imports) = (Vec::new(), Vec::new());
    for text in &options.uses {
        let declaration = place.capabilities.all().iter().find(|one| one.name.as_str() == text).ok_or_else(|| {
            let known = list_names(place.capabilities.all().iter().map(|one| one.name.as_str()));
            NewError::Capability { name: text.clone(), known }
        })?;
        imports.extend(declaration.interfaces.iter().map(ToString::to_string));
        if let (true, Some(row)) = (declaration.interfaces.is_empty(), declaration.wasi.first()) {
            let package = packages.find(text)?;
            let version = package.name.version.as_ref().map(ToString::to_string).unwrap_or_default();
            let name = row.interfaces.first().copied().unwrap_or_default();
            imports.push(format!("{}/{name}@{version}", row.package));
        }
        if !uses.contains(text) {
            uses.push(text.clone());
        }
    }
    let needs = options.language.needs.iter().filter(|need| !options.uses.iter().any(|text| text == *need));
    uses.extend(needs.map(|need| (*need).to_owned()));
    Ok((uses, imports))
}

/// Parses the module's world, with what it uses.
fn world(facts: &Value, available: Available) -> Result<World, NewError> {
    let rendered = templates::render("module", facts).map_err(NewError::Template)?;
    let world = rendered.into_iter().find(|(path, _)| path.ends_with("wit/world.wit"));
    let (_, text) = world.ok_or_else(|| NewError::Template(anyhow::anyhow!("there is no world")))?;
    let group = UnresolvedPackageGroup::parse("world.wit", &text);
    let group = group.map_err(|error| NewError::Template(anyhow::anyhow!("{error:#?}\n{text}")))?;
    World::of(group, available).map_err(NewError::Template)
}

/// Returns the folders of the packages that a world uses, in the order of dependency and relative to the module's folder, and those of the
/// packages that the host must add.
fn needed(
    world: &World,
    folders: &[(PackageName, PathBuf)],
    standing: &BTreeSet<PackageName>,
    module: &Path,
) -> (Vec<String>, BTreeSet<PackageName>) {
    let (resolve, _) = world.resolved();
    let (mut paths, mut host) = (Vec::new(), BTreeSet::new());
    for id in resolve.topological_packages() {
        let name = &resolve.packages[id].name;
        let Some((_, folder)) = folders.iter().find(|(known, _)| known == name) else { continue };
        paths.push(relative(module, folder));
        if !standing.contains(name) && folder.parent().is_some_and(|parent| parent.ends_with(DEPS)) {
            host.insert(name.clone());
        }
    }
    paths.push("wit".to_owned());
    (paths, host)
}

/// Returns the path that leads from one folder to another.
fn relative(from: &Path, to: &Path) -> String {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// Returns the interfaces of a package that a module can implement.
fn exported(wanted: &str, available: &Available) -> Result<Vec<Value>, NewError> {
    let refused = |reason: String| NewError::Package { package: wanted.to_owned(), reason };
    let is_host = |name: &PackageName| ["wasi", "watertight"].contains(&name.namespace.as_str());
    let fits = |name: &PackageName| {
        [name.to_string(), format!("{}:{}", name.namespace, name.name)].iter().any(|one| one == wanted)
    };
    let mut found: Vec<_> = available.iter().filter(|(name, _)| fits(name)).collect();
    if found.len() > 1 {
        return Err(refused(format!("there are {}: name the version", list_names(found.iter().map(|(name, _)| name)))));
    }
    let Some((name, (_, group))) = found.pop() else {
        let known = list_names(available.keys().filter(|name| !is_host(name)));
        return Err(refused(format!("the folder `wit` has no such package, only {known}")));
    };
    let mut interfaces = Vec::new();
    for (_, interface) in group.main.interfaces.iter() {
        let Some(own) = &interface.name else { continue };
        let is_plain = |function: &&Function| matches!(function.kind, FunctionKind::Freestanding);
        let functions = interface.functions.values().filter(is_plain);
        let functions: Vec<Value> = functions
            .map(|function| {
                let parameters: Vec<_> = function.params.iter().map(|param| camel(&param.name)).collect();
                json!({ "name": function.name, "camel": camel(&function.name), "parameters": parameters })
            })
            .collect();
        if !interface.functions.is_empty() {
            interfaces
                .push(json!({ "interface": name.interface_id(own), "camel": camel(own), "functions": functions }));
        }
    }
    if interfaces.is_empty() {
        return Err(refused("it has no interface with functions".to_owned()));
    }
    Ok(interfaces)
}

/// Returns the interfaces that a module of the application exports, each with a function that the templates can call, if there is one.
fn call(place: &Place, module: &ModuleName) -> Result<Vec<Call>, NewError> {
    let refused = |reason: String| NewError::Callee { module: module.to_string(), reason };
    let folder = place.modules.get(module).ok_or_else(|| {
        refused(format!("the application has no such module, only {}", list_names(place.modules.keys())))
    })?;
    let folder = folder.as_ref().ok_or_else(|| refused("it is a component file without sources".to_owned()))?;
    let world = World::read(folder, &place.workspace).map_err(|error| refused(format!("{error:#}")))?;
    let (resolve, id) = world.resolved();
    let exports = resolve.worlds[id].exports.values().filter_map(|item| match item {
        WorldItem::Interface { id, .. } => Some(*id),
        _ => None,
    });
    let mut calls: Vec<Call> = Vec::new();
    for id in exports {
        let Some(name) = resolve.id_of(id) else { continue };
        // Only the host calls its own interfaces, and handlers of requests.
        if name.parse::<InterfaceName>().is_ok_and(|name| ["wasi", "watertight"].contains(&name.namespace())) {
            continue;
        }
        let is_first = calls.iter().all(|call| call.json["function"].is_null());
        let function = is_first.then(|| callable(resolve, id)).flatten();
        calls.push(Call { json: described(resolve, module, &name, function), interface: name });
    }
    if calls.is_empty() {
        return Err(refused("it exports no interface to other modules".to_owned()));
    }
    Ok(calls)
}

/// A function that the templates can call, the kinds of its arguments, and for each that is an option the Go type within.
type Callable<'a> = (&'a Function, Vec<&'static str>, Vec<&'static str>);

/// Returns the function of an interface with the fewest parameters, if the templates can write all of them.
fn callable(resolve: &Resolve, id: InterfaceId) -> Option<Callable<'_>> {
    let plain = resolve.interfaces[id].functions.values().filter(|one| matches!(one.kind, FunctionKind::Freestanding));
    let written = plain.filter_map(|function| {
        let kinds: Option<Vec<_>> = function.params.iter().map(|param| kind(resolve, param.ty)).collect();
        let (kinds, options) = kinds?.into_iter().unzip();
        Some((function, kinds, options))
    });
    written.min_by_key(|(function, ..)| function.params.len())
}

/// Returns the kind of a parameter that the templates can write, and the Go type within an option.
fn kind(resolve: &Resolve, ty: Type) -> Option<(&'static str, &'static str)> {
    Some(match ty {
        Type::String => ("string", "string"),
        Type::Bool => ("bool", "bool"),
        Type::U8 => ("integer", "uint8"),
        Type::U16 => ("integer", "uint16"),
        Type::U32 => ("integer", "uint32"),
        Type::U64 => ("integer", "uint64"),
        Type::S8 => ("integer", "int8"),
        Type::S16 => ("integer", "int16"),
        Type::S32 => ("integer", "int32"),
        Type::S64 => ("integer", "int64"),
        Type::F32 => ("float", "float32"),
        Type::F64 => ("float", "float64"),
        Type::Char | Type::ErrorContext => return None,
        Type::Id(id) => match &resolve.types[id].kind {
            TypeDefKind::Type(ty) => return kind(resolve, *ty),
            TypeDefKind::Option(ty) => match kind(resolve, *ty)? {
                ("none", _) => return None,
                (_, go) => ("none", go),
            },
            _ => return None,
        },
    })
}

fn described(resolve: &Resolve, module: &ModuleName, name: &str, function: Option<Callable<'_>>) -> Value {
    let snake = |text: &str| text.replace('-', "_");
    let go = go_package(name);
    let mut json = json!({
        "module": module, "interface": name, "snake": snake(module.as_str()), "pascal": upper_camel(module.as_str()),
        "function": null, "path": { "go": go },
    });
    let Some((function, arguments, go_types)) = function else { return json };
    let (package, rest) = name.split_once('/').unwrap_or_default();
    let interface = rest.split('@').next().unwrap_or_default();
    let path = package.split(':').chain([interface, &function.name]).map(snake).collect::<Vec<_>>().join("::");
    let is_result = |ty: Type| matches!(ty, Type::Id(id) if matches!(resolve.types[id].kind, TypeDefKind::Result(_)));
    let has_result = function.result.is_some_and(is_result);
    json["function"] = function.name.as_str().into();
    json["path"]["rust"] = path.into();
    json["function_python"] = python::snake(&function.name).into();
    json["function_camel"] = camel(&function.name).into();
    json["function_pascal"] = upper_camel(&function.name).into();
    json["arguments"] = arguments.into();
    json["options"] = go_types.into();
    json["has_result"] = has_result.into();
    json["has_answer"] = function.result.is_some().into();
    // A module that was made from a template answers without an error.
    json["succeeds"] = (!has_result || ["greet", "list-items"].contains(&function.name.as_str())).into();
    json
}

/// Returns the name of the Go package of an interface: `acme:cart/cart@1.0.0` has `acme_cart_cart`.
fn go_package(interface: &str) -> String {
    interface.split('@').next().unwrap_or_default().replace([':', '/', '-'], "_")
}
