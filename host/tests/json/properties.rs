//! Property tests of the JSON codec with all types and documents: a value is the same after encoding and decoding, nothing panics, the
//! places of faults exist, and JSON is valid exactly if serde_json accepts it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use wasmtime::component::Val;
use watertight_component::shape::Type;
use watertight_json::Codec;
use watertight_model::config::{JsonStyle, NameCase, WideIntegers};
use watertight_testkit::documents::{DAMAGE_BYTES, TOKENS, check, encode};
use watertight_testkit::types::{typed_values, types};

/// Returns every style in which JSON can be written.
fn styles() -> impl Iterator<Item = JsonStyle> {
    let of = |int64: &WideIntegers| {
        NameCase::ALL.iter().map({
            let int64 = *int64;
            move |case| JsonStyle { int64, case: *case }
        })
    };
    WideIntegers::ALL.iter().flat_map(of)
}

proptest! {
    #[test]
    fn values_survive((ty, value) in typed_values()) {
        for style in styles() {
            let codec = match Codec::with_style("it", &ty, style) {
                Ok(codec) => codec,
                // `a-2b` and `a2b` are one name in camelCase.
                Err(_) if style.case == NameCase::Camel => continue,
                Err(parts) => return Err(TestCaseError::fail(format!("{parts:?}"))),
            };
            let document = encode(&codec, &value);
            prop_assert_eq!(codec.decode(&document).unwrap(), value.clone());
            prop_assert!(serde_json::from_slice::<Value>(&document).is_ok());
        }
    }

    #[test]
    fn spoilt_documents_are_refused_with_a_place(
        (ty, value) in typed_values(),
        spoil in vec((any::<Index>(), select(DAMAGE_BYTES), 0..3_u8), 1..4),
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
        prop_assert!(codec.accepts_text() || codec.decode_text(&text).is_err());
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
