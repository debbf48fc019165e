//! Tests of the JSON codec that `table.txt` can't express: values of a wrong type, objects whose fields become parameters, and the
//! parameters and results of whole functions.

use std::sync::Arc;

use wasmtime::component::Val;
use watertight_component::shape::{Field, Function, Named, Type};
use watertight_json::{Codec, EncodeError, FunctionCodec, ObjectCodec, Violation};

use crate::wit;

const LIMIT: usize = 1000;

fn codec(declarations: &str, ty: &str) -> Codec {
    Codec::new("it", &wit::parse(declarations, ty)).unwrap()
}

fn encode(codec: &Codec, value: &Val) -> Result<String, EncodeError> {
    let mut out = b"before".to_vec();
    let outcome = codec.encode(value, &mut out, LIMIT);
    let text = String::from_utf8(out).unwrap();
    let written = text.strip_prefix("before").unwrap().to_owned();
    assert!(outcome.is_ok() || written.is_empty(), "an error left output behind");
    outcome.map(|()| written)
}

fn mismatch(codec: &Codec, value: &Val) -> String {
    match encode(codec, value) {
        Err(EncodeError::Mismatch { pointer, .. }) => pointer,
        other => panic!("{value:?}: {other:?}"),
    }
}

fn text(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn record(fields: &[(&str, Val)]) -> Val {
    Val::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

#[test]
fn floats_that_are_no_numbers_are_refused_with_their_place() {
    let codec = codec("record r { a: list<f64>, b: option<f32> }", "r");
    let value = |a: f64, b: f32| {
        record(&[
            ("a", Val::List(vec![Val::Float64(0.5), Val::Float64(a)])),
            ("b", Val::Option(Some(Box::new(Val::Float32(b))))),
        ])
    };
    assert_eq!(encode(&codec, &value(-0.0, 0.1)).unwrap(), r#"{"a":[0.5,-0.0],"b":0.1}"#);
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = encode(&codec, &value(number, 1.0)).unwrap_err();
        assert!(matches!(&error, EncodeError::NotFinite { pointer, .. } if pointer == "/a/1"), "{error}");
        let error = encode(&codec, &value(1.0, number as f32)).unwrap_err();
        assert!(matches!(&error, EncodeError::NotFinite { pointer, .. } if pointer == "/b"), "{error}");
    }
}

#[test]
fn values_of_other_types_are_errors() {
    let codec = codec(
        "record r { unit-price: u8, b: list<e> } enum e { x-y } variant v { n, p(r) } flags f { a }",
        "list<tuple<v, f, list<u8>, result<u8>, list<u8, 2>, tuple<char>>>",
    );
    let good = record(&[("unit-price", Val::U8(1)), ("b", Val::List(vec![Val::Enum("x-y".to_owned())]))]);
    let case = |name: &str, payload: Option<Val>| Val::Variant(name.to_owned(), payload.map(Box::new));
    let tuple = |v: Val, f: &str, bytes: Val, result: Val, fixed: Val| {
        let (flags, tail) = (Val::Flags(vec![f.to_owned()]), Val::Tuple(vec![Val::Char('~')]));
        Val::List(vec![Val::Tuple(vec![v, flags, Val::List(vec![bytes]), result, fixed, tail])])
    };
    let ok = || Val::Result(Ok(Some(Box::new(Val::U8(9)))));
    let two = || Val::FixedLengthList(vec![Val::U8(0), Val::U8(1)]);
    let fine = tuple(case("p", Some(good.clone())), "a", Val::U8(7), ok(), two());
    assert_eq!(
        encode(&codec, &fine).unwrap(),
        r#"[[{"p":{"unit_price":1,"b":["x_y"]}},["a"],"Bw==",{"ok":9},"AAE=",["~"]]]"#
    );

    let with_case = |v: Val| tuple(v, "a", Val::U8(7), ok(), two());
    let nested = |r: Val| with_case(case("p", Some(r)));
    let x_y = || Val::Enum("x-y".to_owned());
    for (value, pointer) in [
        (Val::Tuple(vec![]), ""),
        (Val::List(vec![Val::Tuple(vec![])]), "/0"),
        (with_case(case("q", None)), "/0/0"),
        (with_case(case("p", None)), "/0/0"),
        (with_case(case("n", Some(Val::U8(1)))), "/0/0"),
        (with_case(Val::Enum("n".to_owned())), "/0/0"),
        (nested(record(&[])), "/0/0/p"),
        (nested(record(&[("unit_price", Val::U8(1)), ("b", Val::List(vec![]))])), "/0/0/p/unit_price"),
        (nested(record(&[("b", Val::List(vec![])), ("unit-price", Val::U8(1))])), "/0/0/p/unit_price"),
        (nested(record(&[("unit-price", Val::S8(1)), ("b", Val::List(vec![]))])), "/0/0/p/unit_price"),
        (
            nested(record(&[("unit-price", Val::U8(1)), ("b", Val::List(vec![x_y(), Val::Enum("x_y".to_owned())]))])),
            "/0/0/p/b/1",
        ),
        (tuple(case("n", None), "b", Val::U8(7), ok(), two()), "/0/1/0"),
        (tuple(case("n", None), "a", Val::S8(7), ok(), two()), "/0/2"),
        (tuple(case("n", None), "a", Val::U8(7), Val::Result(Ok(None)), two()), "/0/3"),
        (tuple(case("n", None), "a", Val::U8(7), Val::Result(Err(Some(Box::new(Val::U8(1))))), two()), "/0/3"),
        (tuple(case("n", None), "a", Val::U8(7), ok(), Val::List(vec![])), "/0/4"),
        (tuple(case("n", None), "a", Val::U8(7), ok(), Val::FixedLengthList(vec![Val::U8(1)])), "/0/4"),
    ] {
        assert_eq!(mismatch(&codec, &value), pointer, "{value:?}");
    }
}

#[test]
fn of_equal_keys_in_a_map_the_last_counts() {
    let objects = codec("", "map<string, u8>");
    let entries = [("a", 1), ("b~/", 2), ("a", 3)].map(|(key, value)| (text(key), Val::U8(value)));
    assert_eq!(encode(&objects, &Val::Map(entries.to_vec())).unwrap(), r#"{"b~/":2,"a":3}"#);
    let pairs = codec("", "map<s8, u8>");
    let entries = [(-1, 1), (2, 2), (-1, 3)].map(|(key, value)| (Val::S8(key), Val::U8(value)));
    assert_eq!(encode(&pairs, &Val::Map(entries.to_vec())).unwrap(), "[[2,2],[-1,3]]");
    assert_eq!(mismatch(&objects, &Val::Map(vec![(text("b~/"), Val::S8(1))])), "/b~0~1");
    assert_eq!(mismatch(&objects, &Val::Map(vec![(Val::U8(1), Val::U8(1))])), "");
    assert_eq!(mismatch(&pairs, &Val::Map(vec![(Val::S8(1), text("a"))])), "/0/1");
}

#[test]
fn documents_are_bounded_in_length() {
    let codec = codec("", "list<string>");
    let value = Val::List(vec![text("abc"), text("\n")]);
    let length = r#"["abc","\n"]"#.len();
    let (mut out, before) = (b"x".to_vec(), b"x".to_vec());
    for limit in 0..length {
        assert_eq!(codec.encode(&value, &mut out, limit), Err(EncodeError::TooLarge { limit }));
        assert_eq!(out, before);
    }
    codec.encode(&value, &mut out, length).unwrap();
    codec.encode(&value, &mut out, usize::MAX).unwrap();
    assert_eq!(out.len(), 1 + 2 * length);
    let bytes = Val::List(vec![Val::U8(1); 100_000]);
    let error = Codec::new("it", &Type::List(Arc::new(Type::U8))).unwrap().encode(&bytes, &mut out, 100_000);
    assert_eq!(error, Err(EncodeError::TooLarge { limit: 100_000 }));
    assert!(out.capacity() < 1_000_000);
}

#[test]
fn an_object_spreads_over_parameters() {
    let (draft, note) = (wit::parse("record draft { unit-price: u8 }", "draft"), wit::parse("", "option<string>"));
    let object = ObjectCodec::new(&[("the-draft", &draft), ("note", &note), ("count", &Type::U32)]).unwrap();
    let values = object.decode(br#"{"count":3,"the_draft":{"unit_price":4}}"#).unwrap();
    assert_eq!(values, [record(&[("unit-price", Val::U8(4))]), Val::Option(None), Val::U32(3)]);
    let pointers = |document: &str| {
        let violations = object.decode(document.as_bytes()).unwrap_err();
        violations.into_iter().map(|violation| violation.pointer).collect::<Vec<_>>()
    };
    assert_eq!(
        pointers(r#"{"the_draft":{"unit_price":-4},"note":5,"more":1}"#),
        ["/the_draft/unit_price", "/note", "/more", "/count"]
    );
    assert_eq!(pointers("[]"), [""]);
    assert_eq!(pointers("null"), [""]);
    assert_eq!(pointers(r#"{"note":"#), ["/note"]);

    let unsupported = ObjectCodec::new(&[("a", &Type::Stream(None)), ("b", &Type::Future(None))]).unwrap_err();
    assert_eq!(unsupported.iter().map(|part| part.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn names_that_json_writes_alike_are_refused() {
    // WIT doesn't allow such a type, but a hand-made component may declare one.
    let fields = ["a-b", "A-B"].map(|name| Field { name: name.into(), ty: Type::U8 });
    let ty = Type::Record(Arc::new(Named { name: "r".into(), body: fields.to_vec() }));
    let unsupported = Codec::new("it", &Type::List(Arc::new(ty))).unwrap_err();
    assert_eq!((unsupported.len(), unsupported[0].path.as_str()), (1, "it[]"));
    let odd = Type::Enum(Arc::new(Named { name: "e".into(), body: vec!["a\"b".into()] }));
    assert_eq!(Codec::new("it", &odd).unwrap_err().len(), 1);
    assert!(ObjectCodec::new(&[("x-y", &Type::U8), ("x-Y", &Type::U8)]).is_err());
}

#[test]
fn functions_take_texts_and_give_one() {
    let parameter = |name: &str, ty: &str| Field { name: name.into(), ty: wit::parse("", ty) };
    let function = |result: Option<&str>| Function {
        parameters: vec![parameter("the-id", "string"), parameter("n", "u8"), parameter("limit", "option<u32>")],
        result: result.map(|ty| wit::parse("", ty)),
        is_async: false,
        docs: None,
    };
    let codec = FunctionCodec::new(&function(Some("result<u8, string>"))).unwrap();
    assert_eq!(codec.decode(&["\"a\"", "2"]).unwrap(), [text("a"), Val::U8(2), Val::Option(None)]);
    assert_eq!(codec.decode(&["\"a\"", "2", "3"]).unwrap().len(), 3);
    let violations = codec.decode(&["5", "[", "-1", "0"]).unwrap_err();
    let pointers: Vec<_> = violations.iter().map(|violation| violation.pointer.as_str()).collect();
    assert_eq!(pointers, ["/the_id", "/n", "/limit", ""]);
    let missing = Violation { pointer: "/n".to_owned(), detail: "missing argument `n`".to_owned() };
    assert_eq!(codec.decode(&["\"a\""]).unwrap_err(), [missing]);

    let mut out = Vec::new();
    codec.encode(Some(&Val::Result(Err(Some(Box::new(text("no")))))), &mut out, LIMIT).unwrap();
    assert_eq!(out, br#"{"err":"no"}"#);
    assert!(codec.encode(None, &mut out, LIMIT).is_err());
    out.clear();
    let unit = FunctionCodec::new(&function(None)).unwrap();
    unit.encode(None, &mut out, LIMIT).unwrap();
    assert_eq!(out, b"null");
    assert_eq!(unit.encode(None, &mut out, 3), Err(EncodeError::TooLarge { limit: 3 }));
    assert!(unit.encode(Some(&Val::U8(1)), &mut out, LIMIT).is_err());

    let unsupported = FunctionCodec::new(&Function {
        parameters: vec![parameter("the-stream", "stream<u8>"), parameter("n", "u8")],
        ..function(Some("option<option<u8>>"))
    });
    let paths: Vec<_> = unsupported.unwrap_err().into_iter().map(|part| part.path).collect();
    assert_eq!(paths, ["the-stream", "result"]);
}

#[test]
fn texts_and_absence() {
    let enums = "enum e { a }";
    for (ty, takes) in [("u8", true), ("e", true), ("option<e>", true), ("list<u8>", false), ("tuple<u8>", false)] {
        assert_eq!(codec(enums, ty).accepts_text(), takes, "{ty}");
    }
    assert_eq!(codec("", "option<u8>").absent_value(), Some(Val::Option(None)));
    assert_eq!(codec("", "list<u8>").absent_value(), None);
}
