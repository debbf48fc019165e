//! Tests of calls through three compartments: the tightest deadline applies, whichever compartment has it, and each call is counted once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Val;
use watertight_runtime::runtime::CallError;

use crate::app::{App, component, run};

const WIT: &str = "package t:t@1.0.0;
interface inner { answer: func(how: u32) -> u32; }
interface middle { answer: func(how: u32) -> u32; }
interface outer { answer: func(how: u32) -> u32; }
";

const CALLS: &[(&str, &str)] = &[("a", "b"), ("b", "c")];

/// Returns a module whose function for `export` calls the function for `import` with its own parameter, and returns the answer.
fn passes(import: &str, export: &str) -> Vec<u8> {
    let core = format!(
        r#"(module (import "t:t/{import}@1.0.0" "answer" (func $next (param i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
          (func (export "t:t/{export}@1.0.0#answer") (param i32) (result i32) (call $next (local.get 0))))"#
    );
    component(&format!("{WIT} world component {{ import {import}; export {export}; }}"), &core)
}

/// Returns the last module of a chain of three that call each other. Its function loops forever if its parameter is 1, and otherwise
/// returns the parameter.
fn last() -> Vec<u8> {
    let core = r#"(module (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
          (func (export "t:t/inner@1.0.0#answer") (param i32) (result i32)
            (if (i32.eq (local.get 0) (i32.const 1)) (then (loop (br 0)))) (local.get 0)))"#;
    component(&format!("{WIT} world component {{ export inner; }}"), core)
}

async fn start(times: [u64; 3], more: &str) -> App {
    let components = [("a", passes("middle", "outer")), ("b", passes("inner", "middle")), ("c", last())];
    let mut settings = String::new();
    for (name, time) in ["a", "b", "c"].into_iter().zip(times) {
        settings += &format!("[compartments.in-{name}]\nmodules = [\"{name}\"]\nlimits.request = \"{time}ms\"\n");
        settings += if name == "c" { more } else { "" };
    }
    App::start(&components, CALLS, &settings).await
}

/// Returns the number of compartments between the caller and the origin of the error, or `None` for another error.
fn depth(error: &CallError) -> Option<usize> {
    match error {
        CallError::Deadline { .. } => Some(0),
        CallError::Callee(failed) => depth(&failed.error).map(|depth| depth + 1),
        _ => None,
    }
}

/// Returns the labels of those counters named `name` in `/metrics` that are not zero.
fn counted(app: &App, name: &str) -> Vec<String> {
    let text = app.runtime.current().telemetry().render(|now| app.runtime.sample(now));
    let lines = text.lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0"));
    lines.map(|line| line[name.len()..].to_owned()).collect()
}

async fn check_deadline(times: [u64; 3], waits: bool) {
    let app = Arc::new(start(times, if waits { "limits.calls = 1\n" } else { "" }).await);
    let busy = tokio::spawn({
        let app = app.clone();
        let work = async move { app.call("c", "inner.answer", &[Val::U32(1)], 60_000).await };
        async move {
            if waits {
                work.await.unwrap_err();
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = Val::U32(if waits { 2 } else { 1 });
    let tightest = *times.iter().min().unwrap();
    let place = times.iter().position(|time| *time == tightest).unwrap();
    let begin = Instant::now();
    let error = app.call("a", "outer.answer", &[asked], times[0]).await.unwrap_err();
    let took = begin.elapsed();
    let said = format!("{times:?} {waits} {error:?} {took:?}");
    assert_eq!(depth(&error), Some(place), "{said}");
    assert!(took >= Duration::from_millis(tightest - 1) && took < Duration::from_millis(tightest + 250), "{said}");
    busy.abort();
    assert!(busy.await.is_err() || !waits);
    for module in ["a", "b", "c"] {
        let stats = app.stats(module);
        assert_eq!((stats.running, stats.made), (0, stats.dropped + stats.warm as u64), "{said} {module}");
    }
    let errors: Vec<String> = ["a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(level, name)| {
            let kind = if level < place { "callee" } else { "deadline" };
            format!("{{compartment=\"in-{name}\",kind=\"{kind}\"}} 1")
        })
        .collect();
    let mut found = counted(&app, "watertight_call_errors_total");
    found.sort();
    assert_eq!(found, errors, "{said}");
    assert!(
        counted(&app, "watertight_calls_running").is_empty() && counted(&app, "watertight_calls_waiting").is_empty()
    );
}

#[test]
fn the_tightest_time_wins_wherever_it_stands() {
    run(async {
        let orders =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 0, 0], [2, 0, 0], [2, 2, 0]];
        for order in orders {
            for waits in [false, true] {
                check_deadline(order.map(|place| [200, 900, 30_000][place]), waits).await;
            }
        }
    });
}

const LISTS: &str = "package t:t@1.0.0;
interface inner { many: func(count: u32) -> list<u8>; }
interface outer { many: func(count: u32) -> list<u8>; }
";
/// The number of values in a result that takes long to copy.
const MANY: u32 = 500_000;

/// The host knows from earlier calls which functions take long. A function that is known as short but becomes long by its callee must not
/// keep its permit for offloaded work while it waits for a function that is known as long, and the other way round.
#[test]
fn who_is_long_by_a_callee_loses_no_turn() {
    let core = |export: &str, import: &str, many: &str| {
        let text = format!(
            r#"(module {import} (memory (export "memory") 16)
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
              (func (export "t:t/{export}@1.0.0#many") (param i32) (result i32) {many} i32.const 16))"#
        );
        let import = if import.is_empty() { "" } else { "import inner; " };
        component(&format!("{LISTS} world component {{ {import}export {export}; }}"), &text)
    };
    let inner =
        core("inner", "", "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (local.get 0))");
    let import = r#"(import "t:t/inner@1.0.0" "many" (func $next (param i32 i32)))"#;
    let outer = core("outer", import, "(call $next (local.get 0) (i32.const 16))");
    let settings = "[compartments.in-a]\nmodules = [\"a\"]\n[compartments.in-b]\nmodules = [\"b\"]\n";
    run(async {
        let app = Arc::new(App::start(&[("a", outer), ("b", inner)], &[("a", "b")], settings).await);
        // After these calls, the first function is known as short and the second as long.
        for _ in 0..40 {
            app.call("a", "outer.many", &[Val::U32(10)], 60_000).await.unwrap();
        }
        for _ in 0..3 {
            app.call("b", "inner.many", &[Val::U32(MANY)], 60_000).await.unwrap();
        }
        let asked = (0..8).map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.call("a", "outer.many", &[Val::U32(MANY)], 60_000).await })
        });
        for answer in asked.collect::<Vec<_>>() {
            answer.await.unwrap().unwrap();
        }
        assert!(!counted(&app, "watertight_long_steps_total").is_empty());
    });
}
