//! Turns a compartment of the graph into code that can be instantiated. The steps: compose the modules' components into one, compile it,
//! define the host functions and the bridges to other compartments, and find the exports.
//!
//! Linking makes no decisions: the graph has already resolved every import. Linking can still fail, because only Wasmtime checks the
//! types of WASI.

mod bridge;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use watertight_component::profile::Profile;
use watertight_component::shape::Type;
use watertight_engine::compile::{CompileError, Compiler};
use watertight_graph::graph::{AppGraph, Compartment};
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, with_causes};
use watertight_store::capability::Capabilities;
use watertight_store::{InstanceState, ModuleIndex, module_index};

pub use watertight_compose::{BridgedImport, CodePosition, Composition, FusedCalls, ImportedCall, compose, identity};

/// The index of an exported function in its compartment's table of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionIndex(pub u32);

/// The full name of a function: its module, the interface as the module exports it, and the function's name in the interface.
pub type FunctionName = (ModuleName, InterfaceName, String);

/// A function that can be called from outside its compartment.
pub struct Export {
    /// The interface and the name of the function, or only its name if it is in no interface: for messages.
    pub name: Box<str>,
    /// The function's export in the compartment's composed component, as Wasmtime finds it in an instance.
    pub index: ComponentExportIndex,
    /// Whether the function returns a value.
    pub returns: bool,
    /// The type of that value.
    pub result: Option<Type>,
    /// The module that exports the function.
    pub module: ModuleIndex,
}

/// The linked code of a compartment, with its imports defined. It belongs to no generation; clones share the code.
#[derive(Clone)]
pub struct Linked {
    /// The digest of everything that the code was linked from. See [`identity()`].
    pub identity: Digest,
    /// The compiled component of the compartment with all imports resolved, ready to be instantiated.
    pub pre: InstancePre<InstanceState>,
    /// The engine profile that the code was compiled for.
    pub profile: Profile,
    /// Whether the compiled code came from the cache.
    pub cached: bool,
    /// The cache file that holds the compiled code.
    pub code: Arc<Path>,
    /// The functions that can be called from outside, in the order of their [`FunctionIndex`].
    pub exports: Arc<[Export]>,
    /// The functions of other compartments that the modules call, in the order of their [`BridgeIndex`](watertight_store::BridgeIndex).
    pub bridges: Vec<FunctionName>,
    /// The calls that each module makes within the compartment, in the order of the modules.
    pub fused: Arc<[FusedCalls]>,
    functions: Arc<HashMap<FunctionName, FunctionIndex>>,
}

/// The reason why a compartment cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The components of the compartment do not fit together.
    #[error("the modules of compartment `{compartment}` can't be composed: {reason}")]
    Compose {
        /// The name of the compartment.
        compartment: String,
        /// The reason: an error of `wac-graph`, or of reading a component.
        reason: String,
    },
    /// The composed component of the compartment does not compile.
    #[error("compartment `{compartment}`, with {modules}, can't be compiled")]
    Compile {
        /// The name of the compartment.
        compartment: String,
        /// The compartment's modules, as a text for people.
        modules: String,
        /// The compiler's error.
        source: CompileError,
    },
    /// The host does not define an import of the compartment's composed component, or defines it with another type.
    #[error("the host can't serve the imports of compartment `{compartment}`")]
    Imports {
        /// The name of the compartment.
        compartment: String,
        /// Wasmtime's error.
        source: wasmtime::Error,
    },
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let code = match &error {
            LinkError::Compile { .. } => Code::Compile,
            LinkError::Compose { .. } | LinkError::Imports { .. } => Code::TypeMismatch,
        };
        Problem::new(code, with_causes(&error))
    }
}

/// Links one compartment. Blocks while it compiles, unless the cache has the code.
///
/// # Errors
///
/// Returns [`LinkError`] if the components cannot be composed, the composed component does not compile, or the host does not serve an
/// import.
pub fn link(
    graph: &AppGraph,
    compartment: &Compartment,
    compiler: &Compiler,
    capabilities: &Capabilities,
) -> Result<Linked, LinkError> {
    let name = || compartment.name.to_string();
    let composition =
        compose(graph, compartment).map_err(|reason| LinkError::Compose { compartment: name(), reason })?;
    let profile = compartment.profile;
    let uncompiled =
        |source| LinkError::Compile { compartment: name(), modules: compartment.describe_modules(), source };
    let compiled =
        compiler.naming(&compartment.describe_modules()).compile(&composition.bytes, profile).map_err(uncompiled)?;
    let engine = compiler.engines().get(profile).map_err(CompileError::from).map_err(uncompiled)?;
    let (pre, bridges) = define_imports(&engine, graph, compartment, &compiled.component, &composition, capabilities)
        .map_err(|source| LinkError::Imports { compartment: name(), source })?;
    let (exports, functions) = find_exports(graph, compartment, &compiled.component, &composition);
    let identity = identity(graph, compartment);
    let fused = FusedCalls::of(graph, compartment).into();
    Ok(Linked {
        identity,
        pre,
        profile,
        cached: compiled.cached,
        code: compiled.file,
        exports,
        bridges,
        fused,
        functions: functions.into(),
    })
}

fn define_imports(
    engine: &Engine,
    graph: &AppGraph,
    compartment: &Compartment,
    component: &Component,
    composition: &Composition,
    capabilities: &Capabilities,
) -> wasmtime::Result<(InstancePre<InstanceState>, Vec<FunctionName>)> {
    let mut linker = Linker::new(engine);
    let owner = |import: &str| composition.owners.get(import).copied();
    let has_concurrency = compartment.profile == Profile::Async;
    capabilities.add_to_linker(&mut linker, component, has_concurrency, owner)?;
    let bridges = bridge::add_to_linker(&mut linker, graph, composition)?;
    Ok((linker.instantiate_pre(component)?, bridges))
}

type Exports = (Arc<[Export]>, HashMap<FunctionName, FunctionIndex>);

/// Finds every function that can be called from outside: the free functions of all exported interfaces. Methods are left out, because they
/// need a handle and no handle leaves a compartment.
fn find_exports(
    graph: &AppGraph,
    compartment: &Compartment,
    component: &Component,
    composition: &Composition,
) -> Exports {
    let mut exports = Vec::new();
    let mut functions = HashMap::new();
    for ((module, interface), export) in &composition.exports {
        let Some(instance) = component.get_export_index(None, export.as_str()) else { continue };
        let shape = &graph.modules[module].artifact.shape.exports[interface];
        let owner = compartment.modules.iter().position(|name| name == module);
        let owner = module_index(owner.expect("every module of a composition is in its compartment"));
        for (name, function) in shape.functions.iter().filter(|(name, _)| !name.starts_with('[')) {
            if let Some(index) = component.get_export_index(Some(&instance), name.as_str()) {
                let place = FunctionIndex(u32::try_from(exports.len()).expect("a component has fewer exports"));
                let full = if interface.is_world() { name.clone() } else { format!("{interface}.{name}") };
                let (returns, result) = (function.result.is_some(), function.result.clone());
                exports.push(Export { name: full.into(), index, returns, result, module: owner });
                functions.insert((module.clone(), interface.clone(), name.clone()), place);
            }
        }
    }
    (exports.into(), functions)
}

impl Linked {
    /// Returns every function that can be called from outside, by its full name.
    pub fn functions(&self) -> impl Iterator<Item = (&FunctionName, FunctionIndex)> {
        self.functions.iter().map(|(name, place)| (name, *place))
    }
}
