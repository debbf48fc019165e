//! What holds for all types and documents: values survive, nothing panics, places can be found, and JSON is what serde_json takes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use wasmtime::component::Val;
use watertight::json::{Codec, Violation};
use watertight::shape::Type;

use crate::types::{typed_values, types};

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
