//! Tests of the ways in which calls between compartments end, and that ended calls hold no resources.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Val;
use watertight_component::profile::Profile;
use watertight_runtime::runtime::CallError;
use watertight_store::CalleeError;

use crate::app::{APART, App, call, component, run};

const WIT: &str = "package t:t@1.0.0;
interface inner {
    variant error { other, unavailable(string) }
    answer: func(how: u32) -> u32;
    careful: func(how: u32) -> result<u32, error>;
}
interface outer {
    use inner.{error};
    answer: func(how: u32) -> u32;
    careful: func(how: u32) -> result<u32, error>;
}
";

/// The core function of the called module: it traps if its parameter is 0, loops forever if it is 1, and otherwise returns its parameter
/// plus one.
const ACTS: &str = r#"
    (func $act (param $how i32) (result i32)
      (if (i32.eq (local.get $how) (i32.const 0)) (then unreachable))
      (if (i32.eq (local.get $how) (i32.const 1)) (then (loop (br 0))))
      (i32.add (local.get $how) (i32.const 1)))
"#;

/// The parameter with which the calling module repeats its call until the call fails.
const ON_AND_ON: u32 = 1_000;

/// The WIT text and the core text of an asynchronous function. A module that has it gets an engine that allows concurrent calls of one
/// instance.
const LATER: (&str, &str) = ("interface later { later: async func(); }", r#"(func (export "t:t/later@1.0.0#later"))"#);

/// Builds a component from a core module in text and the content of its world. Adds the asynchronous function [`LATER`] if `concurrent` is
/// true.
fn make(concurrent: bool, world: &str, core: &str) -> Vec<u8> {
    let (interface, function) = if concurrent { LATER } else { ("", "") };
    let export = if concurrent { "export later;" } else { "" };
    component(&format!("{WIT} {interface} world component {{ {world} {export} }}"), &core.replace("@later", function))
}

fn callee(concurrent: bool) -> Vec<u8> {
    let core = format!(
        r#"(module {ACTS} (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "t:t/inner@1.0.0#answer") (param i32) (result i32) (call $act (local.get 0)))
        (func (export "t:t/inner@1.0.0#careful") (param i32) (result i32)
          (i32.store (i32.const 4) (call $act (local.get 0))) i32.const 0)
        @later)"#
    );
    // The byte at 0 is the discriminant of `ok`, and the value follows it.
    make(concurrent, "export inner;", &core)
}

fn caller(concurrent: bool) -> Vec<u8> {
    let core = r#"(module
        (import "t:t/inner@1.0.0" "answer" (func $answer (param i32) (result i32)))
        (import "t:t/inner@1.0.0" "careful" (func $careful (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "t:t/outer@1.0.0#answer") (param i32) (result i32)
          (local $answer i32)
          (loop
            (local.set $answer (call $answer (local.get 0)))
            (br_if 0 (i32.eq (local.get 0) (i32.const @on))))
          local.get $answer)
        (func (export "t:t/outer@1.0.0#careful") (param i32) (result i32)
          (loop
            (call $careful (local.get 0) (i32.const 0))
            (br_if 0 (i32.and (i32.eq (local.get 0) (i32.const @on)) (i32.eqz (i32.load8_u (i32.const 0))))))
          i32.const 0)
        @later)"#;
    make(concurrent, "import inner; export outer;", &core.replace("@on", &ON_AND_ON.to_string()))
}

async fn start(settings: &str) -> App {
    start_with(false, false, settings).await
}

async fn start_with(caller_is_concurrent: bool, callee_is: bool, settings: &str) -> App {
    let components = [("caller", caller(caller_is_concurrent)), ("callee", callee(callee_is))];
    App::start(&components, &[("caller", "callee")], settings).await
}

fn unavailable(cause: &str) -> Option<Val> {
    let text = Val::String(format!("module `callee` is unavailable: {cause}"));
    Some(Val::Result(Err(Some(Box::new(Val::Variant("unavailable".to_owned(), Some(Box::new(text))))))))
}

#[test]
fn an_answer_comes_back_and_both_instances_are_kept() {
    run(async {
        let app = start(APART).await;
        for number in 2..10 {
            let answer = app.call("caller", "outer.answer", &[Val::U32(number)], 5_000).await;
            assert_eq!(answer, Ok(Some(Val::U32(number + 1))));
            let answer = app.call("caller", "outer.careful", &[Val::U32(number)], 5_000).await;
            assert_eq!(answer, Ok(Some(Val::Result(Ok(Some(Box::new(Val::U32(number + 1))))))));
        }
        for module in ["caller", "callee"] {
            let stats = app.stats(module);
            assert_eq!((stats.made, stats.dropped, stats.warm, stats.calls), (1, 0, 1, 16), "{module}");
        }
    });
}

#[test]
fn a_trap_is_told_where_the_function_can_say_it_and_ends_the_caller_where_not() {
    run(async {
        let app = start(APART).await;
        let careful = app.call("caller", "outer.careful", &[Val::U32(0)], 5_000).await;
        assert_eq!(careful, Ok(unavailable("it failed")));
        assert_eq!((app.stats("caller").dropped, app.stats("callee").dropped), (0, 1));
        match app.call("caller", "outer.answer", &[Val::U32(0)], 5_000).await {
            Err(CallError::Callee(failed)) => {
                let CalleeError { module, error } = *failed;
                assert_eq!(module.as_str(), "callee");
                assert!(matches!(&error, CallError::Trap { reason, .. } if reason.contains("unreachable")), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((app.stats("caller").dropped, app.stats("callee").dropped), (1, 2));
        assert!(app.call("caller", "outer.answer", &[Val::U32(2)], 5_000).await.is_ok());
    });
}

#[test]
fn a_deadline_is_the_callers_where_its_own_time_is_up() {
    run(async {
        let app = start(APART).await;
        for function in ["outer.careful", "outer.answer"] {
            let start = Instant::now();
            let late = app.call("caller", function, &[Val::U32(1)], 200).await;
            assert!(matches!(late, Err(CallError::Deadline { .. })), "{function}: {late:?}");
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        }
        let tight = start_tight().await;
        let careful = tight.call("caller", "outer.careful", &[Val::U32(1)], 20_000).await;
        assert_eq!(careful, Ok(unavailable("it took too long")));
        let answer = tight.call("caller", "outer.answer", &[Val::U32(1)], 20_000).await;
        assert!(matches!(answer, Err(CallError::Callee(failed)) if matches!(failed.error, CallError::Deadline { .. })));
    });
}

#[test]
fn engines_with_and_without_concurrency_call_each_other() {
    for (caller, callee) in [(true, false), (false, true), (true, true)] {
        run(async {
            let app = start_with(caller, callee, APART).await;
            let profiles: Vec<Profile> =
                app.runtime.current().graph.compartments.iter().map(|compartment| compartment.profile).collect();
            let profile = |concurrent| if concurrent { Profile::Async } else { Profile::Reuse };
            assert_eq!(profiles, [profile(caller), profile(callee)]);
            for _ in 0..3 {
                assert_eq!(app.call("caller", "outer.answer", &[Val::U32(2)], 5_000).await, Ok(Some(Val::U32(3))));
                let told = app.call("caller", "outer.careful", &[Val::U32(0)], 5_000).await;
                assert_eq!(told, Ok(unavailable("it failed")), "{caller} {callee}");
                let ended = app.call("caller", "outer.answer", &[Val::U32(0)], 5_000).await;
                assert!(matches!(&ended, Err(CallError::Callee(_))), "{ended:?}");
                let late = app.call("caller", "outer.answer", &[Val::U32(1)], 100).await;
                assert!(matches!(late, Err(CallError::Deadline { .. })), "{late:?}");
            }
            let spin = app.call("caller", "outer.answer", &[Val::U32(1)], 60_000);
            assert!(tokio::time::timeout(Duration::from_millis(200), spin).await.is_err());
            tokio::time::sleep(Duration::from_millis(100)).await;
            let stats = app.stats("callee");
            assert_eq!(stats.made, stats.dropped + stats.warm as u64, "an instance is still at work");
        });
    }
}

/// Starts an application in which the called module has a shorter deadline than the calling one.
async fn start_tight() -> App {
    start(&format!("{APART}limits = {{ request = \"100ms\", calls = 1, queue = 0 }}\n")).await
}

#[test]
fn a_call_that_is_dropped_drops_the_one_in_it() {
    run(async {
        let app = start(&format!("{APART}limits = {{ calls = 1, queue = 0 }}\n")).await;
        let spin = app.call("caller", "outer.answer", &[Val::U32(1)], 60_000);
        assert!(tokio::time::timeout(Duration::from_millis(200), spin).await.is_err());
        // The callee's place is free again, and the instance was dropped.
        let answer = app.call("caller", "outer.careful", &[Val::U32(2)], 5_000).await;
        assert!(matches!(answer, Ok(Some(Val::Result(Ok(_))))), "{answer:?}");
        assert_eq!((app.stats("caller").dropped, app.stats("callee").dropped), (1, 1));
    });
}

/// When a replaced generation reaches its drain deadline, its calls end. A module that repeats its call to another module ends too, and
/// does not get the called module's error first.
#[test]
fn the_end_of_a_generation_ends_its_callers_and_tells_them_nothing() {
    run(async {
        let settings = format!("{APART}[http]\ndrain = \"100ms\"\n");
        for _ in 0..5 {
            let app = start(&settings).await;
            let old = app.runtime.current();
            let calls = ["outer.answer", "outer.careful"].map(|function| {
                let old = old.clone();
                tokio::spawn(async move { call(&old, "caller", function, &[Val::U32(ON_AND_ON)], 20_000).await })
            });
            drop(old);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let next = start(&settings).await;
            app.runtime.publish(next.runtime.current(), app.runtime.drain_permit().await);
            for call in calls {
                assert!(matches!(call.await.unwrap(), Err(CallError::Deadline { .. })));
            }
        }
    });
}

#[test]
fn a_full_queue_is_told() {
    run(async {
        let app = Arc::new(start(&format!("{APART}limits = {{ calls = 1, queue = 0, request = \"1s\" }}\n")).await);
        let busy = tokio::spawn({
            let app = app.clone();
            async move { app.call("caller", "outer.careful", &[Val::U32(1)], 20_000).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let refused = app.call("caller", "outer.careful", &[Val::U32(2)], 20_000).await;
        assert_eq!(refused, Ok(unavailable("too many calls wait for it")));
        assert_eq!(busy.await.unwrap(), Ok(unavailable("it took too long")));
    });
}

#[test]
fn warm_instances_keep_no_generation_alive() {
    run(async {
        let app = start(APART).await;
        app.runtime.current().warm_up(None).await.unwrap();
        let generation = app.runtime.current();
        assert!(call(&generation, "caller", "outer.answer", &[Val::U32(2)], 5_000).await.is_ok());
        assert!(generation.compartments().iter().all(|compartment| compartment.stats().warm == 1));
        let weak = Arc::downgrade(&generation);
        drop((app, generation));
        assert!(weak.upgrade().is_none(), "a warm instance holds the generation that its last call ran on");
    });
}
