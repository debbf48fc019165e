//! Tests what is read from the bytes of components, and what is refused.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::shape::{Difference, differences};
use crate::test_components::component;

const WIT: &str = r#"
package a:app@1.0.0;

world w {
    import a:db/store@0.2.0;
    import a:both/both@1.0.0;
    export a:both/both@1.0.0;
    export a:api/api@1.0.0;
    import log: func(text: string);
    export run: func();
}

world wants-part {
    import a:both/both@1.0.0;
}

package a:types@1.0.0 {
    interface types {
        record money { currency: string, minor: s64 }
        type timestamp = string;
    }
}

package a:db@0.2.0 {
    interface store {
        resource cursor {
            constructor(sql: string);
            next: func() -> option<list<u8>>;
            open: static func() -> cursor;
        }
        look: func(cursor: borrow<cursor>);
    }
}

package a:both@1.0.0 {
    interface both {
        flags rights { read, write }
        check: func(rights: rights) -> bool;
    }
}

package a:api@1.0.0 {
    interface api {
        use a:types/types@1.0.0.{money, timestamp as time};
        use a:db/store@0.2.0.{cursor};
        resource basket { add: func(price: money); }
        record line { sku: string, price: money, at: time }
        type row = line;
        variant error { empty, bad(string) }
        enum status { open, closed }
        place: func(lines: list<row>, basket: basket) -> result<tuple<line, status>, error>;
        scan: func() -> cursor;
        wait: async func(of: stream<u8>) -> future;
    }
}
"#;

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn keys<T>(map: &std::collections::BTreeMap<InterfaceName, T>) -> Vec<&str> {
    map.keys().map(InterfaceName::as_str).collect()
}

#[test]
fn imports_and_exports_are_told_apart() {
    let shape = read(&component(WIT, "w")).unwrap();
    assert_eq!(keys(&shape.imports), ["a:both/both@1.0.0", "a:db/store@0.2.0", "a:types/types@1.0.0", "log"]);
    assert_eq!(keys(&shape.exports), ["", "a:api/api@1.0.0", "a:both/both@1.0.0"]);
    // Functions that the world imports and exports directly.
    let world = InterfaceName::world();
    let log = &shape.imports[&InterfaceName::label("log").unwrap()];
    assert!(log.is_function && log.functions.contains_key("log"));
    assert_eq!(shape.exports[&world].functions.keys().collect::<Vec<_>>(), ["run"]);
    assert!(shape.bare_imports.is_empty() && shape.bare_exports.is_empty());
}

#[test]
fn types_are_resolved_and_keep_their_own_names() {
    let shape = read(&component(WIT, "w")).unwrap();
    let api = &shape.exports[&name("a:api/api@1.0.0")];
    let place = &api.functions["place"];
    let text: Vec<_> = place.parameters.iter().map(|field| format!("{}: {}", field.name, field.ty)).collect();
    assert_eq!(text, ["lines: list<record line>", "basket: own<a:api/api@1.0.0.basket>"]);
    assert_eq!(place.result.as_ref().unwrap().to_string(), "result<tuple<record line, enum status>, variant error>");
    let Type::List(line) = &place.parameters[0].ty else { panic!("a list") };
    let Type::Record(line) = &**line else { panic!("a record") };
    let fields: Vec<_> = line.body.iter().map(|field| format!("{}: {}", field.name, field.ty)).collect();
    assert_eq!(fields, ["sku: string", "price: record money", "at: string"]);
    assert_eq!(api.types["row"], api.types["line"]);
    assert_eq!(api.types["time"], Type::String);
}

#[test]
fn resources_name_the_interface_that_defines_them() {
    let shape = read(&component(WIT, "w")).unwrap();
    let store = &shape.imports[&name("a:db/store@0.2.0")];
    assert_eq!(store.resources, BTreeSet::from(["cursor".to_owned()]));
    let look = &store.functions["look"];
    assert_eq!(look.parameters[0].ty.to_string(), "borrow<a:db/store@0.2.0.cursor>");
    assert!(store.functions.contains_key("[constructor]cursor"));
    assert!(store.functions.contains_key("[method]cursor.next"));
    assert!(store.functions.contains_key("[static]cursor.open"));

    let api = &shape.exports[&name("a:api/api@1.0.0")];
    assert_eq!(api.resources, BTreeSet::from(["basket".to_owned()]));
    assert_eq!(api.types["cursor"].to_string(), "own<a:db/store@0.2.0.cursor>");
    assert_eq!(api.functions["scan"].result.as_ref().unwrap().to_string(), "own<a:db/store@0.2.0.cursor>");
}

#[test]
fn async_functions_are_marked() {
    let shape = read(&component(WIT, "w")).unwrap();
    let functions = &shape.exports[&name("a:api/api@1.0.0")].functions;
    let wait = functions.iter().find(|(name, _)| name.ends_with("wait")).unwrap().1;
    assert!(wait.is_async);
    assert_eq!(wait.parameters[0].ty.to_string(), "stream<u8>");
    assert!(!functions["scan"].is_async);
}

/// A component that imports only one function of an interface and exports all of them. The two interfaces must not be merged.
#[test]
fn an_interface_imported_in_part_and_exported_keeps_both_forms() {
    let wat = r#"(component
        (import "a:b/c" (instance (export "one" (func))))
        (component $inner
            (import "f" (func $f))
            (export "one" (func $f)) (export "two" (func $f)))
        (import "log" (func $log))
        (instance $i (instantiate $inner (with "f" (func $log))))
        (export "a:b/c" (instance $i)))"#;
    let shape = read(&wat::parse_str(wat).unwrap()).unwrap();
    assert_eq!(shape.imports[&name("a:b/c")].functions.len(), 1);
    assert_eq!(shape.exports[&name("a:b/c")].functions.len(), 2);
}

#[test]
fn a_composition_can_be_read() {
    let wat = r#"(component
        (import "alpha-store" (implements "a:db/store@0.2.0") (instance (export "get" (func (result string)))))
        (import "a:b/c@0.1.0" (instance)))"#;
    let shape = read(&wat::parse_str(wat).unwrap()).unwrap();
    assert_eq!(keys(&shape.imports), ["a:b/c@0.1.0", "alpha-store"]);
    let store = &shape.imports[&InterfaceName::label("alpha-store").unwrap()];
    assert_eq!(store.implements, Some(name("a:db/store@0.2.0")));
}

#[test]
fn types_of_the_world_are_no_imports_but_its_resources_are() {
    let wat = r#"(component
        (import "a:b/c" (instance $c (export "r" (type (sub resource))) (type $t (record (field "x" u8)))
            (export "t" (type (eq $t)))))
        (alias export $c "t" (type $t)) (import "t" (type (eq $t)))
        (alias export $c "r" (type $r)) (import "r" (type (eq $r)))
        (import "mine" (type (sub resource))))"#;
    let shape = read(&wat::parse_str(wat).unwrap()).unwrap();
    assert_eq!(shape.bare_imports, ["mine"]);
}

#[test]
fn bytes_that_are_no_component_are_refused_with_the_reason() {
    let whole = component(WIT, "w");
    let core = wat::parse_str("(module)").unwrap();
    let zeros = vec![0; 200 << 20];
    let mut of_zeros = whole[..8].to_vec();
    of_zeros.resize(1 << 20, 0);
    let nested = format!("{}{}", "(component ".repeat(1100), ")".repeat(1100));
    type Fits = fn(&ShapeError) -> bool;
    let cases: Vec<(&str, Vec<u8>, Fits)> = vec![
        ("nothing", vec![], |error| matches!(error, ShapeError::NotWasm)),
        ("garbage", b"PK\x03\x04garbage".to_vec(), |error| matches!(error, ShapeError::NotWasm)),
        ("text", b"(component)".to_vec(), |error| matches!(error, ShapeError::NotWasm)),
        ("200 MiB of zeros", zeros, |error| matches!(error, ShapeError::NotWasm)),
        ("a core module", core, |error| matches!(error, ShapeError::CoreModule)),
        ("half of the magic", b"\0as".to_vec(), |error| matches!(error, ShapeError::Truncated { .. })),
        ("only the magic", whole[..4].to_vec(), |error| matches!(error, ShapeError::Truncated { .. })),
        ("a header and zeros", of_zeros, |error| {
            matches!(error, ShapeError::Invalid { .. } | ShapeError::Truncated { .. })
        }),
        ("an unknown version", b"\0asm\x07\0\x09\0".to_vec(), |error| matches!(error, ShapeError::Invalid { .. })),
        ("nested 1100 deep", wat::parse_str(nested).unwrap_or_else(|_| b"\0asm\x0d\0\x01\0\x63".to_vec()), |error| {
            matches!(error, ShapeError::Invalid { .. } | ShapeError::Truncated { .. })
        }),
    ];
    for (what, bytes, fits) in cases {
        let error = read(&bytes).expect_err(what);
        assert!(fits(&error), "{what}: {error:?}");
        assert!(!error.to_string().contains('\n') && !error.help().is_empty(), "{what}: {error}");
    }
}

#[test]
fn every_cut_is_refused_or_read_and_never_panics() {
    let whole = component(WIT, "w");
    for length in (0..whole.len()).step_by(7) {
        // A cut between two sections leaves a smaller component, which may be valid.
        if let Err(error) = read(&whole[..length]) {
            assert!(
                matches!(error, ShapeError::NotWasm | ShapeError::Truncated { .. } | ShapeError::Invalid { .. }),
                "{length}: {error:?}"
            );
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let whole = component(WIT, "w");
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        let _ = read(&bytes);
    }
}

/// An exponential type: each level holds the level below twice. The validator bounds its size.
#[test]
fn a_type_bomb_is_refused_quickly() {
    let bomb = |levels: usize| {
        let mut wat = String::from("(component (type $t0 (tuple u8 u8))\n");
        for level in 1..levels {
            wat += &format!("(type $t{level} (tuple $t{0} $t{0}))\n", level - 1);
        }
        wat += &format!(r#"(import "a:b/c" (instance (export "f" (func (param "x" $t{}))))))"#, levels - 1);
        wat =
            wat.replace("(instance (export", &format!("(instance (alias outer 1 $t{} (type $u)) (export", levels - 1));
        wat = wat.replace(&format!("(param \"x\" $t{})", levels - 1), "(param \"x\" $u)");
        wat::parse_str(wat).unwrap()
    };
    let start = Instant::now();
    assert!(matches!(read(&bomb(40)), Err(ShapeError::Invalid { .. })));
    let shape = read(&bomb(12)).unwrap();
    let interface = &shape.imports[&name("a:b/c")];
    assert_eq!(differences(interface, interface), Vec::<Difference>::new());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// A component with large code, as interpreters have. Its function bodies must be skipped.
#[test]
fn large_code_is_read_quickly() {
    use wasm_encoder::{
        CodeSection, ComponentSection as _, Function, FunctionSection, Module, ModuleSection, TypeSection,
    };
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..10_000 {
        functions.function(0);
        let mut body = Function::new([]);
        // This is not valid code: it must not be read.
        body.raw(std::iter::repeat_n(0xff, 2000));
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let mut bytes = component(WIT, "w");
    ModuleSection(&module).append_to_component(&mut bytes);
    assert!(bytes.len() > 20_000_000);
    let start = Instant::now();
    read(&bytes).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// The declarations of named types in WIT text, collected while types are written.
#[derive(Default)]
struct Text {
    declarations: String,
    count: usize,
}

impl Text {
    /// Declares named types under fresh names. Returns the type with those names, and its WIT form.
    fn ty(&mut self, ty: &Type) -> (Type, String) {
        match ty {
            Type::List(inner) => self.around(inner, Type::List, "list"),
            Type::Option(inner) => self.around(inner, Type::Option, "option"),
            Type::Result { ok, err } => {
                let (ok, ok_text) = self.maybe(ok.as_deref());
                let (err, err_text) = self.maybe(err.as_deref());
                let text = match (&ok, &err) {
                    (None, None) => "result".to_owned(),
                    (Some(_), None) => format!("result<{ok_text}>"),
                    (_, Some(_)) => format!("result<{ok_text}, {err_text}>"),
                };
                (Type::Result { ok, err }, text)
            }
            Type::Tuple(types) => {
                let (types, texts): (Vec<_>, Vec<_>) = types.iter().map(|ty| self.ty(ty)).unzip();
                (Type::Tuple(types.into()), format!("tuple<{}>", texts.join(", ")))
            }
            Type::Record(record) => {
                let mut body = Vec::new();
                let mut text = String::new();
                for field in &record.body {
                    let (ty, wit) = self.ty(&field.ty);
                    text += &format!("%{}: {wit}, ", field.name);
                    body.push(Field { name: field.name.clone(), ty });
                }
                let name = self.declare("record", &text);
                (Type::Record(Arc::new(Named { name: name.clone(), body })), name.to_string())
            }
            Type::Variant(variant) => {
                let mut body = Vec::new();
                let mut text = String::new();
                for case in &variant.body {
                    let inner = case.ty.as_ref().map(|ty| self.ty(ty));
                    let payload = inner.as_ref().map(|(_, wit)| format!("({wit})")).unwrap_or_default();
                    text += &format!("%{}{payload}, ", case.name);
                    body.push(Case { name: case.name.clone(), ty: inner.map(|(ty, _)| ty) });
                }
                let name = self.declare("variant", &text);
                (Type::Variant(Arc::new(Named { name: name.clone(), body })), name.to_string())
            }
            Type::Enum(names) => {
                let name = self.declare("enum", &format!("%{}", names.body.join(", %")));
                (Type::Enum(Arc::new(Named { name: name.clone(), body: names.body.clone() })), name.to_string())
            }
            Type::Flags(names) => {
                let name = self.declare("flags", &format!("%{}", names.body.join(", %")));
                (Type::Flags(Arc::new(Named { name: name.clone(), body: names.body.clone() })), name.to_string())
            }
            primitive => (primitive.clone(), primitive.to_string()),
        }
    }

    fn around(&mut self, inner: &Type, wrap: fn(Arc<Type>) -> Type, word: &str) -> (Type, String) {
        let (inner, text) = self.ty(inner);
        (wrap(Arc::new(inner)), format!("{word}<{text}>"))
    }

    fn maybe(&mut self, ty: Option<&Type>) -> (Option<Arc<Type>>, String) {
        match ty {
            Some(ty) => {
                let (ty, text) = self.ty(ty);
                (Some(Arc::new(ty)), text)
            }
            None => (None, "_".to_owned()),
        }
    }

    fn declare(&mut self, kind: &str, body: &str) -> Arc<str> {
        self.count += 1;
        let name = format!("t{}", self.count);
        self.declarations += &format!("    {kind} {name} {{ {body} }}\n");
        name.into()
    }
}

fn any_names() -> impl Strategy<Value = Vec<Arc<str>>> {
    proptest::collection::btree_set("[a-z][a-z0-9]{0,4}(-[a-z][a-z0-9]{0,3}){0,2}", 1..5)
        .prop_map(|names| names.into_iter().map(Arc::from).collect())
}

fn named<T>(body: T) -> Arc<Named<T>> {
    Arc::new(Named { name: "".into(), body })
}

fn any_type() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            Type::Bool,
            Type::U8,
            Type::S8,
            Type::U16,
            Type::S16,
            Type::U32,
            Type::S32,
            Type::U64,
            Type::S64,
            Type::F32,
            Type::F64,
            Type::Char,
            Type::String,
        ]),
        any_names().prop_map(|names| Type::Enum(named(names))),
        any_names().prop_map(|names| Type::Flags(named(names))),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let some = || prop::option::of(inner.clone().prop_map(Arc::new));
        let named_types = || (any_names(), proptest::collection::vec(inner.clone(), 5));
        prop_oneof![
            inner.clone().prop_map(|ty| Type::List(Arc::new(ty))),
            inner.clone().prop_map(|ty| Type::Option(Arc::new(ty))),
            (some(), some()).prop_map(|(ok, err)| Type::Result { ok, err }),
            proptest::collection::vec(inner.clone(), 1..5).prop_map(|types| Type::Tuple(types.into())),
            named_types().prop_map(|(names, types)| {
                Type::Record(named(names.into_iter().zip(types).map(|(name, ty)| Field { name, ty }).collect()))
            }),
            named_types().prop_map(|(names, types)| {
                let case = |(index, (name, ty))| Case { name, ty: (index % 2 == 0).then_some(ty) };
                Type::Variant(named(names.into_iter().zip(types).enumerate().map(case).collect()))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_type_survives_the_way_through_a_component(ty in any_type(), import in any::<bool>()) {
        let mut text = Text::default();
        let (ty, wit) = text.ty(&ty);
        let direction = if import { "import" } else { "export" };
        let wit = format!(
            "package a:b@1.0.0;\ninterface c {{\n{}    f: func(x: {wit}) -> {wit};\n}}\nworld w {{ {direction} c; }}",
            text.declarations,
        );
        let shape = read(&component(&wit, "w")).unwrap();
        let side = if import { &shape.imports } else { &shape.exports };
        let function = &side[&name("a:b/c@1.0.0")].functions["f"];
        prop_assert_eq!(&function.parameters[0].ty, &ty);
        prop_assert_eq!(function.result.as_ref(), Some(&ty));
    }
}
