//! The application as a graph: which module's import is served by whom. A pure value: building it reads no file, compiles nothing
//! and runs nothing, so that a refusal costs nothing and tests need only shapes.
//!
//! A graph without problems is complete, acyclic, type-checked and granted (invariant 4); [`AppGraph::build`] returns every problem
//! that there is, together.

mod imports;
mod order;
mod place;
mod provided;
pub mod render;
mod types;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use watertight_component::artifact::Artifact;
use watertight_component::profile::{self, Profile};
use watertight_component::shape::{Function, Interface};
use watertight_model::config::{AppConfig, Capability, Instances, Limits};
use watertight_model::ids::{AppName, CompartmentName, FunctionPath, InterfaceName, ModuleName};
use watertight_model::problem::{Problem, list};

pub use place::{Bond, Reason};
pub use provided::{RESUME, is_called_by_host, is_for_hosts, served_as};

/// A whole application, linked on paper.
#[derive(Debug, Clone)]
pub struct AppGraph {
    /// The application's name.
    pub app: AppName,
    /// Its modules.
    pub modules: BTreeMap<ModuleName, Node>,
    /// Where they stand, by name; every module is in exactly one.
    pub compartments: Vec<Compartment>,
}

/// A module in the graph.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its component.
    pub artifact: Arc<Artifact>,
    /// Its imports that another module serves.
    pub calls: BTreeMap<InterfaceName, Provider>,
    /// Its imports that the host serves in the module's own name, each with the grant that it takes.
    pub capabilities: BTreeMap<InterfaceName, Option<Capability>>,
    /// Its imports that the host serves to whoever asks, because they carry no authority: the clocks, random bytes, and the rest of
    /// WASI, which is there and empty; and requests to other hosts, since only one module of a store can import those.
    pub ambient: BTreeSet<InterfaceName>,
    /// The capabilities that the manifest grants.
    pub granted: BTreeSet<Capability>,
    /// How often it is asked to resume while the host serves, where it exports that; none where starts alone ask it.
    pub resume: Option<Duration>,
}

impl Node {
    /// Whether it has a database.
    pub fn keeps_data(&self) -> bool {
        self.granted.iter().any(|capability| capability.keeps_data())
    }

    /// What of its imports would be one and the same for all modules of a compartment, so that only one of them can have it.
    pub fn merging(&self) -> Option<&InterfaceName> {
        self.ambient.iter().find(|import| provided::merges_by_name(import))
    }

    /// Whether it asks other hosts.
    fn asks_hosts(&self) -> bool {
        self.ambient.iter().any(|import| import.package() == "wasi:http")
    }
}

/// Who serves an import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provider {
    /// The module.
    pub module: ModuleName,
    /// The interface as that module exports it: of the imported version or a newer compatible one.
    pub export: InterfaceName,
}

/// Modules that share one store per call.
#[derive(Debug, Clone)]
pub struct Compartment {
    /// Its name.
    pub name: CompartmentName,
    /// Its modules, in the order in which they can be instantiated: a provider stands before its callers.
    pub modules: Vec<ModuleName>,
    /// How its instances live.
    pub instances: Instances,
    /// What its calls may use.
    pub limits: Limits,
    /// Why it is there and holds these modules.
    pub reason: Reason,
    /// What kind of engine runs it.
    pub profile: Profile,
    /// Why that one.
    pub profile_reason: profile::Reason,
}

impl Compartment {
    /// Its modules, for a sentence: "module `a`", "modules `a`, `b`".
    pub fn modules_in_words(&self) -> String {
        let names: Vec<String> = self.modules.iter().map(|module| format!("`{module}`")).collect();
        format!("module{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
    }
}

/// How a call gets from one module to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeKind {
    /// Within a compartment: a function call, with no host code in it.
    Fused,
    /// Between compartments: the host carries the values from one store to another.
    Bridged,
}

impl EdgeKind {
    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Bridged => "bridged",
        }
    }
}

/// The place of the compartment that holds `module`.
fn home(compartments: &[Compartment], module: &ModuleName) -> Option<usize> {
    compartments.iter().position(|compartment| compartment.modules.contains(module))
}

/// A function that was found by its path.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The interface as the module exports it.
    pub interface: &'a InterfaceName,
    /// The function.
    pub function: &'a Function,
}

/// Why a path names no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// There is no such module.
    #[error("there is no module `{name}`; the application's modules are {}", list(.modules))]
    Module {
        /// What was asked for.
        name: ModuleName,
        /// What there is.
        modules: Vec<String>,
    },
    /// The module exports no such interface.
    #[error("module `{module}` exports no interface `{interface}`; it exports {}", list(.exports))]
    Interface {
        /// The module.
        module: ModuleName,
        /// What was asked for.
        interface: String,
        /// What there is.
        exports: Vec<String>,
    },
    /// The module's world exports no such function itself.
    #[error("the world of module `{module}` exports no function `{function}` itself; it exports {}", list(.exports))]
    WorldFunction {
        /// The module.
        module: ModuleName,
        /// What was asked for.
        function: String,
        /// What there is: functions and interfaces.
        exports: Vec<String>,
    },
    /// Several exported interfaces go by that name.
    #[error("module `{module}` exports several interfaces named `{interface}`: {}", list(.exports))]
    Ambiguous {
        /// The module.
        module: ModuleName,
        /// What was asked for.
        interface: String,
        /// The candidates.
        exports: Vec<String>,
    },
    /// The interface has no such function.
    #[error("interface `{interface}` has no function `{function}`; it has {}", list(.functions))]
    Function {
        /// The interface.
        interface: InterfaceName,
        /// What was asked for.
        function: String,
        /// What there is.
        functions: Vec<String>,
    },
}

/// What came of linking on paper.
pub struct Outcome {
    /// The graph; whole only where there are no problems, and every module has its component.
    pub graph: AppGraph,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl AppGraph {
    /// Links the configured modules on paper. `artifacts` has the component of each; a module without one was reported with the file
    /// and is left out quietly, so that one unreadable file doesn't hide what else is wrong.
    pub fn build(config: &AppConfig, artifacts: &BTreeMap<ModuleName, Arc<Artifact>>) -> Outcome {
        let mut problems = Vec::new();
        let modules: BTreeMap<ModuleName, Node> = artifacts
            .iter()
            .filter_map(|(name, artifact)| {
                let module = config.modules.get(name)?;
                Some((name.clone(), imports::resolve(name, module, artifact, config, artifacts, &mut problems)))
            })
            .collect();
        let before = problems.len();
        let order = order::instantiation_order(config, &modules, &mut problems);
        let acyclic = problems.len() == before;
        let compartments = place::place(config, &modules, &order, acyclic, &mut problems);
        for compartment in &compartments {
            types::check(config, &modules, compartment, &mut problems);
        }
        Outcome { graph: AppGraph { app: config.name.clone(), modules, compartments }, problems }
    }

    /// The place of a module's compartment. None only where there were problems.
    pub fn home(&self, module: &ModuleName) -> Option<usize> {
        home(&self.compartments, module)
    }

    /// The modules that have a database.
    pub fn with_data(&self) -> impl Iterator<Item = (&ModuleName, &Node)> {
        self.modules.iter().filter(|(_, node)| node.keeps_data())
    }

    /// How `caller` calls `callee`.
    pub fn edge(&self, caller: &ModuleName, callee: &ModuleName) -> EdgeKind {
        if self.home(caller) == self.home(callee) { EdgeKind::Fused } else { EdgeKind::Bridged }
    }

    /// Finds an exported function by its path.
    pub fn find(&self, path: &FunctionPath) -> Result<Found<'_>, NotFound> {
        let node = self.modules.get(&path.module).ok_or_else(|| NotFound::Module {
            name: path.module.clone(),
            modules: self.modules.keys().map(ToString::to_string).collect(),
        })?;
        find_function(&path.module, &node.artifact.shape.exports, &path.interface, &path.function)
    }
}

/// Finds a function among a module's exports by the name that its interface [goes by](InterfaceName::goes_by). Of several versions it is
/// what an import would be served by: the very one that is named, or else the newest, where that serves what all others do.
pub(crate) fn find_function<'a>(
    module: &ModuleName,
    exports: &'a BTreeMap<InterfaceName, Interface>,
    interface: &str,
    function: &str,
) -> Result<Found<'a>, NotFound> {
    let all_exports = || {
        let functions =
            exports.get(&InterfaceName::world()).into_iter().flat_map(|world| world.functions.keys().cloned());
        functions.chain(exports.keys().filter(|name| !name.is_world()).map(ToString::to_string)).collect::<Vec<_>>()
    };
    if interface.is_empty() {
        let world = exports.get_key_value(&InterfaceName::world());
        let found = world.and_then(|(name, world)| Some((name, world.functions.get(function)?)));
        return found.map(|(interface, function)| Found { interface, function }).ok_or_else(|| {
            NotFound::WorldFunction { module: module.clone(), function: function.to_owned(), exports: all_exports() }
        });
    }
    let goes_by = |(name, export): &(&InterfaceName, &Interface)| {
        name.goes_by(interface) || export.identity(name).goes_by(interface)
    };
    let candidates: Vec<_> = exports.iter().filter(goes_by).collect();
    let is_named = |name: &InterfaceName| {
        interface == name.as_str()
            || interface.split_once('@').is_some_and(|(short, v)| short == name.short() && name.version() == Some(v))
    };
    let named: Vec<_> = candidates.iter().filter(|(name, _)| is_named(name)).collect();
    let newest = candidates.iter().max_by(|(a, _), (b, _)| a.compare_versions(b));
    let newest = newest.filter(|(newest, _)| candidates.iter().all(|(name, _)| newest.serves(name)));
    let chosen = if let [only] = named.as_slice() { Some(*only) } else { newest };
    let Some(&(name, found)) = chosen else {
        let several: Vec<String> = candidates.iter().map(|(name, _)| name.to_string()).collect();
        let (module, interface) = (module.clone(), interface.to_owned());
        return Err(if several.is_empty() {
            NotFound::Interface { module, interface, exports: all_exports() }
        } else {
            NotFound::Ambiguous { module, interface, exports: several }
        });
    };
    match found.functions.get(function) {
        Some(function) => Ok(Found { interface: name, function }),
        None => Err(NotFound::Function {
            interface: name.clone(),
            function: function.to_owned(),
            functions: found.functions.keys().cloned().collect(),
        }),
    }
}
