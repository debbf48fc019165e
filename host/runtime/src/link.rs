//! From a compartment on paper to code that can be instantiated: compose, compile, define the host's side and the bridges to other
//! compartments, find the exports.
//!
//! Linking decides nothing: what serves what was settled by the graph. If it fails all the same, the types that only Wasmtime checks
//! (WASI's own) don't fit.

mod bridge;
mod compose;
mod fused;
mod identity;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::capability;
use crate::store::{InstanceState, ModuleIndex};
use watertight_component::profile::Profile;
use watertight_engine::compile::{CompileError, Compiler};
use watertight_graph::graph::{AppGraph, Compartment};
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, with_causes};

pub use compose::{Bridged, Composition, compose};
pub use fused::{FusedCalls, Stop};
pub use identity::identity;

/// An exported function of a compartment, by its place in the compartment's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionIndex(pub u32);

/// A function of an application: its module, the interface as that exports it, and its name there.
pub type FunctionName = (ModuleName, InterfaceName, String);

/// A function that can be called from outside its compartment.
pub struct Export {
    /// Where it is in an instance.
    pub index: ComponentExportIndex,
    /// Whether it returns a value.
    pub returns: bool,
    /// Whose it is.
    pub module: ModuleIndex,
}

/// A compartment's code with everything that it imports. It belongs to no generation: clones share the code.
#[derive(Clone)]
pub struct Linked {
    /// What it was linked from.
    pub identity: Digest,
    /// Ready to be instantiated.
    pub pre: InstancePre<InstanceState>,
    /// The profile that it was compiled for.
    pub profile: Profile,
    /// Whether the code was in the cache.
    pub cached: bool,
    /// The file of the cache that has the code.
    pub code: Arc<Path>,
    /// The functions that can be called, each at its [`FunctionIndex`].
    pub exports: Arc<[Export]>,
    /// What its modules call in other compartments, each at its [`BridgeIndex`](crate::store::BridgeIndex).
    pub bridges: Vec<FunctionName>,
    /// What each of its modules calls within the compartment, by the module's place.
    pub fused: Arc<[FusedCalls]>,
    functions: Arc<HashMap<FunctionName, FunctionIndex>>,
}

/// Why a compartment can't be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The components don't fit together.
    #[error("the modules of compartment `{compartment}` can't be composed: {reason}")]
    Compose {
        /// Which.
        compartment: String,
        /// Why.
        reason: String,
    },
    /// The composition doesn't compile.
    #[error("compartment `{compartment}`, with {modules}, can't be compiled")]
    Compile {
        /// Which.
        compartment: String,
        /// The modules in it, in words.
        modules: String,
        /// Why.
        source: CompileError,
    },
    /// The host doesn't have what the composition imports.
    #[error("the host can't serve what compartment `{compartment}` imports")]
    Imports {
        /// Which.
        compartment: String,
        /// What Wasmtime says of it.
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

/// Links one compartment. Blocks, for as long as compiling takes where its code isn't known.
pub fn link(graph: &AppGraph, compartment: &Compartment, compiler: &Compiler) -> Result<Linked, LinkError> {
    let name = || compartment.name.to_string();
    let composition =
        compose(graph, compartment).map_err(|reason| LinkError::Compose { compartment: name(), reason })?;
    let profile = compartment.profile;
    let uncompiled =
        |source| LinkError::Compile { compartment: name(), modules: compartment.modules_in_words(), source };
    let compiled = compiler.compile(&composition.bytes, profile).map_err(uncompiled)?;
    let engine = compiler.engines().get(profile).map_err(CompileError::from).map_err(uncompiled)?;
    let (pre, bridges) = define_imports(&engine, graph, &compiled.component, &composition)
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
    component: &Component,
    composition: &Composition,
) -> wasmtime::Result<(InstancePre<InstanceState>, Vec<FunctionName>)> {
    let mut linker = Linker::new(engine);
    let owner = |import: &str| composition.owners.get(import).copied();
    capability::add_to_linker(&mut linker, component, owner)?;
    let bridges = bridge::add_to_linker(&mut linker, graph, composition)?;
    Ok((linker.instantiate_pre(component)?, bridges))
}

type Exports = (Arc<[Export]>, HashMap<FunctionName, FunctionIndex>);

/// Every function that can be called from outside: the plain ones of all exported interfaces. Methods need a handle, and no handle
/// leaves a compartment.
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
        let owner = module_index(owner.expect("a composition has its compartment's modules"));
        for (name, function) in shape.functions.iter().filter(|(name, _)| !name.starts_with('[')) {
            if let Some(index) = component.get_export_index(Some(&instance), name.as_str()) {
                let place = FunctionIndex(u32::try_from(exports.len()).expect("a component has fewer exports"));
                exports.push(Export { index, returns: function.result.is_some(), module: owner });
                functions.insert((module.clone(), interface.clone(), name.clone()), place);
            }
        }
    }
    (exports.into(), functions)
}

impl Linked {
    /// Every function that can be called, by module, exported interface and name.
    pub fn functions(&self) -> impl Iterator<Item = (&FunctionName, FunctionIndex)> {
        self.functions.iter().map(|(name, place)| (name, *place))
    }
}

/// The place of each module in its compartment.
pub(crate) fn module_index(place: usize) -> ModuleIndex {
    ModuleIndex(u16::try_from(place).expect("a compartment holds fewer than 65,536 modules"))
}
