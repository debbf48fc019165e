//! Composes the components of a compartment into one component.
//!
//! In a composed component, Wasmtime generates adapters that copy values straight from one module's memory to another's. No host code runs
//! in such a call.
//!
//! Two kinds of imports stay imports of the composed component, under names that are unique to the importing module. The first kind is what
//! a module of another compartment serves. The second kind is an interface that a module imports only for its value types: nothing serves
//! it, and two modules may mean different types by one name.

mod named;
mod outline;
mod standalone;
mod retyped;
mod world;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use wac_graph::types::{self, Interface, ItemKind, Package, ValueType, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use crate::{ModuleIndex, module_index};
use retyped::ExtraExport;
use watertight_component::shape::{Type, has_type};
use watertight_graph::graph::{AppGraph, Compartment, EdgeKind, Node, Provider};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::with_causes;

/// The composed component of a compartment, with a table of its imports and exports.
pub struct Composition {
    /// The composed component's binary.
    pub bytes: Vec<u8>,
    /// The module that each capability import belongs to, by the import's name in the composed component.
    pub owners: HashMap<String, ModuleIndex>,
    /// The imports that modules of other compartments serve, by the import's name in the composed component.
    pub bridges: BTreeMap<String, BridgedImport>,
    /// The name under which the composed component exports each interface of each module. Two modules may export the same interface.
    pub exports: BTreeMap<(ModuleName, InterfaceName), String>,
}

/// An import that stays an import of the composed component, because a module of another compartment serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgedImport {
    /// The module that imports the interface.
    pub caller: ModuleName,
    /// The interface as the caller imports it.
    pub import: InterfaceName,
    /// The module and export that serve the import.
    pub provider: Provider,
}

/// Composes the components of a compartment. In the compartment, a module must stand after the modules that it calls.
///
/// # Errors
///
/// Returns a text that says why the components do not fit together: `wac-graph`'s error or a fault in a component's bytes.
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
    // Validation is off here because Wasmtime validates the component when it compiles it.
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
    /// The name of the second export that [`retyped`] adds to a module's component for a caller, by the caller and its import.
    renamed: HashMap<(ModuleName, InterfaceName), String>,
    owners: HashMap<String, ModuleIndex>,
    bridges: BTreeMap<String, BridgedImport>,
    exports: BTreeMap<(ModuleName, InterfaceName), String>,
}

impl<'a> Composer<'a> {
    fn add(&mut self, module: &ModuleName, node: &Node, index: ModuleIndex) -> Result<(), String> {
        let artifact = &node.artifact;
        let bytes =
            named::named(&artifact.bytes, module.as_str()).map_err(|error| format!("module `{module}`: {error}"))?;
        let bytes = retyped::with_exports(bytes, &self.renamed_exports(module, node))
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
                let wanted = self.wanted(module, world, import)?;
                self.bridge(module, instance, import, wanted, &label)?;
                let bridged =
                    BridgedImport { caller: module.clone(), import: import.clone(), provider: provider.clone() };
                self.bridges.insert(label, bridged);
                continue;
            }
            let callee = self.instances[&provider.module];
            let renamed = self.renamed.get(&(module.clone(), import.clone()));
            let export = provider.function.as_deref().or(renamed.map(String::as_str));
            let export = export.unwrap_or(provider.export.as_str());
            let export = self.composed.alias_instance_export(callee, export);
            let export = export.map_err(|error| with_causes(&error))?;
            self.argument(module, instance, import.as_str(), export)?;
        }
        for (number, (import, served)) in node.capabilities.iter().enumerate() {
            let label = label(index, 'i', number, module, import);
            let identity = artifact.shape.imports[import].identity(import);
            let kind = self.with_served_name(self.wanted(module, world, import)?, identity, served);
            self.import(module, instance, import, kind, &label)?;
            self.owners.insert(label, index);
        }
        for (number, (import, interface)) in artifact.shape.imports.iter().enumerate() {
            // A type with a handle only has a meaning together with the module that defines the resource.
            if interface.is_types_only() && !interface.types.values().any(Type::has_handle) {
                let ItemKind::Instance(interface) = self.wanted(module, world, import)? else {
                    return Err(format!("module `{module}` imports `{import}` as something other than an interface"));
                };
                let kind = ItemKind::Instance(standalone::standalone(self.composed.types_mut(), interface));
                self.import(module, instance, import, kind, &label(index, 't', number, module, import))?;
            }
        }
        self.import_world_types(module, instance, world, index)?;
        self.export_interfaces(module, node, index, instance, world)?;
        self.instances.insert(module.clone(), instance);
        Ok(())
    }

    /// Exports each interface of a module, in the order of the module's own binary. There, an interface stands after those whose resources its
    /// types contain, as the component model demands.
    fn export_interfaces(
        &mut self,
        module: &ModuleName,
        node: &Node,
        index: ModuleIndex,
        instance: NodeId,
        world: WorldId,
    ) -> Result<(), String> {
        let own = &self.composed.types()[world].exports;
        let exports = node.artifact.shape.exports.keys().enumerate();
        let mut exports: Vec<_> =
            exports.map(|(number, export)| (own.get_index_of(exported_name(export)), number, export)).collect();
        exports.sort_unstable();
        for (_, number, export) in exports {
            let exported = self.composed.alias_instance_export(instance, exported_name(export));
            let exported = exported.map_err(|error| with_causes(&error))?;
            let label = label(index, 'e', number, module, export);
            self.composed.export(exported, label.as_str()).map_err(|error| with_causes(&error))?;
            self.exports.insert((module.clone(), export.clone()), label);
        }
        Ok(())
    }

    /// Supplies the types that a module's world imports outside of any interface. Each gets a name of this module's own: under their plain
    /// names, two modules would have to agree on one type.
    fn import_world_types(
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
        // A type whose parts are named types needs those parts to be imported first.
        let mut named = HashMap::new();
        for (name, kind) in &imports {
            let node = match kind {
                ItemKind::Type(types::Type::Value(ValueType::Defined(id))) => {
                    for part in standalone::named_within(self.composed.types(), *id).into_iter().chain([*id]) {
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

    /// Lists the exports of `module` that need a second export, because a caller in this compartment has other names for their types.
    fn renamed_exports(&mut self, module: &ModuleName, node: &Node) -> Vec<ExtraExport<'a>> {
        let graph = self.graph;
        let mut all = Vec::new();
        for caller in &self.compartment.modules {
            let shape = &graph.modules[caller].artifact.shape;
            for (import, provider) in graph.modules[caller].calls.iter().filter(|(_, p)| p.module == *module) {
                let (wanted, offered) = (&shape.imports[import], &node.artifact.shape.exports[&provider.export]);
                if !wanted.structural_types().all(|(name, ty)| has_type(offered, name, ty)) {
                    let label = format!("watertight-renamed{}", all.len());
                    self.renamed.insert((caller.clone(), import.clone()), label.clone());
                    all.push(ExtraExport { export: provider.export.as_str(), wanted, label });
                }
            }
        }
        all
    }

    /// Returns the type of an import of `module`, as the module's world declares it.
    fn wanted(&self, module: &ModuleName, world: WorldId, import: &InterfaceName) -> Result<ItemKind, String> {
        let kind = self.composed.types()[world].imports.get(import.as_str()).copied();
        kind.ok_or_else(|| format!("module `{module}` has no import `{import}`"))
    }

    /// Gives the type `kind` of a capability import the name `served`, the interface that the host serves for it. For a draft version, that
    /// is the name of another version than the import's own, `identity`.
    fn with_served_name(&mut self, kind: ItemKind, identity: &InterfaceName, served: &InterfaceName) -> ItemKind {
        match kind {
            ItemKind::Instance(id) if served != identity => {
                let types = self.composed.types_mut();
                let interface = Interface { id: Some(served.to_string()), ..types[id].clone() };
                ItemKind::Instance(types.add_interface(interface))
            }
            _ => kind,
        }
    }

    /// Makes a module's import an import of the composed component, with the name `label`.
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

    /// Makes an import that another compartment serves an import of the composed component, with the name `label`. The host defines
    /// interfaces there, so a function becomes an interface with this one function.
    fn bridge(
        &mut self,
        module: &ModuleName,
        instance: NodeId,
        import: &InterfaceName,
        kind: ItemKind,
        label: &str,
    ) -> Result<(), String> {
        let types = self.composed.types_mut();
        let interface = match kind {
            ItemKind::Instance(interface) => interface,
            ItemKind::Func(_) => {
                let exports = std::iter::once((import.to_string(), kind)).collect();
                types.add_interface(Interface { exports, ..Interface::default() })
            }
            _ => return Err(format!("module `{module}` imports `{import}` as neither an interface nor a function")),
        };
        let standalone = ItemKind::Instance(standalone::standalone(types, interface));
        let mut node = self.composed.import(label, standalone).map_err(|error| with_causes(&error))?;
        if let ItemKind::Func(_) = kind {
            let function = self.composed.alias_instance_export(node, import.as_str());
            node = function.map_err(|error| with_causes(&error))?;
        }
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

/// Returns the name under which a module's component has an export, after [`world`] has bundled the functions of its world.
fn exported_name(export: &InterfaceName) -> &str {
    if export.is_world() { world::WORLD } else { export.as_str() }
}

/// Makes a name for an import or export of the composed component. The module's index and `number` make it unique; the rest is for readers.
fn label(place: ModuleIndex, kind: char, number: usize, module: &ModuleName, interface: &InterfaceName) -> String {
    let interface = if interface.is_world() { "world" } else { interface.short() };
    format!("m{}-{kind}{number}-{module}-{interface}", place.0)
}
