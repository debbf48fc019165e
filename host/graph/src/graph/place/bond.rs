//! Properties of a call that force its two modules into one compartment, or into two.
//!
//! A handle can't leave a store, nor can a stream or future with items that the host can't relay. Then caller and callee share a
//! compartment. A type with very many parts can't pass within a compartment, so caller and callee are in different ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Node;
use watertight_component::shape::{Interface, Type};
use watertight_model::ids::{InterfaceName, ModuleName};

/// The most cases, fields or items that one type may have in a call within a compartment.
///
/// Wasmtime 50 generates an adapter for such a call (`fact/trampoline.rs`). It moves the translation of a type whose cost
/// exceeds 1,000 into a helper function, and a helper has the same bound. A single type above the bound makes the helper
/// call itself without end.
pub(super) const MAX_FUSED_PARTS: usize = 1_000;

/// A part of an interface that a call can't carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsupportedPart<'a> {
    /// The function that has the part. `None` means that the part belongs to the interface as a whole.
    pub(super) function: Option<&'a str>,
    /// The path to the part in a type, such as `draft.lines[]`. `None` means the function or the interface itself.
    pub(super) path: Option<String>,
    /// The reason why a call can't carry the part, as the rest of a sentence that begins with "it".
    pub(super) why: String,
}

/// Lists everything in an interface that can't pass from one compartment to another.
pub(super) fn across(interface: &Interface) -> Vec<UnsupportedPart<'_>> {
    let mut found = Vec::new();
    for (name, function) in &interface.functions {
        if let Some((path, ty)) = function.find_part(belongs_to_a_store) {
            let why = format!("it carries `{ty}`{}", unrelayed(ty));
            found.push(UnsupportedPart { function: Some(name), path: Some(path), why });
        }
    }
    if !found.is_empty() {
        return found;
    }
    // If no function carries a handle, the interface may still name a resource that no function passes.
    let named = interface.types.iter().find_map(|(name, ty)| ty.find_part(name.clone(), belongs_to_a_store));
    if let Some((path, ty)) = named {
        found.push(UnsupportedPart {
            function: None,
            path: Some(path),
            why: format!("it names `{ty}`{}", unrelayed(ty)),
        });
    } else if let Some(resource) = interface.resources.first() {
        found.push(UnsupportedPart { function: None, path: None, why: format!("it has the resource `{resource}`") });
    }
    found
}

/// Lists everything in an interface that can't pass between two modules of one compartment.
pub(super) fn within(interface: &Interface) -> Vec<UnsupportedPart<'_>> {
    let mut found = Vec::new();
    for (name, function) in &interface.functions {
        if let Some((path, ty)) = function.find_part(|ty| parts(ty) > MAX_FUSED_PARTS) {
            found.push(UnsupportedPart {
                function: Some(name),
                path: Some(path),
                why: format!("it carries {}", describe_type(ty)),
            });
        }
    }
    found
}

/// A call of one module to another, with the reason why both are in one compartment or in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementConstraint {
    /// The module that calls.
    pub caller: ModuleName,
    /// The module that is called.
    pub callee: ModuleName,
    /// The interface's name in the caller's imports.
    pub import: InterfaceName,
    /// The reason why the call constrains the two modules, as the rest of a sentence that begins with "it".
    pub why: String,
}

/// All calls of an application that constrain the placement of their modules.
pub(super) struct PlacementConstraints<'a> {
    modules: &'a BTreeMap<ModuleName, Node>,
    /// The calls whose two modules must share a compartment.
    ties: Vec<PlacementConstraint>,
    /// The calls whose two modules must be in different compartments.
    separations: Vec<PlacementConstraint>,
}

impl<'a> PlacementConstraints<'a> {
    pub(super) fn of(modules: &'a BTreeMap<ModuleName, Node>) -> Self {
        let (mut ties, mut separations) = (Vec::new(), Vec::new());
        for (caller, node) in modules {
            for (import, provider) in &node.calls {
                let interface = &node.artifact.shape.imports[import];
                let bond = |found: &UnsupportedPart<'_>| PlacementConstraint {
                    caller: caller.clone(),
                    callee: provider.module.clone(),
                    import: import.clone(),
                    why: found.why.clone(),
                };
                ties.extend(across(interface).first().map(bond));
                separations.extend(within(interface).first().map(bond));
            }
        }
        Self { modules, ties, separations }
    }

    /// Returns what `module` imports under the name `import`.
    pub(super) fn interface(&self, module: &ModuleName, import: &InterfaceName) -> Option<&'a Interface> {
        self.modules.get(module)?.artifact.shape.imports.get(import)
    }

    /// Iterates over the calls between modules of `all` that can't leave a compartment, as far as their caller or callee is in `modules`.
    pub(super) fn ties_of(
        &self,
        modules: &BTreeSet<ModuleName>,
        all: &BTreeSet<ModuleName>,
    ) -> impl Iterator<Item = &PlacementConstraint> {
        let concerns = |tie: &&PlacementConstraint| modules.contains(&tie.caller) || modules.contains(&tie.callee);
        among(&self.ties, all).filter(concerns)
    }

    /// Iterates over the calls among `modules` that can't stay within a compartment.
    pub(super) fn rifts_in(&self, modules: &BTreeSet<ModuleName>) -> impl Iterator<Item = &PlacementConstraint> {
        among(&self.separations, modules)
    }

    /// Extends `start` by all modules that must share a compartment with one of its modules. Only modules for which `may`
    /// holds are added.
    pub(super) fn tied(
        &self,
        mut start: BTreeSet<ModuleName>,
        may: impl Fn(&ModuleName) -> bool,
    ) -> BTreeSet<ModuleName> {
        loop {
            let ends = self.ties.iter().flat_map(|tie| {
                let (caller, callee) = (start.contains(&tie.caller), start.contains(&tie.callee));
                let next = if caller { &tie.callee } else { &tie.caller };
                (caller != callee && may(next)).then(|| next.clone())
            });
            let more: Vec<ModuleName> = ends.collect();
            if more.is_empty() {
                return start;
            }
            start.extend(more);
        }
    }

    /// Extends `start` by all modules that its modules call, directly or indirectly, and by all modules that must share a compartment with
    /// those. Only modules for which `may` holds are added.
    pub(super) fn called(
        &self,
        mut start: BTreeSet<ModuleName>,
        may: impl Fn(&ModuleName) -> bool,
    ) -> BTreeSet<ModuleName> {
        loop {
            let before = start.len();
            let callees =
                start.iter().filter_map(|module| self.modules.get(module)).flat_map(|node| node.calls.values());
            let callees: Vec<ModuleName> =
                callees.map(|provider| provider.module.clone()).filter(|module| may(module)).collect();
            start.extend(callees);
            start = self.tied(start, &may);
            if start.len() == before {
                return start;
            }
        }
    }

    /// Extends `start` by all modules that must share its compartment: those that can't be separated from one of its modules, and modules
    /// on a path of calls from one of its modules to another.
    pub(super) fn closure(&self, mut start: BTreeSet<ModuleName>) -> BTreeSet<ModuleName> {
        loop {
            let before = start.len();
            start = self.tied(start, |_| true);
            let called = self.reach(&start, |from| {
                self.modules
                    .get(from)
                    .into_iter()
                    .flat_map(|node| node.calls.values())
                    .map(|p| p.module.clone())
                    .collect()
            });
            let calling = self.reach(&start, |to| {
                let calls = |node: &Node| node.calls.values().any(|provider| provider.module == *to);
                self.modules.iter().filter(|(_, node)| calls(node)).map(|(from, _)| from.clone()).collect()
            });
            start.extend(called.intersection(&calling).cloned());
            if start.len() == before {
                return start;
            }
        }
    }

    /// Returns the modules that are reached from `start` in one or more steps. `step` returns the modules one step from a module.
    fn reach(
        &self,
        start: &BTreeSet<ModuleName>,
        step: impl Fn(&ModuleName) -> Vec<ModuleName>,
    ) -> BTreeSet<ModuleName> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<ModuleName> = start.iter().flat_map(&step).collect();
        while let Some(module) = open.pop() {
            if reached.insert(module.clone()) {
                open.extend(step(&module));
            }
        }
        reached
    }

    /// Whether one compartment can hold these modules.
    pub(super) fn fit(&self, modules: &BTreeSet<ModuleName>) -> bool {
        self.rifts_in(modules).next().is_none()
    }
}

/// Iterates over the calls in `bonds` whose caller and callee are both in `modules`.
fn among<'b>(
    bonds: &'b [PlacementConstraint],
    modules: &BTreeSet<ModuleName>,
) -> impl Iterator<Item = &'b PlacementConstraint> {
    bonds.iter().filter(|bond| modules.contains(&bond.caller) && modules.contains(&bond.callee))
}

/// Whether a value of the type is meaningful only in its own store: the host can't relay it to another.
fn belongs_to_a_store(ty: &Type) -> bool {
    match ty {
        Type::Own(_) | Type::Borrow(_) | Type::ErrorContext => true,
        Type::Stream(Some(item)) | Type::Future(Some(item)) => !item.is_relayed(),
        _ => false,
    }
}

/// Continues a message about a type that belongs to a store: names the items that a stream or future can't have. Empty for other types.
fn unrelayed(ty: &Type) -> String {
    match ty {
        Type::Stream(Some(item)) => format!(", and the items of a stream between compartments can't be `{item}`"),
        Type::Future(Some(value)) => format!(", and the value of a future between compartments can't be `{value}`"),
        _ => String::new(),
    }
}

/// Counts the parts of a type's outermost layer: fields, cases or items.
fn parts(ty: &Type) -> usize {
    match ty {
        Type::Record(record) => record.body.len(),
        Type::Variant(variant) => variant.body.len(),
        Type::Enum(cases) => cases.body.len(),
        Type::Tuple(types) => types.len(),
        Type::FixedList(_, length) => *length as usize,
        // A flags type has at most 32 flags and passes as one number.
        _ => 0,
    }
}

/// Describes a type with many parts for a message.
fn describe_type(ty: &Type) -> String {
    let count = parts(ty);
    match ty {
        Type::Record(record) => format!("the record `{}` of {count} fields", record.name),
        Type::Variant(variant) => format!("the variant `{}` of {count} cases", variant.name),
        Type::Enum(cases) => format!("the enum `{}` of {count} cases", cases.name),
        _ => format!("a type of {count} items"),
    }
}
