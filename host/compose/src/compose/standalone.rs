//! Makes an imported interface self-contained: it defines the types that it uses of other interfaces.
//!
//! An import with a unique name (see `compose`) must not depend on other interfaces. Otherwise the composed component would import those as
//! a whole for all modules, for example one module's database. Copying value types is safe because they are compared by structure.
//!
//! The copy has no interface name, only the import's name. With an interface name, wac would merge it with other imports of that interface.
//! Two modules may mean different types by one interface name; that is harmless, because no value of such a type passes between them.

use std::collections::HashSet;

use wac_graph::types::{DefinedType, DefinedTypeId, Interface, InterfaceId, ItemKind, Type, Types, ValueType};

/// Returns a copy of an interface without handles that uses no other interface.
pub(super) fn standalone(types: &mut Types, interface: InterfaceId) -> InterfaceId {
    let wanted = types[interface].clone();
    let mut own = StandaloneInterface {
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

struct StandaloneInterface<'a> {
    types: &'a Types,
    /// The names that the interface exports already. A new name must differ from them.
    taken: HashSet<String>,
    /// The types that already have a name.
    named: HashSet<DefinedTypeId>,
    interface: Interface,
}

impl StandaloneInterface<'_> {
    /// Gives a name to each part of a type that needs one in the component model.
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

    /// Names the parts of a type. The recursion is bounded, because the validator bounds the depth and size of types.
    fn parts(&mut self, id: DefinedTypeId) {
        parts(self.types, id).into_iter().for_each(|part| self.value(part));
    }
}

/// Returns the direct parts of a type.
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
        DefinedType::Stream(item) | DefinedType::Future(item) => item.iter().copied().collect(),
        DefinedType::Flags(_) | DefinedType::Enum(_) => vec![],
    }
}

/// Returns whether the component model requires a name for a type before an import or export uses it.
fn needs_name(types: &Types, id: DefinedTypeId) -> bool {
    matches!(types[id], DefinedType::Record(_) | DefinedType::Variant(_) | DefinedType::Enum(_) | DefinedType::Flags(_))
}

/// Returns the types within a type that need a name. Each stands after its own parts.
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
