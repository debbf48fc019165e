//! Describes a module's WIT world for code generators: its functions and types in plain form, and those that a language doesn't support.

use std::collections::{BTreeMap, BTreeSet};

use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldItem, WorldKey,
};

use super::world::World;

/// A function that a world imports or exports.
pub(super) struct ContractFunction<'a> {
    /// The name of the function's interface in the world. The function's own name if the world has the function directly.
    pub(super) item: String,
    pub(super) interface: Option<InterfaceId>,
    pub(super) is_export: bool,
    pub(super) function: &'a Function,
}

/// Returns all functions of a world, imports first.
pub(super) fn functions(world: &World) -> Vec<ContractFunction<'_>> {
    let (resolve, id) = world.resolved();
    let world = &resolve.worlds[id];
    let imports = world.imports.iter().map(|entry| (false, entry));
    let all = imports.chain(world.exports.iter().map(|entry| (true, entry)));
    let mut functions = Vec::new();
    for (is_export, (key, item)) in all {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Interface { id, .. } => {
                functions.extend(resolve.interfaces[*id].functions.values().map(|function| ContractFunction {
                    item: name.clone(),
                    interface: Some(*id),
                    is_export,
                    function,
                }));
            }
            WorldItem::Function(function) => {
                functions.push(ContractFunction { item: name, interface: None, is_export, function });
            }
            WorldItem::Type { .. } => {}
        }
    }
    functions
}

/// Returns a description of each label that a world gives to an interface of a package, such as `import primary: ns:pkg/text;`. Tools that
/// parse WIT by an older version of its grammar can't read them.
pub(super) fn labels(world: &World) -> Vec<String> {
    let (resolve, id) = world.resolved();
    let world = &resolve.worlds[id];
    let mut labels = Vec::new();
    for (key, item) in world.imports.iter().chain(&world.exports) {
        if let (WorldKey::Name(label), WorldItem::Interface { id, .. }) = (key, item)
            && let Some(own) = resolve.id_of(*id)
        {
            labels.push(format!("`{label}` of the world is a label for the interface `{own}`"));
        }
    }
    labels
}

impl ContractFunction<'_> {
    /// Returns the function's name for messages, with its interface if it has one.
    pub(super) fn display_name(&self) -> String {
        match self.interface {
            Some(_) => format!("`{}` of `{}`", self.function.name, self.item),
            None => format!("`{}`", self.function.name),
        }
    }

    pub(super) fn is_async(&self) -> bool {
        matches!(
            self.function.kind,
            FunctionKind::AsyncFreestanding | FunctionKind::AsyncMethod(_) | FunctionKind::AsyncStatic(_)
        )
    }

    /// Returns the types in the function's signature that a language does not support, each described with its position. `carries` says
    /// whether the language supports a type.
    pub(super) fn unsupported_types(&self, resolve: &Resolve, carries: impl Fn(&TypeDefKind) -> bool) -> Vec<String> {
        let params = self.function.params.iter().map(|param| (format!("parameter `{}`", param.name), param.ty));
        let result = self.function.result.map(|ty| ("its result".to_owned(), ty));
        let mut parts = Vec::new();
        for (place, ty) in params.chain(result) {
            let mut found = BTreeSet::new();
            let mut seen = BTreeSet::new();
            find(resolve, ty, &carries, &mut seen, &mut found);
            parts.extend(found.into_iter().map(|ty| format!("{}: {place} has the type `{ty}`", self.display_name())));
        }
        parts
    }
}

fn find(
    resolve: &Resolve,
    ty: Type,
    carries: &impl Fn(&TypeDefKind) -> bool,
    seen: &mut BTreeSet<usize>,
    found: &mut BTreeSet<String>,
) {
    let Type::Id(id) = ty else {
        if ty == Type::ErrorContext {
            found.insert("error-context".to_owned());
        }
        return;
    };
    if !seen.insert(id.index()) {
        return;
    }
    if !carries(&resolve.types[id].kind) {
        found.insert(spelled(resolve, ty));
        return;
    }
    for part in parts(&resolve.types[id].kind) {
        find(resolve, part, carries, seen, found);
    }
}

/// Returns the types that occur directly in a type, such as those of a record's fields.
fn parts(kind: &TypeDefKind) -> Vec<Type> {
    match kind {
        TypeDefKind::Record(record) => record.fields.iter().map(|field| field.ty).collect(),
        TypeDefKind::Tuple(tuple) => tuple.types.clone(),
        TypeDefKind::Variant(variant) => variant.cases.iter().filter_map(|case| case.ty).collect(),
        TypeDefKind::Option(ty) | TypeDefKind::List(ty) | TypeDefKind::Type(ty) => vec![*ty],
        TypeDefKind::FixedLengthList(ty, _) => vec![*ty],
        TypeDefKind::Map(key, value) => vec![*key, *value],
        TypeDefKind::Result(result) => result.ok.into_iter().chain(result.err).collect(),
        TypeDefKind::Future(ty) | TypeDefKind::Stream(ty) => ty.iter().copied().collect(),
        TypeDefKind::Resource
        | TypeDefKind::Handle(_)
        | TypeDefKind::Flags(_)
        | TypeDefKind::Enum(_)
        | TypeDefKind::Unknown => Vec::new(),
    }
}

/// Returns a type in WIT syntax.
fn spelled(resolve: &Resolve, ty: Type) -> String {
    let Type::Id(id) = ty else { return primitive(ty).to_owned() };
    let of = |ty: &Type| spelled(resolve, *ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), of);
    match &resolve.types[id].kind {
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", of(key), of(value)),
        TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", of(ty)),
        TypeDefKind::Stream(Some(ty)) => format!("stream<{}>", of(ty)),
        TypeDefKind::Future(Some(ty)) => format!("future<{}>", of(ty)),
        TypeDefKind::Stream(None) => "stream".to_owned(),
        TypeDefKind::Future(None) => "future".to_owned(),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Handle(Handle::Own(id)) => spelled(resolve, Type::Id(*id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", spelled(resolve, Type::Id(*id))),
        _ => resolve.types[id].name.clone().unwrap_or_else(|| "a type without a name".to_owned()),
    }
}

fn primitive(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext | Type::Id(_) => "error-context",
    }
}

/// Converts a WIT name to JavaScript's camel case: `no-such-case` becomes `noSuchCase`.
pub fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_ascii_lowercase();
    words.fold(first, |text, word| text + &capitalized(word))
}

/// Converts a WIT name to a JavaScript class name: `no-such-case` becomes `NoSuchCase`.
pub fn upper_camel(name: &str) -> String {
    name.split('-').map(capitalized).collect()
}

fn capitalized(word: &str) -> String {
    let mut word = word.to_ascii_lowercase();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}

/// JSON descriptions of the types that occur in a WIT world, each type once. The code around modules in JavaScript and Python checks values
/// against them.
pub(super) struct Types<'a> {
    resolve: &'a Resolve,
    /// Returns the name of a field or a flag in the module's language.
    spelling: fn(&str) -> String,
    /// The interfaces that the module exports. The module itself defines the classes of their resources.
    exported: BTreeSet<InterfaceId>,
    described: Vec<serde_json::Value>,
    known: BTreeMap<(usize, bool), usize>,
}

impl<'a> Types<'a> {
    pub(super) fn new(world: &'a World, spelling: fn(&str) -> String) -> Self {
        let (resolve, id) = world.resolved();
        let exports = resolve.worlds[id].exports.values();
        let exported = exports.filter_map(|item| match item {
            WorldItem::Interface { id, .. } => Some(*id),
            _ => None,
        });
        Self { resolve, spelling, exported: exported.collect(), described: Vec::new(), known: BTreeMap::new() }
    }

    pub(super) fn into_json(self) -> Vec<serde_json::Value> {
        self.described
    }

    /// Returns a reference to a type: the name of a primitive, or the index of a description. `is_export` says whether the type belongs to
    /// an exported function.
    pub(super) fn reference(&mut self, ty: Type, is_export: bool) -> serde_json::Value {
        let Type::Id(id) = ty else { return primitive(ty).into() };
        if let TypeDefKind::Type(aliased) = self.resolve.types[id].kind {
            return self.reference(aliased, is_export);
        }
        if let Some(number) = self.known.get(&(id.index(), is_export)) {
            return (*number).into();
        }
        let described = self.describe(id, is_export);
        self.described.push(described);
        let number = self.described.len() - 1;
        self.known.insert((id.index(), is_export), number);
        number.into()
    }

    fn describe(&mut self, id: TypeId, is_export: bool) -> serde_json::Value {
        use serde_json::json;
        let resolve = self.resolve;
        let name = resolve.types[id].name.clone().unwrap_or_default();
        let maybe = |types: &mut Self, ty: Option<Type>| ty.map(|ty| types.reference(ty, is_export));
        match &resolve.types[id].kind {
            TypeDefKind::Record(record) => {
                let fields = record
                    .fields
                    .iter()
                    .map(|field| ((self.spelling)(&field.name), self.reference(field.ty, is_export)));
                json!({"kind": "record", "name": name, "fields": fields.collect::<Vec<_>>()})
            }
            TypeDefKind::Tuple(tuple) => {
                let items = tuple.types.iter().map(|ty| self.reference(*ty, is_export)).collect::<Vec<_>>();
                json!({"kind": "tuple", "items": items})
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| (case.name.clone(), maybe(self, case.ty)));
                json!({"kind": "variant", "name": name, "cases": cases.collect::<Vec<_>>()})
            }
            TypeDefKind::Enum(cases) => {
                let cases = cases.cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>();
                json!({"kind": "enum", "name": name, "cases": cases})
            }
            TypeDefKind::Flags(flags) => {
                let flags = flags.flags.iter().map(|flag| (self.spelling)(&flag.name)).collect::<Vec<_>>();
                json!({"kind": "flags", "name": name, "flags": flags})
            }
            TypeDefKind::Option(ty) => {
                let item = self.reference(*ty, is_export);
                json!({"kind": "option", "item": item, "nested": self.is_option(*ty)})
            }
            TypeDefKind::Result(result) => {
                json!({"kind": "result", "ok": maybe(self, result.ok), "err": maybe(self, result.err)})
            }
            TypeDefKind::List(ty) => {
                let item = self.reference(*ty, is_export);
                json!({"kind": "list", "item": item, "bytes": matches!(ty, Type::U8 | Type::S8)})
            }
            TypeDefKind::Handle(Handle::Own(resource) | Handle::Borrow(resource)) => {
                let resource = self.real(*resource);
                let name = resolve.types[resource].name.clone().unwrap_or_default();
                let is_own = is_export
                    && matches!(resolve.types[resource].owner, TypeOwner::Interface(id) if self.exported.contains(&id));
                json!({"kind": "handle", "name": name, "exported": is_own.then(|| key(resource))})
            }
            // The world was refused before if it has any other type.
            _ => json!({"kind": "unknown"}),
        }
    }

    fn is_option(&self, ty: Type) -> bool {
        let Type::Id(id) = ty else { return false };
        matches!(self.resolve.types[self.real(id)].kind, TypeDefKind::Option(_))
    }

    /// Returns the type itself if `id` is an alias of a type.
    fn real(&self, mut id: TypeId) -> TypeId {
        while let TypeDefKind::Type(Type::Id(aliased)) = self.resolve.types[id].kind {
            id = aliased;
        }
        id
    }
}

/// Returns the identifier of an exported resource.
pub(super) fn key(resource: TypeId) -> String {
    format!("resource {}", resource.index())
}
