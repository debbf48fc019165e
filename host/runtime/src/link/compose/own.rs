//! An interface that stands alone: it defines what it uses of others.
//!
//! An import under a name of our own can't lean on the interface that it uses types of. The composition would import that one as a
//! whole, and for everybody: somebody's database, say. Types of values are the same where they are built the same.
//!
//! It goes by its import's name alone. Under the interface's, wac would merge it with what others import by that name, and two modules
//! may mean different types by it, of which nothing is carried between them.

use std::collections::HashSet;

use wac_graph::types::{DefinedType, DefinedTypeId, Interface, InterfaceId, ItemKind, Type, Types, ValueType};

/// A copy of an interface of plain functions and values that uses no other.
pub(super) fn standing_alone(types: &mut Types, interface: InterfaceId) -> InterfaceId {
    let wanted = types[interface].clone();
    let mut own = Own {
        types,
        taken: wanted.exports.keys().cloned().collect(),
        named: HashSet::new(),
        interface: Interface::default(),
    };
    for (name, kind) in wanted.exports {
        match kind {
            ItemKind::Type(Type::Value(ValueType::Defined(id))) => {
                own.parts(id);
                own.named.insert(id);
            }
            ItemKind::Func(id) => {
                let function = &own.types[id];
                let values: Vec<ValueType> = function.params.values().copied().chain(function.result).collect();
                values.into_iter().for_each(|value| own.value(value));
            }
            _ => {}
        }
        own.interface.exports.insert(name, kind);
    }
    let interface = own.interface;
    types.add_interface(interface)
}

struct Own<'a> {
    types: &'a Types,
    /// The names that the interface gives itself.
    taken: HashSet<String>,
    /// The types that have a name by now.
    named: HashSet<DefinedTypeId>,
    interface: Interface,
}

impl Own<'_> {
    /// Sees to it that everything in a type has a name where the component model wants one.
    fn value(&mut self, value: ValueType) {
        let ValueType::Defined(id) = value else { return };
        if self.named.contains(&id) {
            return;
        }
        self.parts(id);
        if needs_name(self.types, id) {
            let name = (0..).map(|number| format!("own{number}")).find(|name| self.taken.insert(name.clone()));
            let name = name.expect("numbers don't end");
            self.interface.exports.insert(name, ItemKind::Type(Type::Value(ValueType::Defined(id))));
        }
        self.named.insert(id);
    }

    /// The depth is bounded by the validator, as the size of a type is.
    fn parts(&mut self, id: DefinedTypeId) {
        parts(self.types, id).into_iter().for_each(|part| self.value(part));
    }
}

/// The types that a type is made of directly.
fn parts(types: &Types, id: DefinedTypeId) -> Vec<ValueType> {
    match &types[id] {
        DefinedType::Tuple(types) => types.clone(),
        DefinedType::List(item)
        | DefinedType::FixedSizeList(item, _)
        | DefinedType::Option(item)
        | DefinedType::Alias(item) => vec![*item],
        DefinedType::Map(key, value) => vec![*key, *value],
        DefinedType::Result { ok, err } => ok.iter().chain(err).copied().collect(),
        DefinedType::Variant(variant) => variant.cases.values().flatten().copied().collect(),
        DefinedType::Record(record) => record.fields.values().copied().collect(),
        // Handles of streams and futures don't get here: the graph refuses them where they would have to.
        DefinedType::Flags(_) | DefinedType::Enum(_) | DefinedType::Stream(_) | DefinedType::Future(_) => vec![],
    }
}

/// Whether the component model wants a type to have a name before anything that is imported or exported uses it.
fn needs_name(types: &Types, id: DefinedTypeId) -> bool {
    matches!(types[id], DefinedType::Record(_) | DefinedType::Variant(_) | DefinedType::Enum(_) | DefinedType::Flags(_))
}

/// The types within a type that need a name, each after those that it is made of.
pub(super) fn named_within(types: &Types, id: DefinedTypeId) -> Vec<DefinedTypeId> {
    fn walk(types: &Types, id: DefinedTypeId, seen: &mut HashSet<DefinedTypeId>, found: &mut Vec<DefinedTypeId>) {
        for part in parts(types, id) {
            if let ValueType::Defined(part) = part
                && seen.insert(part)
            {
                walk(types, part, seen, found);
                if needs_name(types, part) {
                    found.push(part);
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(types, id, &mut HashSet::new(), &mut found);
    found
}
