//! Property tests: values of every type arrive the same by a bridged call, between compartments, as by a fused call within one.
//!
//! A callee returns its parameter, and a caller passes its parameter on. Neither depends on the type: with enough further parameters,
//! values are passed in memory both ways, where the first parameter and the first part of the result have the same layout. So a few lines
//! of core WebAssembly serve any type.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wasmtime::component::Val;
use watertight_component::shape::Type;
use watertight_testkit::types::typed_values;

use crate::app::{APART, App, component, run};

/// The number of parameters after the first. With more than 16 flat values in all, the canonical ABI passes parameters in memory.
const MORE: usize = 16;
/// The number of random applications that a test runs. Each has many types, since one large component compiles faster than many small ones.
const APPLICATIONS: u32 = 6;
const TYPES: usize = 40;

#[test]
fn bridges_carry_every_type_of_values() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(APPLICATIONS));
    let typed = typed_values().prop_filter("the host supports it", |(ty, _)| is_compiled(ty));
    let result = runner.run(&vec(typed, TYPES), |mut typed| {
        typed.extend(nested_options());
        run(async {
            let types: Vec<&Type> = typed.iter().map(|(ty, _)| ty).collect();
            let components = [("caller", caller(&types)), ("callee", callee(&types))];
            let apart = App::start(&components, &[("caller", "callee")], APART).await;
            let together = App::start(&components, &[("caller", "callee")], "").await;
            for (number, (ty, value)) in typed.iter().enumerate() {
                let parameters: Vec<Val> = std::iter::once(value.clone()).chain(more()).collect();
                let function = format!("pass.echo{number}");
                let bridged = apart.call("caller", &function, &parameters, 10_000).await;
                let fused = together.call("caller", &function, &parameters, 10_000).await;
                let expected = Ok(Some(Val::Tuple(vec![value.clone(), Val::U64(7), Val::U64(7)])));
                prop_assert_eq!(&bridged, &expected, "{:?}", ty);
                prop_assert_eq!(fused, expected, "{:?}", ty);
            }
            prop_assert_eq!(apart.stats("callee").calls, typed.len() as u64);
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Returns options of options. JSON can't express them, so they are not among the random types.
fn nested_options() -> Vec<(Type, Val)> {
    let ty = Type::Option(Arc::new(Type::Option(Arc::new(Type::String))));
    let some = |value: Val| Val::Option(Some(Box::new(value)));
    let values = [Val::Option(None), some(Val::Option(None)), some(some(Val::String("x".to_owned())))];
    values.into_iter().map(|value| (ty.clone(), value)).collect()
}

fn more() -> impl Iterator<Item = Val> {
    std::iter::repeat_n(Val::U64(7), MORE)
}

/// Returns whether the host supports a type. It supports no lists of a fixed length, because Wasmtime's support for them is incomplete,
/// according to its documentation.
fn is_compiled(ty: &Type) -> bool {
    match ty {
        Type::FixedList(..) => false,
        Type::Map(key, value) => is_compiled(key) && is_compiled(value),
        Type::List(item) | Type::Option(item) => is_compiled(item),
        Type::Result { ok, err } => ok.iter().chain(err).all(|ty| is_compiled(ty)),
        Type::Tuple(types) => types.iter().all(is_compiled),
        Type::Record(record) => record.body.iter().all(|field| is_compiled(&field.ty)),
        Type::Variant(variant) => variant.body.iter().flat_map(|case| &case.ty).all(is_compiled),
        _ => true,
    }
}

const MEMORY: &str = r#"
    (memory (export "memory") 4)
    (global $free (mut i32) (i32.const 131072))
    (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $at) (local.get $new)))
      (loop $more
        (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
          (then (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br $more))))
      (local.get $at))
"#;

/// The address in the caller's memory at which the callee's result is written, 64 KiB. The allocator of these modules returns only higher
/// addresses, and the space in between holds a value of every type here.
const RESULT: &str = "(i32.const 65536)";

fn callee(types: &[&Type]) -> Vec<u8> {
    let mut core = format!("(module {MEMORY}");
    for number in 0..types.len() {
        let name = format!("t:t/echo@1.0.0#echo{number}");
        let _ = writeln!(core, "(func (export \"{name}\") (param i32) (result i32) local.get 0)");
    }
    component(&wit(types, "export echo;"), &(core + ")"))
}

fn caller(types: &[&Type]) -> Vec<u8> {
    let mut core = "(module\n".to_owned();
    for number in 0..types.len() {
        let _ = writeln!(core, "(import \"t:t/echo@1.0.0\" \"echo{number}\" (func $echo{number} (param i32 i32)))");
    }
    core.push_str(MEMORY);
    for number in 0..types.len() {
        let name = format!("t:t/pass@1.0.0#echo{number}");
        let body = format!("(call $echo{number} (local.get 0) {RESULT}) {RESULT}");
        let _ = writeln!(core, "(func (export \"{name}\") (param i32) (result i32) {body})");
    }
    component(&wit(types, "import echo; export pass;"), &(core + ")"))
}

fn wit(types: &[&Type], world: &str) -> String {
    let mut text = Text::default();
    let mut functions = String::new();
    for (number, ty) in types.iter().enumerate() {
        let ty = text.reference(ty);
        let more: String = (0..MORE).map(|number| format!(", p{number}: u64")).collect();
        let _ = writeln!(functions, "echo{number}: func(value: {ty}{more}) -> tuple<{ty}, u64, u64>;");
    }
    let definitions = text.definitions;
    // The caller uses types of a separate interface, as contracts do.
    let uses: String = (0..text.count).map(|number| format!("t{number}, ")).collect();
    let uses = if uses.is_empty() { uses } else { format!("use types.{{{}}};", uses.trim_end_matches(", ")) };
    format!(
        "package t:t@1.0.0;\ninterface types {{\n{definitions}}}\ninterface echo {{ {uses}\n{functions}}}\n\
         interface pass {{ {uses}\n{functions}}}\nworld component {{ {world} }}\n"
    )
}

/// Types as WIT text. Types that need a name get the names `t0`, `t1` and so on.
#[derive(Default)]
struct Text {
    definitions: String,
    count: usize,
}

impl Text {
    fn reference(&mut self, ty: &Type) -> String {
        match ty {
            Type::List(item) => format!("list<{}>", self.reference(item)),
            Type::Map(key, value) => format!("map<{}, {}>", self.reference(key), self.reference(value)),
            Type::Option(item) => format!("option<{}>", self.reference(item)),
            Type::Result { ok: None, err: None } => "result".to_owned(),
            Type::Result { ok: Some(ok), err: None } => format!("result<{}>", self.reference(ok)),
            Type::Result { ok: None, err: Some(err) } => format!("result<_, {}>", self.reference(err)),
            Type::Result { ok: Some(ok), err: Some(err) } => {
                format!("result<{}, {}>", self.reference(ok), self.reference(err))
            }
            Type::Tuple(types) => {
                let types: Vec<String> = types.iter().map(|ty| self.reference(ty)).collect();
                format!("tuple<{}>", types.join(", "))
            }
            Type::Record(record) => {
                let fields = record.body.iter().map(|field| format!("%{}: {}", field.name, self.reference(&field.ty)));
                let fields: Vec<String> = fields.collect();
                self.define("record", &fields)
            }
            Type::Variant(variant) => {
                let cases = variant.body.iter().map(|case| match &case.ty {
                    Some(ty) => format!("%{}({})", case.name, self.reference(ty)),
                    None => format!("%{}", case.name),
                });
                let cases: Vec<String> = cases.collect();
                self.define("variant", &cases)
            }
            Type::Enum(names) => {
                self.define("enum", &names.body.iter().map(|name| format!("%{name}")).collect::<Vec<_>>())
            }
            Type::Flags(names) => {
                self.define("flags", &names.body.iter().map(|name| format!("%{name}")).collect::<Vec<_>>())
            }
            plain => plain.to_string(),
        }
    }

    fn define(&mut self, keyword: &str, parts: &[String]) -> String {
        let name = format!("t{}", self.count);
        self.count += 1;
        let _ = writeln!(self.definitions, "{keyword} {name} {{ {} }}", parts.join(", "));
        name
    }
}
