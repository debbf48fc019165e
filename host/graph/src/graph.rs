//! The application as a graph: for each import of a module, the module or host interface that serves it.
//!
//! Building a graph is pure. It reads no file, compiles nothing and runs nothing, so a refusal is cheap and a test needs
//! only shapes. A graph without problems is complete, acyclic, type-checked and granted (invariant 4).
//! [`AppGraph::build`] returns all problems at once.

mod imports;
mod order;
mod origins;
mod place;
mod provided;
pub mod render;
mod room;
mod types;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use watertight_component::artifact::Artifact;
use watertight_component::profile::{self, Profile};
use watertight_component::shape::{Function, Interface};
use watertight_model::config::{AppConfig, Instances, Limits};
use watertight_model::ids::{AppName, CapabilityName, CompartmentName, FunctionPath, InterfaceName, ModuleName};
use watertight_model::problem::{Problem, list_names};

pub use place::{Detour, PlacementConstraint, PlacementReason};
use provided::Offers;
pub use provided::{RESUME, is_called_by_host, is_handler, is_host_namespace, is_passing_import};
pub use room::{room_notes, warm_faults};

/// A whole application with every import resolved, before anything is compiled.
#[derive(Debug, Clone)]
pub struct AppGraph {
    /// The application's name.
    pub app: AppName,
    /// The application's modules, by name.
    pub modules: BTreeMap<ModuleName, Node>,
    /// The compartments that the modules are placed in, sorted by name. Every module is in exactly one of them.
    pub compartments: Vec<Compartment>,
}

/// A module with its resolved imports and its grants.
#[derive(Debug, Clone)]
pub struct Node {
    /// The module's component.
    pub artifact: Arc<Artifact>,
    /// The imports that another module serves.
    pub calls: BTreeMap<InterfaceName, Provider>,
    /// The imports that the host serves with the importing module's identity, each with the host's interface. That interface has another
    /// name than the imported one if the module imports a draft version. The interfaces of WASI that modules share are not here.
    pub capabilities: BTreeMap<InterfaceName, InterfaceName>,
    /// The capabilities that the manifest grants, in the order of their declarations.
    pub granted: Vec<CapabilityName>,
    /// Whether a granted capability keeps data, so that the module has a database.
    pub has_database: bool,
    /// The interval at which the host calls the module's export `resume` while it serves. `None` means that the host
    /// calls it only at a start.
    pub resume: Option<Duration>,
}

/// The module and export that serve an import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provider {
    /// The module that serves the import.
    pub module: ModuleName,
    /// The name under which that module exports the interface. Its version is the imported one or a newer compatible one.
    /// [`InterfaceName::world`] if the import is a function that a world imports directly.
    pub export: InterfaceName,
    /// The name of the function that serves an import of a function. `None` if the import is an interface.
    pub function: Option<Arc<str>>,
}

/// Modules that share one Wasmtime store for each call.
#[derive(Debug, Clone)]
pub struct Compartment {
    /// The compartment's name.
    pub name: CompartmentName,
    /// The compartment's modules in instantiation order: a module stands after the modules that it calls.
    pub modules: Vec<ModuleName>,
    /// How the compartment's instances are created and reused.
    pub instances: Instances,
    /// The limits of the compartment's calls.
    pub limits: Limits,
    /// Why the planner made this compartment and placed these modules in it.
    pub reason: PlacementReason,
    /// The kind of engine that runs the compartment.
    pub profile: Profile,
    /// Why the planner chose this engine profile.
    pub profile_reason: profile::ProfileReason,
}

impl Compartment {
    /// Formats the modules' names for a message: "module `a`", "modules `a`, `b`".
    pub fn describe_modules(&self) -> String {
        let names: Vec<String> = self.modules.iter().map(|module| format!("`{module}`")).collect();
        format!("module{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
    }
}

/// How the host carries a call from one module to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeKind {
    /// A call within a compartment: a Wasm function call without host code.
    Fused,
    /// A call between compartments: the host copies the values from one store to another.
    Bridged,
}

impl EdgeKind {
    /// Returns the kind's name in JSON and text output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Bridged => "bridged",
        }
    }
}

/// Returns the index of the compartment that holds `module`. `None` if no compartment holds it.
fn home(compartments: &[Compartment], module: &ModuleName) -> Option<usize> {
    compartments.iter().position(|compartment| compartment.modules.contains(module))
}

/// A function that a function path such as `hello/greet.say-hello` names.
#[derive(Debug, Clone, Copy)]
pub struct FoundFunction<'a> {
    /// The name under which the module exports the function's interface.
    pub interface: &'a InterfaceName,
    /// The function's parameters, result and documentation.
    pub function: &'a Function,
}

/// The reason why a function path names no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionNotFound {
    /// The application has no module of that name.
    #[error("there is no module `{name}`; the application's modules are {}", list_names(.modules))]
    Module {
        /// The module's name in the function path.
        name: ModuleName,
        /// The names of the application's modules.
        modules: Vec<String>,
    },
    /// The module exports no interface of that name.
    #[error("module `{module}` exports no interface `{interface}`; it exports {}", list_names(.exports))]
    Interface {
        /// The module that lacks the interface.
        module: ModuleName,
        /// The interface's name in the function path.
        interface: String,
        /// The names of the module's exports.
        exports: Vec<String>,
    },
    /// The module's world itself exports no function of that name.
    #[error("the world of module `{module}` exports no function `{function}` itself; it exports {}", list_names(.exports))]
    WorldFunction {
        /// The module that lacks the function.
        module: ModuleName,
        /// The function's name in the function path.
        function: String,
        /// The names of the functions and interfaces that the module exports.
        exports: Vec<String>,
    },
    /// Several exported interfaces match the interface's name in the path.
    #[error("module `{module}` exports several interfaces named `{interface}`: {}", list_names(.exports))]
    Ambiguous {
        /// The module with several matching interfaces.
        module: ModuleName,
        /// The interface's name in the function path.
        interface: String,
        /// The names of the matching exports.
        exports: Vec<String>,
    },
    /// The interface has no function of that name.
    #[error("interface `{interface}` has no function `{function}`; it has {}", list_names(.functions))]
    Function {
        /// The interface that lacks the function.
        interface: InterfaceName,
        /// The function's name in the function path.
        function: String,
        /// The names of the interface's functions.
        functions: Vec<String>,
    },
}

/// The result of building the graph of an application.
pub struct BuildOutcome {
    /// The graph of the application. It is complete only if there are no problems and every module has its component.
    pub graph: AppGraph,
    /// Everything that is wrong with the application.
    pub problems: Vec<Problem>,
}

impl AppGraph {
    /// Resolves the imports of the configured modules and places the modules in compartments.
    ///
    /// `artifacts` maps each module to its component. A module without a component is left out without a problem: the
    /// caller has reported the unreadable file already, and one unreadable file must not hide other problems.
    pub fn build(config: &AppConfig, artifacts: &BTreeMap<ModuleName, Arc<Artifact>>) -> BuildOutcome {
        let (offers, mut problems) = Offers::of(&config.capabilities);
        let modules: BTreeMap<ModuleName, Node> = artifacts
            .iter()
            .filter_map(|(name, artifact)| {
                let module = config.modules.get(name)?;
                Some((
                    name.clone(),
                    imports::resolve(name, module, artifact, config, &offers, artifacts, &mut problems),
                ))
            })
            .collect();
        origins::check(config, &modules, &mut problems);
        let before = problems.len();
        let order = order::instantiation_order(config, &modules, &mut problems);
        let acyclic = problems.len() == before;
        let compartments = place::place(config, &modules, &order, acyclic, &mut problems);
        for compartment in &compartments {
            types::check(config, &modules, compartment, &mut problems);
        }
        BuildOutcome { graph: AppGraph { app: config.name.clone(), modules, compartments }, problems }
    }

    /// Returns the index of the compartment that holds `module`. `None` only if there were problems.
    pub fn compartment_of(&self, module: &ModuleName) -> Option<usize> {
        home(&self.compartments, module)
    }

    /// Iterates over the modules that have a database, with their nodes.
    pub fn modules_with_database(&self) -> impl Iterator<Item = (&ModuleName, &Node)> {
        self.modules.iter().filter(|(_, node)| node.has_database)
    }

    /// Returns how the host carries a call from `caller` to `callee`.
    pub fn edge(&self, caller: &ModuleName, callee: &ModuleName) -> EdgeKind {
        if self.compartment_of(caller) == self.compartment_of(callee) { EdgeKind::Fused } else { EdgeKind::Bridged }
    }

    /// Finds an exported function by its path: module, interface and function.
    ///
    /// # Errors
    ///
    /// Returns [`FunctionNotFound`] if the module, interface or function does not exist, or if several interfaces match.
    pub fn find(&self, path: &FunctionPath) -> Result<FoundFunction<'_>, FunctionNotFound> {
        let node = self.modules.get(&path.module).ok_or_else(|| FunctionNotFound::Module {
            name: path.module.clone(),
            modules: self.modules.keys().map(ToString::to_string).collect(),
        })?;
        find_function(&path.module, &node.artifact.shape.exports, &path.interface, &path.function)
    }
}

/// Finds the export that `reference` names. [`InterfaceName::matches_reference`] decides whether an interface's name matches.
///
/// If several versions match, the rule for imports applies: the version that `reference` names is chosen, or else the newest version if it
/// is compatible with all others.
///
/// # Errors
///
/// The names of the exports that match, if none of them is chosen. They are empty if no export matches.
pub fn referred<'a>(
    exports: impl Iterator<Item = (&'a InterfaceName, &'a Interface)>,
    reference: &str,
) -> Result<(&'a InterfaceName, &'a Interface), Vec<&'a InterfaceName>> {
    let goes_by = |(name, export): &(&InterfaceName, &Interface)| {
        name.matches_reference(reference) || export.identity(name).matches_reference(reference)
    };
    let candidates: Vec<_> = exports.filter(goes_by).collect();
    let is_named = |name: &InterfaceName| {
        reference == name.as_str()
            || reference.split_once('@').is_some_and(|(short, v)| short == name.short() && name.version() == Some(v))
    };
    let named: Vec<_> = candidates.iter().filter(|(name, _)| is_named(name)).collect();
    let newest = candidates.iter().max_by(|(a, _), (b, _)| a.compare_versions(b));
    let newest = newest.filter(|(newest, _)| candidates.iter().all(|(name, _)| newest.can_serve(name)));
    let chosen = if let [only] = named.as_slice() { Some(*only) } else { newest };
    chosen.copied().ok_or_else(|| candidates.iter().map(|(name, _)| *name).collect())
}

/// Finds a function among a module's exports. [`referred`] says which interface is meant.
pub(crate) fn find_function<'a>(
    module: &ModuleName,
    exports: &'a BTreeMap<InterfaceName, Interface>,
    interface: &str,
    function: &str,
) -> Result<FoundFunction<'a>, FunctionNotFound> {
    let all_exports = || {
        let functions =
            exports.get(&InterfaceName::world()).into_iter().flat_map(|world| world.functions.keys().cloned());
        functions.chain(exports.keys().filter(|name| !name.is_world()).map(ToString::to_string)).collect::<Vec<_>>()
    };
    if interface.is_empty() {
        let world = exports.get_key_value(&InterfaceName::world());
        let found = world.and_then(|(name, world)| Some((name, world.functions.get(function)?)));
        return found.map(|(interface, function)| FoundFunction { interface, function }).ok_or_else(|| {
            FunctionNotFound::WorldFunction {
                module: module.clone(),
                function: function.to_owned(),
                exports: all_exports(),
            }
        });
    }
    let (name, found) = referred(exports.iter(), interface).map_err(|several| {
        let several: Vec<String> = several.into_iter().map(ToString::to_string).collect();
        let (module, interface) = (module.clone(), interface.to_owned());
        if several.is_empty() {
            FunctionNotFound::Interface { module, interface, exports: all_exports() }
        } else {
            FunctionNotFound::Ambiguous { module, interface, exports: several }
        }
    })?;
    match found.functions.get(function) {
        Some(function) => Ok(FoundFunction { interface: name, function }),
        None => Err(FunctionNotFound::Function {
            interface: name.clone(),
            function: function.to_owned(),
            functions: found.functions.keys().cloned().collect(),
        }),
    }
}
