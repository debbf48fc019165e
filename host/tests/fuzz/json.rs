//! Fuzzes the JSON codec with types and documents: an accepted document keeps its meaning, a refusal names the place of the fault, and
//! nothing panics.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wasmtime::component::Val;
use watertight_component::shape::{Field, Named, Type};
use watertight_json::{Codec, ObjectCodec};
use watertight_testkit::documents::{TOKENS, check, encode};
use watertight_testkit::types::typed_values;

use crate::mutate::{Change, changed, changes};
use crate::runner::fuzz;

/// The JSON document that a case starts from, before it is damaged.
#[derive(Debug, Clone)]
enum Start {
    /// The encoding of a value of the type that is decoded.
    Own,
    /// The encoding of a value of another type.
    Other(Type, Val),
    /// A sequence of tokens of JSON, and of tokens that resemble them.
    Tokens(Vec<&'static str>),
    Bytes(Vec<u8>),
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        6 => Just(Start::Own),
        1 => typed_values().prop_map(|(ty, value)| Start::Other(ty, value)),
        1 => vec(select(TOKENS), 0..40).prop_map(Start::Tokens),
        1 => vec(any::<u8>(), 0..200).prop_map(Start::Bytes),
    ]
}

fn codec(ty: &Type) -> Codec {
    Codec::new("it", ty).unwrap()
}

#[test]
fn json() {
    let case = (typed_values(), start(), changes());
    fuzz("json", &["taken", "refused"], case, |((ty, value), start, changes): (_, _, Vec<Change>)| {
        let codec = codec(&ty);
        let own = encode(&codec, &value);
        prop_assert_eq!(codec.decode(&own).unwrap(), value);
        let document = match start {
            Start::Own => own,
            Start::Other(ty, value) => encode(&Codec::new("it", &ty).unwrap(), &value),
            Start::Tokens(tokens) => tokens.concat().into_bytes(),
            Start::Bytes(bytes) => bytes,
        };
        let document = changed(&document, &changes, TOKENS);
        let text = String::from_utf8_lossy(&document);
        prop_assert!(codec.accepts_text() || codec.decode_text(&text).is_err());
        Ok(if check(&codec, &document)? { "taken" } else { "refused" })
    });
}

/// Fuzzes a JSON object whose fields become the parameters of a function. It must be decoded like a record with these fields.
#[test]
fn object() {
    let case = (vec(typed_values(), 1..4), changes());
    fuzz("object", &["taken", "refused"], case, |(parameters, changes): (Vec<(Type, Val)>, Vec<Change>)| {
        let named = parameters.iter().enumerate().map(|(number, (ty, _))| (format!("p{number}-x"), ty.clone()));
        let fields: Vec<Field> = named.map(|(name, ty)| Field { name: name.as_str().into(), ty }).collect();
        let spread: Vec<(&str, &Type)> = fields.iter().map(|field| (&*field.name, &field.ty)).collect();
        let object = ObjectCodec::new(&spread).unwrap();
        let record = codec(&Type::Record(Arc::new(Named { name: "it".into(), body: fields.clone() })));
        let values = fields.iter().zip(&parameters).map(|(field, (_, value))| (field.name.to_string(), value.clone()));
        let document = changed(&encode(&record, &Val::Record(values.collect())), &changes, TOKENS);
        let read = match record.decode(&document) {
            Ok(Val::Record(values)) => Ok(values.into_iter().map(|(_, value)| value).collect::<Vec<_>>()),
            Ok(other) => panic!("{other:?}"),
            Err(violations) => Err(violations),
        };
        let outcome = if read.is_ok() { "taken" } else { "refused" };
        prop_assert_eq!(object.decode(&document), read);
        Ok(outcome)
    });
}
