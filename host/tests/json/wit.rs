//! Parses WIT text into types, so that tests can write types as text.

use std::sync::Arc;

use watertight_component::shape::{Case, Field, Named, Resource, Type};
use wit_parser::{Handle, Resolve, Type as Wit, TypeDefKind, TypeId};

/// Parses the WIT type `ty`, which may use the types that `declarations` declares.
pub(crate) fn parse(declarations: &str, ty: &str) -> Type {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let text = format!("package a:a; interface a {{ {declarations}\n the-function: func(it: {ty}); }}");
    let package = resolve.push_source("a.wit", &text).unwrap_or_else(|error| panic!("{text}: {error:#}"));
    let interface = resolve.packages[package].interfaces["a"];
    let function = &resolve.interfaces[interface].functions["the-function"];
    read(&resolve, &function.params[0].ty)
}

fn read(resolve: &Resolve, ty: &Wit) -> Type {
    match ty {
        Wit::Bool => Type::Bool,
        Wit::U8 => Type::U8,
        Wit::S8 => Type::S8,
        Wit::U16 => Type::U16,
        Wit::S16 => Type::S16,
        Wit::U32 => Type::U32,
        Wit::S32 => Type::S32,
        Wit::U64 => Type::U64,
        Wit::S64 => Type::S64,
        Wit::F32 => Type::F32,
        Wit::F64 => Type::F64,
        Wit::Char => Type::Char,
        Wit::String => Type::String,
        Wit::ErrorContext => Type::ErrorContext,
        Wit::Id(id) => read_defined(resolve, *id),
    }
}

fn read_defined(resolve: &Resolve, id: TypeId) -> Type {
    let inner = |ty: &Wit| Arc::new(read(resolve, ty));
    let payload = |ty: &Option<Wit>| ty.as_ref().map(inner);
    let definition = &resolve.types[id];
    let name = || Arc::from(definition.name.as_deref().unwrap_or("unnamed"));
    let resource =
        |id: TypeId| Resource { interface: None, name: Arc::from(resolve.types[id].name.as_deref().unwrap()) };
    match &definition.kind {
        TypeDefKind::Type(ty) => read(resolve, ty),
        TypeDefKind::List(ty) => Type::List(inner(ty)),
        TypeDefKind::FixedLengthList(ty, length) => Type::FixedList(inner(ty), *length),
        TypeDefKind::Map(key, value) => Type::Map(inner(key), inner(value)),
        TypeDefKind::Option(ty) => Type::Option(inner(ty)),
        TypeDefKind::Result(result) => Type::Result { ok: payload(&result.ok), err: payload(&result.err) },
        TypeDefKind::Tuple(tuple) => Type::Tuple(tuple.types.iter().map(|ty| read(resolve, ty)).collect()),
        TypeDefKind::Record(record) => {
            let field =
                |field: &wit_parser::Field| Field { name: field.name.as_str().into(), ty: read(resolve, &field.ty) };
            Type::Record(Arc::new(Named { name: name(), body: record.fields.iter().map(field).collect() }))
        }
        TypeDefKind::Variant(variant) => {
            let case = |case: &wit_parser::Case| Case {
                name: case.name.as_str().into(),
                ty: case.ty.as_ref().map(|ty| read(resolve, ty)),
            };
            Type::Variant(Arc::new(Named { name: name(), body: variant.cases.iter().map(case).collect() }))
        }
        TypeDefKind::Enum(cases) => {
            let body = cases.cases.iter().map(|case| case.name.as_str().into()).collect();
            Type::Enum(Arc::new(Named { name: name(), body }))
        }
        TypeDefKind::Flags(flags) => {
            let body = flags.flags.iter().map(|flag| flag.name.as_str().into()).collect();
            Type::Flags(Arc::new(Named { name: name(), body }))
        }
        TypeDefKind::Handle(Handle::Own(id)) => Type::Own(resource(*id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => Type::Borrow(resource(*id)),
        TypeDefKind::Stream(ty) => Type::Stream(payload(ty)),
        TypeDefKind::Future(ty) => Type::Future(payload(ty)),
        TypeDefKind::Resource | TypeDefKind::Unknown => unreachable!("not the type of a parameter"),
    }
}
