//! Finds names that componentize-js can't parse: those with a word that begins with a digit, such as `needs-2fa`.

use wit_parser::{Function, InterfaceId, Resolve, TypeDefKind, TypeId, WorldItem, WorldKey};

use crate::world::World;

/// Returns a description of each such name, once, with its position.
pub(super) fn unreadable_names(world: &World) -> Vec<String> {
    let (resolve, id) = world.resolved();
    let world = &resolve.worlds[id];
    let mut found = Found::default();
    for (key, item) in world.imports.iter().chain(&world.exports) {
        let place = resolve.name_world_key(key);
        match item {
            WorldItem::Interface { id, .. } => found.interface(resolve, key, *id, &place),
            WorldItem::Function(function) => found.function(function, &place, "the world"),
            WorldItem::Type { id, .. } => found.named_type(resolve, *id, "the world"),
        }
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn name(&mut self, name: &str, what: &str, place: &str) {
        let begins_with_digit = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
        if name.split('-').any(begins_with_digit) {
            let part = format!("the {what} `{name}` of {place} has a word that begins with a digit");
            if !self.0.contains(&part) {
                self.0.push(part);
            }
        }
    }

    fn interface(&mut self, resolve: &Resolve, key: &WorldKey, id: InterfaceId, place: &str) {
        let interface = &resolve.interfaces[id];
        match key {
            WorldKey::Name(label) => self.name(label, "interface", "the world"),
            WorldKey::Interface(_) => {
                let quoted = format!("`{place}`");
                if let Some(package) = interface.package {
                    let name = &resolve.packages[package].name;
                    self.name(&name.namespace, "namespace", &quoted);
                    self.name(&name.name, "package", &quoted);
                }
                self.name(interface.name.as_deref().unwrap_or_default(), "interface", &quoted);
            }
        }
        let place = format!("`{place}`");
        for ty in interface.types.values() {
            self.named_type(resolve, *ty, &place);
        }
        for function in interface.functions.values() {
            self.function(function, function.item_name(), &place);
        }
    }

    fn function(&mut self, function: &Function, name: &str, place: &str) {
        self.name(name, "function", place);
        for param in &function.params {
            self.name(&param.name, "parameter", &format!("`{name}` of {place}"));
        }
    }

    fn named_type(&mut self, resolve: &Resolve, id: TypeId, place: &str) {
        let ty = &resolve.types[id];
        let name = ty.name.as_deref().unwrap_or_default();
        self.name(name, "type", place);
        let (what, names): (_, Vec<&str>) = match &ty.kind {
            TypeDefKind::Record(record) => ("field", record.fields.iter().map(|field| field.name.as_str()).collect()),
            TypeDefKind::Variant(variant) => ("case", variant.cases.iter().map(|case| case.name.as_str()).collect()),
            TypeDefKind::Enum(cases) => ("case", cases.cases.iter().map(|case| case.name.as_str()).collect()),
            TypeDefKind::Flags(flags) => ("flag", flags.flags.iter().map(|flag| flag.name.as_str()).collect()),
            _ => return,
        };
        for part in names {
            self.name(part, what, &format!("`{name}` of {place}"));
        }
    }
}
