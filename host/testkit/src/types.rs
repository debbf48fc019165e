//! Random WIT types and random values of them. JSON can express all of them: there are no resources, streams or futures, and an option of
//! an option is always a field of a record.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use wasmtime::component::Val;
use watertight_component::shape::{Case, Field, Named, Type};

/// Returns a proptest strategy for a type together with a value of this type.
pub fn typed_values() -> impl Strategy<Value = (Type, Val)> {
    types().prop_flat_map(|ty| (Just(ty.clone()), values(&ty)))
}

/// Returns a proptest strategy for a type that is nested a few levels deep.
pub fn types() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        select(vec![Type::F32, Type::F64, Type::String]),
        keys(),
        names().prop_map(|names| Type::Enum(named(names))),
        names().prop_map(|names| Type::Flags(named(names))),
        Just(Type::List(Arc::new(Type::U8))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let payload = proptest::option::of(inner.clone());
        let many = vec(inner.clone(), 1..5);
        prop_oneof![
            inner.clone().prop_map(|ty| Type::List(Arc::new(ty))),
            (inner.clone(), 1..4_u32).prop_map(|(ty, length)| Type::FixedList(Arc::new(ty), length)),
            (keys(), inner.clone()).prop_map(|(key, ty)| Type::Map(Arc::new(key), Arc::new(ty))),
            inner.prop_map(|ty| if matches!(ty, Type::Option(_)) { ty } else { Type::Option(Arc::new(ty)) }),
            (payload.clone(), payload.clone())
                .prop_map(|(ok, err)| Type::Result { ok: ok.map(Arc::new), err: err.map(Arc::new) }),
            many.clone().prop_map(|types| Type::Tuple(types.into())),
            (names(), many, any::<u8>()).prop_map(|(names, types, twice)| {
                let fields = names.into_iter().zip(types).enumerate().map(|(index, (name, ty))| {
                    let is_twice = matches!(ty, Type::Option(_)) && twice >> (index % 8) & 1 == 1;
                    Field { name, ty: if is_twice { Type::Option(Arc::new(ty)) } else { ty } }
                });
                Type::Record(named(fields.collect()))
            }),
            (names(), vec(payload, 1..5)).prop_map(|(names, types)| {
                let cases = names.into_iter().zip(types).map(|(name, ty)| Case { name, ty });
                Type::Variant(named(cases.collect()))
            }),
        ]
    })
}

fn keys() -> impl Strategy<Value = Type> {
    use Type::{Bool, Char, S8, S16, S32, S64, String, U8, U16, U32, U64};
    select(vec![Bool, U8, S8, U16, S16, U32, S32, U64, S64, Char, String])
}

fn names() -> impl Strategy<Value = Vec<Arc<str>>> {
    let unique = |names: BTreeSet<String>| names.iter().map(|name| name.as_str().into()).collect::<Vec<_>>();
    proptest::collection::btree_set("[a-z][a-z0-9]{0,3}(-[a-z][a-z0-9]{0,3}){0,2}", 1..5)
        .prop_map(unique)
        .prop_shuffle()
}

fn named<T>(body: T) -> Arc<Named<T>> {
    Arc::new(Named { name: "it".into(), body })
}

fn values(ty: &Type) -> BoxedStrategy<Val> {
    let boxed = |ty: &Option<Arc<Type>>| match ty {
        Some(ty) => values(ty).prop_map(|value| Some(Box::new(value))).boxed(),
        None => Just(None).boxed(),
    };
    match ty {
        Type::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Type::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Type::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Type::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Type::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Type::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Type::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Type::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        Type::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Type::F32 => proptest::num::f32::ANY.prop_filter("finite", |n| n.is_finite()).prop_map(Val::Float32).boxed(),
        Type::F64 => proptest::num::f64::ANY.prop_filter("finite", |n| n.is_finite()).prop_map(Val::Float64).boxed(),
        Type::Char => any::<char>().prop_map(Val::Char).boxed(),
        Type::String => any::<String>().prop_map(Val::String).boxed(),
        Type::List(item) => vec(values(item), 0..4).prop_map(Val::List).boxed(),
        Type::FixedList(item, length) => vec(values(item), *length as usize).prop_map(Val::FixedLengthList).boxed(),
        Type::Map(key, value) => vec((values(key), values(value)), 0..4).prop_map(without_twins).boxed(),
        Type::Option(inner) => proptest::option::of(values(inner).prop_map(Box::new)).prop_map(Val::Option).boxed(),
        Type::Result { ok, err } => {
            prop_oneof![boxed(ok).prop_map(|ok| Val::Result(Ok(ok))), boxed(err).prop_map(|err| Val::Result(Err(err)))]
                .boxed()
        }
        Type::Tuple(types) => types.iter().map(values).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Type::Record(record) => {
            let fields: Vec<_> =
                record.body.iter().map(|field| (Just(field.name.to_string()), values(&field.ty))).collect();
            fields.prop_map(Val::Record).boxed()
        }
        Type::Variant(variant) => {
            let case = |case: &Case| {
                let name = case.name.to_string();
                boxed(&case.ty.clone().map(Arc::new)).prop_map(move |value| Val::Variant(name.clone(), value)).boxed()
            };
            proptest::strategy::Union::new(variant.body.iter().map(case).collect::<Vec<_>>()).boxed()
        }
        Type::Enum(names) => select(names.body.clone()).prop_map(|name| Val::Enum(name.to_string())).boxed(),
        Type::Flags(names) => {
            let names: Vec<_> = names.body.iter().map(ToString::to_string).collect();
            let count = 0..=names.len();
            subsequence(names, count).prop_map(Val::Flags).boxed()
        }
        other => unreachable!("{other:?} is not generated"),
    }
}

fn without_twins(entries: Vec<(Val, Val)>) -> Val {
    let mut kept: Vec<(Val, Val)> = vec![];
    for entry in entries {
        if kept.iter().all(|(key, _)| *key != entry.0) {
            kept.push(entry);
        }
    }
    Val::Map(kept)
}
