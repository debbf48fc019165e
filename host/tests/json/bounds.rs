//! Tests of JSON documents and types that exceed a limit of the codec: they are deep, large, or wrong in many places.

use std::sync::Arc;

use watertight_component::shape::{Field, Named, Type};
use watertight_json::{Codec, MAX_DEPTH, MAX_TYPE_DEPTH, MAX_VALUES, MAX_VIOLATIONS, Violation};

use crate::wit;

fn list_of(ty: Type) -> Type {
    Type::List(Arc::new(ty))
}

fn nested(levels: usize, innermost: Type) -> Type {
    (0..levels).fold(innermost, |ty, _| list_of(ty))
}

fn only(violations: Result<wasmtime::component::Val, Vec<Violation>>) -> Violation {
    let mut violations = violations.unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations.remove(0)
}

#[test]
fn documents_have_a_depth() {
    // The first type can't nest, the second skips unknown fields, and the third has room for the nesting.
    let record = wit::parse("record r { a: option<u8> }", "r");
    for ty in [Type::U8, record, nested(MAX_TYPE_DEPTH - 1, Type::Bool)] {
        let codec = Codec::new("it", &ty).unwrap();
        for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
            let document = |depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
            let shallow = codec.decode(document(MAX_DEPTH).as_bytes()).unwrap_err();
            assert!(shallow.iter().all(|violation| !violation.detail.contains("JSON")), "{shallow:?}");
            for depth in [MAX_DEPTH + 1, 1_000_000] {
                let violation = only(codec.decode(document(depth).as_bytes()));
                assert!(violation.detail.contains("nest too deeply"), "{violation}");
            }
            // The brackets are never closed.
            assert!(only(codec.decode(open.repeat(1_000_000).as_bytes())).detail.contains("nest too deeply"));
        }
    }
}

#[test]
fn the_deepest_type_takes_its_documents() {
    let ty = nested(MAX_TYPE_DEPTH - 1, Type::Bool);
    let codec = Codec::new("it", &ty).unwrap();
    let document = "[".repeat(MAX_TYPE_DEPTH - 1) + "true" + &"]".repeat(MAX_TYPE_DEPTH - 1);
    let value = codec.decode(document.as_bytes()).unwrap();
    let mut out = Vec::new();
    codec.encode(&value, &mut out, 1000).unwrap();
    assert_eq!(out, document.as_bytes());
    // A map whose keys aren't strings takes two levels of nesting in a document.
    let pair = |ty| Type::Map(Arc::new(Type::U8), Arc::new(ty));
    let codec = Codec::new("it", &(0..MAX_TYPE_DEPTH - 1).fold(Type::Bool, |ty, _| pair(ty))).unwrap();
    let document = "[[1,".repeat(MAX_TYPE_DEPTH - 1) + "true" + &"]]".repeat(MAX_TYPE_DEPTH - 1);
    codec.decode(document.as_bytes()).unwrap();
}

#[test]
fn types_have_a_depth_and_a_size() {
    let reasons = |ty: &Type| {
        let unsupported = Codec::new("it", ty).unwrap_err();
        assert!(unsupported.len() <= MAX_VIOLATIONS);
        unsupported[0].reason.clone()
    };
    assert!(reasons(&nested(MAX_TYPE_DEPTH, Type::Bool)).contains("nest"));
    assert!(reasons(&nested(5_000, Type::U8)).contains("nest"));
    // Fifty levels use the one below twice each: the type has 2⁵⁰ parts.
    let twice = |ty: Type| {
        let field = |name: &str| Field { name: name.into(), ty: ty.clone() };
        Type::Record(Arc::new(Named { name: "r".into(), body: vec![field("a"), field("b")] }))
    };
    assert!(reasons(&(0..50).fold(Type::U8, |ty, _| twice(ty))).contains("made of more than"));
    assert!(reasons(&(0..50).fold(Type::Stream(None), |ty, _| twice(ty))).contains("stream"));
}

#[test]
fn violations_are_listed_up_to_a_bound() {
    let codec = Codec::new("it", &list_of(Type::Bool)).unwrap();
    let document = |wrong: usize| format!("[{}0]", "0,".repeat(wrong - 1));
    assert_eq!(codec.decode(document(MAX_VIOLATIONS).as_bytes()).unwrap_err().len(), MAX_VIOLATIONS);
    let cut = codec.decode(document(MAX_VIOLATIONS + 1).as_bytes()).unwrap_err();
    assert_eq!(cut.len(), MAX_VIOLATIONS + 1);
    assert!(cut[MAX_VIOLATIONS].detail.contains("only the first 64"), "{}", cut[MAX_VIOLATIONS]);
    assert_eq!(cut[MAX_VIOLATIONS].pointer, "");
}

#[test]
fn values_are_counted() {
    let fields = (0..1000).map(|index| format!("x{index}: option<u8>")).collect::<Vec<_>>().join(", ");
    let codec = Codec::new("it", &wit::parse(&format!("record r {{ {fields} }}"), "list<r>")).unwrap();
    let fits = MAX_VALUES / 1001;
    codec.decode(format!("[{}{{}}]", "{},".repeat(fits - 1)).as_bytes()).unwrap();
    let violation = only(codec.decode(format!("[{}{{}}]", "{},".repeat(500_000)).as_bytes()));
    assert_eq!(violation.pointer, format!("/{fits}"));
    assert!(violation.detail.contains("more than 2097152 values"), "{violation}");
}

#[test]
fn messages_stay_short() {
    let long = "x".repeat(1_000_000);
    let ty =
        wit::parse("record r { a: option<u8> } variant v { a(map<string, r>) } flags f { a }", "tuple<v, r, f, u64>");
    let codec = Codec::new("it", &ty).unwrap();
    let mistakes =
        format!(r#"[{{"a":{{"{long}":{{"{long}":"{long}","a":"{long}"}}}}}},{{"{long}":1}},["{long}"],"{long}"]"#);
    let violations = codec.decode(mistakes.as_bytes()).unwrap_err();
    assert_eq!(violations.len(), 5);
    for violation in violations {
        assert!(violation.pointer.len() < 300 && violation.detail.len() < 200, "{violation}");
    }
    let case = format!(r#"[{{"{long}":1}},{{}},[],0]"#);
    assert!(only(codec.decode(case.as_bytes())).detail.len() < 200);
    let number = format!("[{{\"a\":{{}}}},{{}},[],1{}]", "0".repeat(1_000_000));
    assert!(only(codec.decode(number.as_bytes())).detail.len() < 200);
}

#[test]
fn places_are_counted_in_lines_and_characters() {
    let codec = Codec::new("it", &list_of(Type::String)).unwrap();
    let violation = only(codec.decode("[\n  \"é\",\n  \"é\" \"a\"\n]".as_bytes()));
    assert!(violation.detail.ends_with("at line 3, column 7"), "{violation}");
    assert_eq!(violation.pointer, "/1");
}
