//! Tests of calls between modules of one compartment: calls that can't be fused are bridged, and errors name both modules.

use wasmtime::component::Val;
use watertight_runtime::runtime::CallError;

use crate::app::{APART, App, component, run};

fn trap(module: &str, callees: &[&str], error: &CallError) {
    let CallError::Trap { module: found, callees: found_callees, .. } = error else { panic!("{error}") };
    assert_eq!(found.as_ref().unwrap().as_str(), module, "{error}");
    assert_eq!(found_callees.iter().map(|name| name.as_str()).collect::<Vec<_>>(), callees, "{error}");
}

/// Returns WIT definitions of a type `large` with `count` cases: one definition for each kind of type, with the name of the kind.
fn types(count: usize) -> Vec<(&'static str, String)> {
    let words = |each: fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(", ");
    vec![
        ("enum", format!("enum large {{ {} }}", words(|at| format!("c{at}")))),
        ("variant", format!("variant large {{ {} }}", words(|at| format!("c{at}")))),
    ]
}

#[test]
fn a_type_of_more_than_a_thousand_cases_is_carried_wherever_its_modules_stand() {
    run(async {
        for (count, is_fused) in [(1_000, true), (1_001, false), (5_000, false)] {
            for (kind, large) in types(count) {
                let wit = |world: &str| {
                    format!(
                        "package t:t@1.0.0;
                        interface big {{ {large} echo: func(value: large) -> large; }}
                        interface relay {{ pass: func(value: u32) -> u32; }}
                        world component {{ {world} }}"
                    )
                };
                let callee = component(
                    &wit("export big;"),
                    r#"(module (func (export "t:t/big@1.0.0#echo") (param i32) (result i32) (local.get 0)))"#,
                );
                let caller = component(
                    &wit("import big; export relay;"),
                    r#"(module (import "t:t/big@1.0.0" "echo" (func $echo (param i32) (result i32)))
                      (func (export "t:t/relay@1.0.0#pass") (param i32) (result i32) (call $echo (local.get 0))))"#,
                );
                let app = App::start(&[("caller", caller), ("callee", callee)], &[("caller", "callee")], "").await;
                let last = u32::try_from(count - 1).unwrap();
                for value in [5, last] {
                    let answer = app.call("caller", "relay.pass", &[Val::U32(value)], 5_000).await;
                    assert_eq!(answer, Ok(Some(Val::U32(value))), "{kind} of {count}");
                }
                assert_eq!(app.runtime.current().graph.compartments.len() == 1, is_fused, "{kind} of {count}");
            }
        }
    });
}

const BAD: &str = "package t:t@1.0.0;
interface bad {
    enum three { a, b, c }
    get: func(n: u32) -> three;
    letter: func() -> char;
    text: func() -> string;
    many: func() -> list<u8>;
    take: func(value: three);
}
interface other { go: func(); }
interface user { get: func(n: u32); letter: func(); text: func(); many: func(); give: func(); go: func(); }
";

fn bad_callee() -> Vec<u8> {
    component(
        &format!("{BAD} world component {{ export bad; }}"),
        r#"(module (memory (export "memory") 1) (data (i32.const 64) "\ff\fe")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
          (func (export "t:t/bad@1.0.0#get") (param i32) (result i32) (local.get 0))
          (func (export "t:t/bad@1.0.0#letter") (result i32) (i32.const 0xd800))
          (func (export "t:t/bad@1.0.0#text") (result i32)
            (i32.store (i32.const 32) (i32.const 64)) (i32.store (i32.const 36) (i32.const 2)) (i32.const 32))
          (func (export "t:t/bad@1.0.0#many") (result i32)
            (i32.store (i32.const 32) (i32.const 65530)) (i32.store (i32.const 36) (i32.const 100)) (i32.const 32))
          (func (export "t:t/bad@1.0.0#take") (param i32)))"#,
    )
}

/// Returns a module that calls the module `bad` with invalid values. If `two` is true, it also calls another module, so that the host can
/// tell which module it calls only from the call instruction.
fn bad_caller(two: bool) -> Vec<u8> {
    let (import, call) = if two { (r#"(import "t:t/other@1.0.0" "go" (func $go))"#, "(call $go)") } else { ("", "") };
    component(
        &format!("{BAD} world component {{ {} import bad; export user; }}", if two { "import other;" } else { "" }),
        &format!(
            r#"(module
              {import}
              (import "t:t/bad@1.0.0" "get" (func $get (param i32) (result i32)))
              (import "t:t/bad@1.0.0" "letter" (func $letter (result i32)))
              (import "t:t/bad@1.0.0" "text" (func $text (param i32)))
              (import "t:t/bad@1.0.0" "many" (func $many (param i32)))
              (import "t:t/bad@1.0.0" "take" (func $take (param i32)))
              (memory (export "memory") 1)
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
              (func (export "t:t/user@1.0.0#get") (param i32) (drop (call $get (local.get 0))))
              (func (export "t:t/user@1.0.0#letter") (drop (call $letter)))
              (func (export "t:t/user@1.0.0#text") (call $text (i32.const 16)))
              (func (export "t:t/user@1.0.0#many") (call $many (i32.const 16)))
              (func (export "t:t/user@1.0.0#give") (call $take (i32.const 7)))
              (func (export "t:t/user@1.0.0#go") {call} unreachable))"#
        ),
    )
}

#[test]
fn a_bad_value_between_two_modules_names_both() {
    run(async {
        for two in [false, true] {
            let mut components = vec![("caller", bad_caller(two)), ("callee", bad_callee())];
            let mut calls = vec![("caller", "callee")];
            if two {
                let wit = format!("{BAD} world component {{ export other; }}");
                components.push(("another", component(&wit, r#"(module (func (export "t:t/other@1.0.0#go")))"#)));
                calls.push(("caller", "another"));
            }
            let app = App::start(&components, &calls, "").await;
            assert_eq!(app.call("caller", "user.get", &[Val::U32(2)], 5_000).await, Ok(None));
            let cases: [(&str, &[Val]); 5] = [
                ("user.get", &[Val::U32(3)]),
                ("user.letter", &[]),
                ("user.text", &[]),
                ("user.many", &[]),
                ("user.give", &[]),
            ];
            for (function, parameters) in cases {
                let error = app.call("caller", function, parameters, 5_000).await.unwrap_err();
                trap("caller", &["callee"], &error);
                let words = error.to_string();
                let called = function.replace("user.", "t:t/bad@1.0.0.").replace("give", "take");
                let begin = format!("a module trapped between `caller` and `callee`: in a call of `{called}`: ");
                assert!(words.starts_with(&begin), "{function}: {words}");
            }
            // A trap outside of a call belongs to the module alone.
            trap("caller", &[], &app.call("caller", "user.go", &[], 5_000).await.unwrap_err());
        }
    });
}

/// The host reads the results itself: those of a call from outside, and those of a call between compartments.
#[test]
fn a_bad_value_that_the_host_reads_names_module_interface_and_function() {
    run(async {
        let components = [("caller", bad_caller(false)), ("callee", bad_callee())];
        let app = App::start(&components, &[("caller", "callee")], APART).await;
        let cases: [(&str, &[Val], &str); 4] = [
            ("get", &[Val::U32(3)], "discriminant 3 out of range"),
            ("letter", &[], "char"),
            ("text", &[], "utf-8"),
            ("many", &[], "out of bounds of memory"),
        ];
        for (function, parameters, cause) in cases {
            let error = app.call("callee", &format!("bad.{function}"), parameters, 5_000).await.unwrap_err();
            trap("callee", &[], &error);
            let words = error.to_string();
            let begin =
                format!("a module trapped in `callee`: the result of `t:t/bad@1.0.0.{function}` can't be read: ");
            assert!(words.starts_with(&begin) && words.contains(cause), "{words}");
            let error = app.call("caller", &format!("user.{function}"), parameters, 5_000).await.unwrap_err();
            assert!(error.to_string().contains(&words), "{error}");
        }
        // A parameter is read out of the caller's memory.
        let error = app.call("caller", "user.give", &[], 5_000).await.unwrap_err();
        trap("caller", &[], &error);
        let words = "a module trapped in `caller`: in a call of `t:t/bad@1.0.0.take`: discriminant 7 out of range";
        assert!(error.to_string().starts_with(words), "{error}");
    });
}

const FAILURE: &str = "package t:t@1.0.0;
interface deep { go: func(how: u32); }
interface api { go: func(how: u32); deep: func(how: u32); }
package watertight:lifecycle@1.0.0 {
    interface failure {
        record place { file: string, line: u32, column: u32 }
        report: func(message: string, at: option<place>);
    }
}
";

/// The core functions of a module that fails in the way that its parameter says. With 0 it traps. With 1 it reports two reasons to the host
/// and traps. With 2 it reports a reason and returns.
const FAILS: &str = r#"
    (import "watertight:lifecycle/failure@1.0.0" "report" (func $report (param i32 i32 i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "out of tea\nand milk") (data (i32.const 96) "src/tea.rs")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func $fail (param $how i32)
      (if (i32.eq (local.get $how) (i32.const 2)) (then
        (call $report (i32.const 64) (i32.const 10) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (return)))
      (if (local.get $how) (then
        (call $report (i32.const 64) (i32.const 19) (i32.const 1) (i32.const 96) (i32.const 10) (i32.const 7) (i32.const 9))
        (call $report (i32.const 64) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
      unreachable)
"#;

#[test]
fn a_module_that_fails_says_why_in_its_own_name_without_a_grant() {
    run(async {
        let callee = component(
            &FAILURE.replace(
                "package watertight",
                "world component { import watertight:lifecycle/failure@1.0.0; export deep; }\npackage watertight",
            ),
            &format!(r#"(module {FAILS} (func (export "t:t/deep@1.0.0#go") (param i32) (call $fail (local.get 0))))"#),
        );
        let caller = component(
            &FAILURE.replace("package watertight", "world component { import watertight:lifecycle/failure@1.0.0; import deep; export api; }\npackage watertight"),
            &format!(
                r#"(module (import "t:t/deep@1.0.0" "go" (func $deep (param i32))) {FAILS}
                (func (export "t:t/api@1.0.0#go") (param i32) (call $fail (local.get 0)))
                (func (export "t:t/api@1.0.0#deep") (param i32) (call $deep (local.get 0))))"#
            ),
        );
        let app = App::start(&[("caller", caller), ("callee", callee)], &[("caller", "callee")], "").await;
        assert_eq!(app.runtime.current().graph.compartments.len(), 1, "the modules are in different compartments");
        let said = r"out of tea\nand milk (src/tea.rs:7:9); wasm trap: wasm `unreachable` instruction executed";
        for (function, module) in [("api.go", "caller"), ("api.deep", "callee")] {
            let failed = app.call("caller", function, &[Val::U32(1)], 5_000).await.unwrap_err();
            assert_eq!(failed.to_string(), format!("a module trapped in `{module}`: {said}"));
            // A report counts only for its own call, even on the same instance.
            assert_eq!(app.call("caller", function, &[Val::U32(2)], 5_000).await, Ok(None));
            let failed = app.call("caller", function, &[Val::U32(0)], 5_000).await.unwrap_err();
            let bare = format!("a module trapped in `{module}`: wasm trap: wasm `unreachable` instruction executed");
            assert_eq!(failed.to_string(), bare);
        }
    });
}

#[test]
fn a_guest_that_ends_itself_is_told_apart_from_a_trap() {
    run(async {
        let wit = "package t:t@1.0.0;
            interface api { leave: func(failed: u32); }
            world component { import wasi:cli/exit@0.2.6; export api; }
            package wasi:cli@0.2.6 { interface exit { exit: func(status: result); } }";
        let guest = component(
            wit,
            r#"(module (import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))
              (func (export "t:t/api@1.0.0#leave") (param i32) (call $exit (local.get 0))))"#,
        );
        let app = App::start(&[("guest", guest)], &[], "").await;
        for (code, said) in [(0, "the code 0"), (1, "a code other than 0")] {
            let left = app.call("guest", "api.leave", &[Val::U32(code)], 5_000).await.unwrap_err();
            let words = format!("a module ended itself in `guest` by `exit` with {said} before its function returned");
            assert_eq!(left.to_string(), words);
        }
    });
}
