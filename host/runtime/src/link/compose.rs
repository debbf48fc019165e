//! Composing a compartment's components into one, so that Wasmtime generates adapters between them that copy straight from one
//! module's memory to the other's, and no host code runs in a call.
//!
//! What a module of another compartment serves stays an import of the composition, under a name of the importing module's own. So does
//! an interface that a module imports for its types of values alone: nobody serves it, and what another module calls by the same name
//! may differ.

mod named;
mod outline;
mod own;
mod renamed;
mod world;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use wac_graph::types::{self, Interface, ItemKind, Package, ValueType, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use super::module_index;
use crate::store::ModuleIndex;
use renamed::Renamed;
use watertight_component::shape::{Type, has_type};
use watertight_graph::graph::{AppGraph, Compartment, EdgeKind, Node, Provider, served_as};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::with_causes;

/// A compartment as one component.
pub struct Composition {
    /// The component.
    pub bytes: Vec<u8>,
    /// Whose each import is that the host serves in a module's own name.
    pub owners: HashMap<String, ModuleIndex>,
    /// The imports that modules of other compartments serve, by their name in the component.
    pub bridges: BTreeMap<String, Bridged>,
    /// The name under which the component exports each interface of each module. Two modules may export the same interface.
    pub exports: BTreeMap<(ModuleName, InterfaceName), String>,
}

/// An import that a module of another compartment serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridged {
    /// Who imports it.
    pub caller: ModuleName,
    /// As what.
    pub import: InterfaceName,
    /// Who serves it.
    pub provider: Provider,
}

/// Composes a compartment. The order of its modules is one in which providers stand first.
///
/// Returns the reason where the components don't fit, in `wac-graph`'s words.
pub fn compose(graph: &AppGraph, compartment: &Compartment) -> Result<Composition, String> {
    let mut composer = Composer {
        graph,
        compartment,
        composed: CompositionGraph::new(),
        instances: HashMap::new(),
        renamed: HashMap::new(),
        owners: HashMap::new(),
        bridges: BTreeMap::new(),
        exports: BTreeMap::new(),
    };
    for (place, module) in compartment.modules.iter().enumerate() {
        composer.add(module, &graph.modules[module], module_index(place))?;
    }
    // Wasmtime validates what it compiles.
    let options = EncodeOptions { validate: false, ..EncodeOptions::default() };
    let bytes = composer.composed.encode(options).map_err(|error| with_causes(&error))?;
    let Composer { owners, bridges, exports, .. } = composer;
    Ok(Composition { bytes, owners, bridges, exports })
}

struct Composer<'a> {
    graph: &'a AppGraph,
    compartment: &'a Compartment,
    composed: CompositionGraph,
    instances: HashMap<ModuleName, NodeId>,
    /// The name of the export that stands in for another one, by who imports it and as what.
    renamed: HashMap<(ModuleName, InterfaceName), String>,
    owners: HashMap<String, ModuleIndex>,
    bridges: BTreeMap<String, Bridged>,
    exports: BTreeMap<(ModuleName, InterfaceName), String>,
}

impl<'a> Composer<'a> {
    fn add(&mut self, module: &ModuleName, node: &Node, index: ModuleIndex) -> Result<(), String> {
        let artifact = &node.artifact;
        let bytes =
            named::named(&artifact.bytes, module.as_str()).map_err(|error| format!("module `{module}`: {error}"))?;
        let bytes = renamed::with_exports(bytes, &self.renamed_exports(module, node))
            .map_err(|error| format!("module `{module}`: {error}"))?;
        let bytes = if artifact.shape.exports.contains_key(&InterfaceName::world()) {
            world::with_interface(bytes).map_err(|error| format!("module `{module}`: {error}"))?
        } else {
            bytes
        };
        let package = Package::from_bytes(&format!("module:{module}"), None, bytes, self.composed.types_mut())
            .map_err(|error| format!("module `{module}`: {error:#}"))?;
        let world = package.ty();
        let package = self.composed.register_package(package).map_err(|error| with_causes(&error))?;
        let instance = self.composed.instantiate(package);

        for (number, (import, provider)) in node.calls.iter().enumerate() {
            if self.graph.edge(module, &provider.module) == EdgeKind::Bridged {
                let label = label(index, 'b', number, module, import);
                let ItemKind::Instance(interface) = self.wanted(module, world, import)? else {
                    return Err(format!("module `{module}` imports `{import}` as something else than an interface"));
                };
                let kind = ItemKind::Instance(own::standing_alone(self.composed.types_mut(), interface));
                self.import(module, instance, import, kind, &label)?;
                let bridged = Bridged { caller: module.clone(), import: import.clone(), provider: provider.clone() };
                self.bridges.insert(label, bridged);
                continue;
            }
            let callee = self.instances[&provider.module];
            let renamed = self.renamed.get(&(module.clone(), import.clone()));
            let export = renamed.map_or(provider.export.as_str(), String::as_str);
            let export = self.composed.alias_instance_export(callee, export);
            let export = export.map_err(|error| with_causes(&error))?;
            self.argument(module, instance, import.as_str(), export)?;
        }
        for (number, import) in node.capabilities.keys().enumerate() {
            let label = label(index, 'i', number, module, import);
            let kind =
                self.as_served(self.wanted(module, world, import)?, artifact.shape.imports[import].identity(import));
            self.import(module, instance, import, kind, &label)?;
            self.owners.insert(label, index);
        }
        for (number, (import, interface)) in artifact.shape.imports.iter().enumerate() {
            // A type with a handle is one only together with whoever defines the resource.
            if interface.is_types_only() && !interface.types.values().any(Type::has_handle) {
                let ItemKind::Instance(interface) = self.wanted(module, world, import)? else {
                    return Err(format!("module `{module}` imports `{import}` as something else than an interface"));
                };
                let kind = ItemKind::Instance(own::standing_alone(self.composed.types_mut(), interface));
                self.import(module, instance, import, kind, &label(index, 't', number, module, import))?;
            }
        }
        self.give_types(module, instance, world, index)?;
        for (number, export) in artifact.shape.exports.keys().enumerate() {
            let exported = if export.is_world() { world::WORLD } else { export.as_str() };
            let node = self.composed.alias_instance_export(instance, exported);
            let node = node.map_err(|error| with_causes(&error))?;
            let label = label(index, 'e', number, module, export);
            self.composed.export(node, label.as_str()).map_err(|error| with_causes(&error))?;
            self.exports.insert((module.clone(), export.clone()), label);
        }
        self.instances.insert(module.clone(), instance);
        Ok(())
    }

    /// Gives a module the types that its world defines itself, under names of the module's own: by their plain names, two modules would have
    /// to mean the same type.
    fn give_types(
        &mut self,
        module: &ModuleName,
        instance: NodeId,
        world: WorldId,
        index: ModuleIndex,
    ) -> Result<(), String> {
        let imports = self.composed.types()[world].imports.clone();
        let mut number = 0;
        let mut import = |composed: &mut CompositionGraph, kind: ItemKind| {
            let label = format!("m{}-y{number}-{module}", index.0);
            number += 1;
            composed.import(label, kind).map_err(|error| with_causes(&error))
        };
        // A type that has parts with names of their own needs those to be imported before.
        let mut named = HashMap::new();
        for (name, kind) in &imports {
            let node = match kind {
                ItemKind::Type(types::Type::Value(ValueType::Defined(id))) => {
                    for part in own::named_within(self.composed.types(), *id).into_iter().chain([*id]) {
                        if let Entry::Vacant(free) = named.entry(part) {
                            let kind = ItemKind::Type(types::Type::Value(ValueType::Defined(part)));
                            free.insert(import(&mut self.composed, kind)?);
                        }
                    }
                    named[id]
                }
                ItemKind::Type(types::Type::Value(_)) => import(&mut self.composed, *kind)?,
                _ => continue,
            };
            self.argument(module, instance, name, node)?;
        }
        Ok(())
    }

    /// What `module` must export once more, since callers in this compartment know types of it under other names.
    fn renamed_exports(&mut self, module: &ModuleName, node: &Node) -> Vec<Renamed<'a>> {
        let graph = self.graph;
        let mut all = Vec::new();
        for caller in &self.compartment.modules {
            let shape = &graph.modules[caller].artifact.shape;
            for (import, provider) in graph.modules[caller].calls.iter().filter(|(_, p)| p.module == *module) {
                let (wanted, offered) = (&shape.imports[import], &node.artifact.shape.exports[&provider.export]);
                if !wanted.types_by_structure().all(|(name, ty)| has_type(offered, name, ty)) {
                    let label = format!("watertight-renamed{}", all.len());
                    self.renamed.insert((caller.clone(), import.clone()), label.clone());
                    all.push(Renamed { export: provider.export.as_str(), wanted, label });
                }
            }
        }
        all
    }

    /// What a module wants of an import.
    fn wanted(&self, module: &ModuleName, world: WorldId, import: &InterfaceName) -> Result<ItemKind, String> {
        let kind = self.composed.types()[world].imports.get(import.as_str()).copied();
        kind.ok_or_else(|| format!("module `{module}` has no import `{import}`"))
    }

    /// An import of the host's own, as what the host serves it as: a draft is known there by a later name.
    fn as_served(&mut self, kind: ItemKind, identity: &InterfaceName) -> ItemKind {
        match (kind, served_as(identity)) {
            (ItemKind::Instance(id), Some(served)) if served != identity => {
                let types = self.composed.types_mut();
                let interface = Interface { id: Some(served.to_string()), ..types[id].clone() };
                ItemKind::Instance(types.add_interface(interface))
            }
            _ => kind,
        }
    }

    /// Makes a module's import one of the composition, called `label`.
    fn import(
        &mut self,
        module: &ModuleName,
        instance: NodeId,
        import: &InterfaceName,
        kind: ItemKind,
        label: &str,
    ) -> Result<(), String> {
        let node = self.composed.import(label, kind).map_err(|error| with_causes(&error))?;
        self.argument(module, instance, import.as_str(), node)
    }

    fn argument(
        &mut self,
        module: &ModuleName,
        instance: NodeId,
        import: &str,
        argument: NodeId,
    ) -> Result<(), String> {
        let set = self.composed.set_instantiation_argument(instance, import, argument);
        set.map_err(|error| format!("module `{module}`, import `{import}`: {}", with_causes(&error)))
    }
}

/// A plain name that no other import or export of the composition has: place and number make it so, the names are for people.
fn label(place: ModuleIndex, kind: char, number: usize, module: &ModuleName, interface: &InterfaceName) -> String {
    let interface = if interface.is_world() { "world" } else { interface.short() };
    format!("m{}-{kind}{number}-{module}-{interface}", place.0)
}
