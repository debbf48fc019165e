//! What holds for all types and documents: values survive, nothing panics, places can be found, and JSON is what serde_json takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::Value;
use wasmtime::component::Val;
use watertight::json::{Codec, Violation};
use watertight::shape::{Case, Field, Named, Type};

const LIMIT: usize = 10_000_000;

proptest! {
    #[test]
    fn values_survive((ty, value) in typed_values()) {
        let codec = Codec::new("it", &ty).unwrap();
        let document = encode(&codec, &value);
        prop_assert_eq!(codec.decode(&document).unwrap(), value);
        prop_assert!(serde_json::from_slice::<Value>(&document).is_ok());
    }

    #[test]
    fn spoilt_documents_are_refused_with_a_place(
        (ty, value) in typed_values(),
        spoil in vec((any::<Index>(), select(SPOIL), 0..3_u8), 1..4),
    ) {
        let codec = Codec::new("it", &ty).unwrap();
        let mut document = encode(&codec, &value);
        for (index, byte, how) in spoil {
            let at = index.index(document.len() + 1);
            match how {
                0 => document.insert(at, byte),
                1 if at < document.len() => drop(document.remove(at)),
                _ if at < document.len() => document[at] = byte,
                _ => {}
            }
        }
        check(&codec, &document)?;
    }

    #[test]
    fn documents_for_other_types_are_refused_with_a_place((ty, _) in typed_values(), (other, value) in typed_values()) {
        let document = encode(&Codec::new("it", &other).unwrap(), &value);
        check(&Codec::new("it", &ty).unwrap(), &document)?;
    }

    #[test]
    fn any_bytes_are_met(bytes in vec(any::<u8>(), 0..100), (ty, _) in typed_values()) {
        check(&Codec::new("it", &ty).unwrap(), &bytes)?;
    }

    #[test]
    fn json_is_what_serde_json_takes(tokens in vec(select(TOKENS), 0..12), ty in types()) {
        check(&Codec::new("it", &ty).unwrap(), tokens.concat().as_bytes())?;
    }

    #[test]
    fn any_text_is_met(text in any::<String>(), token in select(TOKENS), ty in types()) {
        let codec = Codec::new("it", &ty).unwrap();
        prop_assert!(codec.takes_text() || codec.decode_text(&text).is_err());
        let _ = codec.decode_text(token);
    }

    #[test]
    fn floats_keep_every_bit(bits in any::<u64>(), narrow in any::<u32>()) {
        let (wide, narrow) = (f64::from_bits(bits), f32::from_bits(narrow));
        prop_assume!(wide.is_finite() && narrow.is_finite());
        let codec = |ty| Codec::new("it", &ty).unwrap();
        let Val::Float64(back) = codec(Type::F64).decode(&encode(&codec(Type::F64), &Val::Float64(wide))).unwrap() else {
            panic!("no f64");
        };
        prop_assert_eq!(back.to_bits(), bits);
        let Val::Float32(back) = codec(Type::F32).decode(&encode(&codec(Type::F32), &Val::Float32(narrow))).unwrap() else {
            panic!("no f32");
        };
        prop_assert_eq!(back.to_bits(), narrow.to_bits());
    }

    #[test]
    fn integers_have_their_ranges(number in any::<i128>(), shift in 0..127_u32) {
        let number = number >> shift;
        let text = number.to_string();
        let takes = |ty| Codec::new("it", &ty).unwrap().decode(text.as_bytes()).is_ok();
        prop_assert_eq!(takes(Type::U8), u8::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::S8), i8::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::U16), u16::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::S16), i16::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::U32), u32::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::S32), i32::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::U64), u64::try_from(number).is_ok());
        prop_assert_eq!(takes(Type::S64), i64::try_from(number).is_ok());
    }
}

const SPOIL: &[u8] = b"{}[]\",:\\u0e19-+. ntf\n\x00\x80\xff";

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"a\"",
    "\"b\":",
    "0",
    "-",
    "1",
    "1.5",
    "e",
    "E+1",
    ".",
    "null",
    "true",
    "false",
    "nul",
    " ",
    "\n",
    "\"",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\n",
    "\u{feff}",
    "é",
    "\t",
    "\"\\\"\"",
    "\u{1}",
    "\u{7f}",
];

/// Decodes, and checks what is said about it: syntax against serde_json, places against the document.
fn check(codec: &Codec, document: &[u8]) -> Result<(), TestCaseError> {
    let violations = match codec.decode(document) {
        Ok(value) => {
            let again = codec.decode(&encode(codec, &value));
            prop_assert_eq!(again.unwrap(), value);
            vec![]
        }
        Err(violations) => {
            prop_assert!(!violations.is_empty());
            violations
        }
    };
    let syntax = violations.iter().any(|violation| violation.detail.starts_with("not JSON"));
    match serde_json::from_slice::<Value>(document) {
        Ok(value) => {
            prop_assert!(!syntax, "{:?}", violations);
            // Of members with the same key, serde_json keeps only the last.
            let twins =
                |violation: &Violation| violation.detail.contains("twice") || violation.detail.contains("exactly one");
            for violation in &violations {
                let found = has_place(&value, violation) || violations.iter().any(twins);
                prop_assert!(found, "{}: {violation}", value);
            }
        }
        // A number that is too large for serde_json is JSON all the same.
        Err(error) if error.to_string().contains("number out of range") => {}
        Err(error) => {
            prop_assert!(syntax && violations.len() == 1, "{}: {:?}", error, violations);
        }
    }
    Ok(())
}

fn has_place(value: &Value, violation: &Violation) -> bool {
    if violation.detail.starts_with("missing field") {
        let (parent, _) = violation.pointer.rsplit_once('/').unwrap();
        return value.pointer(parent).is_some_and(Value::is_object) && value.pointer(&violation.pointer).is_none();
    }
    value.pointer(&violation.pointer).is_some()
}

fn encode(codec: &Codec, value: &Val) -> Vec<u8> {
    let mut document = Vec::new();
    codec.encode(value, &mut document, LIMIT).unwrap();
    document
}

fn typed_values() -> impl Strategy<Value = (Type, Val)> {
    types().prop_flat_map(|ty| (Just(ty.clone()), values(&ty)))
}

fn types() -> impl Strategy<Value = Type> {
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
            (names(), many).prop_map(|(names, types)| {
                let fields = names.into_iter().zip(types).map(|(name, ty)| Field { name, ty });
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
