//! What keeps the two modules of a call together, or apart.
//!
//! A handle, a stream, a future and an `async func` can't leave a store: whoever passes one shares a compartment with whom it calls. A
//! type with very many parts is the opposite: it can only go from one compartment to another.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Node;
use watertight_component::shape::{Interface, Type};
use watertight_model::ids::{InterfaceName, ModuleName};

/// The most cases, fields or items that one type may have in a call within a compartment.
///
/// Wasmtime 48 generates an adapter for such a call (`fact/trampoline.rs`). It translates what costs more than 1,000 by a helper
/// function, which may cost no more than that either: for a type that alone costs more, the helper calls itself without end.
pub(super) const MAX_FUSED_PARTS: usize = 1_000;

/// What of an interface can't be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uncarried<'a> {
    /// The function, where one is to blame.
    pub(super) function: Option<&'a str>,
    /// The way into its types.
    pub(super) path: Option<String>,
    /// What it is, as the rest of a sentence that begins with "it".
    pub(super) why: String,
}

/// Everything in an interface that can't go from one compartment to another.
pub(super) fn across(interface: &Interface) -> Vec<Uncarried<'_>> {
    let mut found = Vec::new();
    for (name, function) in &interface.functions {
        if function.is_async {
            found.push(Uncarried { function: Some(name), path: None, why: "it is an `async func`".to_owned() });
        } else if let Some((path, ty)) = function.part(belongs_to_a_store) {
            found.push(Uncarried { function: Some(name), path: Some(path), why: format!("it carries `{ty}`") });
        }
    }
    if !found.is_empty() {
        return found;
    }
    // Where no function said it: the caller can name the resource, and nobody gives it.
    let named = interface.types.iter().find_map(|(name, ty)| ty.part(name.clone(), belongs_to_a_store));
    if let Some((path, ty)) = named {
        found.push(Uncarried { function: None, path: Some(path), why: format!("it names `{ty}`") });
    } else if let Some(resource) = interface.resources.first() {
        found.push(Uncarried { function: None, path: None, why: format!("it has the resource `{resource}`") });
    }
    found
}

/// Everything in an interface that can't go between two modules of a compartment.
pub(super) fn within(interface: &Interface) -> Vec<Uncarried<'_>> {
    let mut found = Vec::new();
    for (name, function) in &interface.functions {
        if let Some((path, ty)) = function.part(|ty| parts(ty) > MAX_FUSED_PARTS) {
            found.push(Uncarried {
                function: Some(name),
                path: Some(path),
                why: format!("it carries {}", in_words(ty)),
            });
        }
    }
    found
}

/// A call of one module to another, with what bonds or parts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// Who calls.
    pub caller: ModuleName,
    /// Who is called.
    pub callee: ModuleName,
    /// Through which interface, as the caller imports it.
    pub import: InterfaceName,
    /// What of the interface it is, as the rest of a sentence that begins with "it".
    pub why: String,
}

/// All calls of an application that can't go everywhere.
pub(super) struct Bonds<'a> {
    modules: &'a BTreeMap<ModuleName, Node>,
    /// Calls that can't leave a compartment.
    ties: Vec<Bond>,
    /// Calls that can only leave one.
    rifts: Vec<Bond>,
}

impl<'a> Bonds<'a> {
    pub(super) fn of(modules: &'a BTreeMap<ModuleName, Node>) -> Self {
        let (mut ties, mut rifts) = (Vec::new(), Vec::new());
        for (caller, node) in modules {
            for (import, provider) in &node.calls {
                let interface = &node.artifact.shape.imports[import];
                let bond = |found: &Uncarried<'_>| Bond {
                    caller: caller.clone(),
                    callee: provider.module.clone(),
                    import: import.clone(),
                    why: found.why.clone(),
                };
                ties.extend(across(interface).first().map(bond));
                rifts.extend(within(interface).first().map(bond));
            }
        }
        Self { modules, ties, rifts }
    }

    /// The calls of `modules`, or to them, that can't leave a compartment; both ends are in `all`.
    pub(super) fn ties_of(
        &self,
        modules: &BTreeSet<ModuleName>,
        all: &BTreeSet<ModuleName>,
    ) -> impl Iterator<Item = &Bond> {
        let concerns = |tie: &&Bond| modules.contains(&tie.caller) || modules.contains(&tie.callee);
        among(&self.ties, all).filter(concerns)
    }

    /// The calls among these modules that can't stay in a compartment.
    pub(super) fn rifts_in(&self, modules: &BTreeSet<ModuleName>) -> impl Iterator<Item = &Bond> {
        among(&self.rifts, modules)
    }

    /// `start` with all modules that must share a compartment with one of them, for which `may` holds.
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

    /// `start` with all modules that they call, directly or not, and that must share a compartment with one of those.
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

    /// `start` with all modules that must then share its compartment: those tied to one of them, and those through which one of them
    /// calls another.
    pub(super) fn whole(&self, mut start: BTreeSet<ModuleName>) -> BTreeSet<ModuleName> {
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

    /// What is reached from `start` in one or more steps.
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

    /// Those of these modules that bring WASI along or ask other hosts: a compartment can hold one of them.
    pub(super) fn heavy<'m>(&self, modules: impl IntoIterator<Item = &'m ModuleName>) -> BTreeSet<ModuleName> {
        let is_heavy = |module: &&ModuleName| self.modules.get(*module).is_some_and(|node| node.merging().is_some());
        modules.into_iter().filter(is_heavy).cloned().collect()
    }

    /// Whether one compartment can hold these modules.
    pub(super) fn fit(&self, modules: &BTreeSet<ModuleName>) -> bool {
        self.heavy(modules).len() <= 1 && self.rifts_in(modules).next().is_none()
    }
}

/// Those bonds that have both ends in `modules`.
fn among<'b>(bonds: &'b [Bond], modules: &BTreeSet<ModuleName>) -> impl Iterator<Item = &'b Bond> {
    bonds.iter().filter(|bond| modules.contains(&bond.caller) && modules.contains(&bond.callee))
}

/// Whether a value of the type means nothing in another store.
fn belongs_to_a_store(ty: &Type) -> bool {
    matches!(ty, Type::Own(_) | Type::Borrow(_) | Type::Stream(_) | Type::Future(_) | Type::ErrorContext)
}

/// What a type's own layer is made of.
fn parts(ty: &Type) -> usize {
    match ty {
        Type::Record(record) => record.body.len(),
        Type::Variant(variant) => variant.body.len(),
        Type::Enum(cases) => cases.body.len(),
        Type::Tuple(types) => types.len(),
        Type::FixedList(_, length) => *length as usize,
        // Flags are at most 32, and go as one number.
        _ => 0,
    }
}

/// A type of many parts, for a sentence.
fn in_words(ty: &Type) -> String {
    let count = parts(ty);
    match ty {
        Type::Record(record) => format!("the record `{}` of {count} fields", record.name),
        Type::Variant(variant) => format!("the variant `{}` of {count} cases", variant.name),
        Type::Enum(cases) => format!("the enum `{}` of {count} cases", cases.name),
        _ => format!("a type of {count} items"),
    }
}
