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
        let needs_name = matches!(
            self.types[id],
            DefinedType::Record(_) | DefinedType::Variant(_) | DefinedType::Enum(_) | DefinedType::Flags(_)
        );
        if needs_name {
            let name = (0..).map(|number| format!("own{number}")).find(|name| self.taken.insert(name.clone()));
            let name = name.expect("numbers don't end");
            self.interface.exports.insert(name, ItemKind::Type(Type::Value(ValueType::Defined(id))));
        }
        self.named.insert(id);
    }

    /// The depth is bounded by the validator, as the size of a type is.
    fn parts(&mut self, id: DefinedTypeId) {
        let parts: Vec<ValueType> = match &self.types[id] {
            DefinedType::Tuple(types) => types.clone(),
            DefinedType::List(item)
            | DefinedType::FixedSizeList(item, _)
            | DefinedType::Option(item)
            | DefinedType::Alias(item) => vec![*item],
            DefinedType::Map(key, value) => vec![*key, *value],
            DefinedType::Result { ok, err } => ok.iter().chain(err).copied().collect(),
            DefinedType::Variant(variant) => variant.cases.values().flatten().copied().collect(),
            DefinedType::Record(record) => record.fields.values().copied().collect(),
            // A stream or future doesn't get here: the graph refuses it.
            DefinedType::Flags(_) | DefinedType::Enum(_) | DefinedType::Stream(_) | DefinedType::Future(_) => vec![],
        };
        parts.into_iter().for_each(|part| self.value(part));
    }
}
