//! Tests of `async func`, streams and futures between two compartments.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Val;
use watertight_relay::ends::MAX_ENDS;
use watertight_relay::item::MAX_CHUNK;
use watertight_runtime::runtime::{CallError, Generation, InstanceStats};
use watertight_store::{CallContext, LimitHit};
use watertight_testkit::app::guest;

use crate::app::{App, component, run};

/// Text for the end of a manifest: it puts each guest into a compartment.
const APART: &str = "[compartments.one]\nmodules = [\"drinks\"]\n[compartments.mid]\nmodules = [\"hands\"]\n\
                     [compartments.two]\nmodules = [\"feeds\"]\n";
/// The time of a call that is to succeed, in milliseconds.
const LONG: u64 = 60_000;
/// The number of types that the guest `drinks` sends there and back.
const TYPES: u64 = 15;

async fn start(settings: &str) -> App {
    let components = ["drinks", "hands", "feeds"].map(|name| (name, fs::read(guest(name)).unwrap()));
    let calls = [("drinks", "feeds"), ("drinks", "hands"), ("hands", "feeds")];
    App::start(&components, &calls, settings).await
}

/// Lets the guest `drinks` do what `name` says. An error is the guest's own.
async fn drink(
    generation: &Arc<Generation>,
    name: &str,
    number: u64,
    millis: u64,
) -> Result<Result<String, String>, CallError> {
    let interface = "test:drinks/drinks@1.0.0".parse().unwrap();
    let target = generation.target(&"drinks".parse().unwrap(), &interface, "run").unwrap();
    let context = CallContext::new("test".into(), Instant::now() + Duration::from_millis(millis));
    let parameters = [Val::String(name.to_owned()), Val::U64(number)];
    let text = |value: Option<Box<Val>>| match value.as_deref() {
        Some(Val::String(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    match generation.call(target, &parameters, context).await? {
        Some(Val::Result(Ok(value))) => Ok(Ok(text(value))),
        Some(Val::Result(Err(value))) => Ok(Err(text(value))),
        other => panic!("{other:?}"),
    }
}

async fn good(app: &App, name: &str, number: u64) -> String {
    let found = drink(&app.runtime.current(), name, number, LONG).await;
    found.unwrap_or_else(|error| panic!("{name} {number}: {error}")).unwrap_or_else(|text| panic!("{name}: {text}"))
}

async fn bad(app: &App, name: &str, number: u64, millis: u64) -> CallError {
    drink(&app.runtime.current(), name, number, millis).await.unwrap_err()
}

/// Waits until no call runs.
async fn until_idle(app: &App) {
    let start = Instant::now();
    while ["drinks", "hands", "feeds"].iter().any(|module| app.stats(module).running > 0) {
        assert!(start.elapsed() < Duration::from_secs(30), "calls still run");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn calls_run_beside_each_other_and_in_instances_of_their_own() {
    run(async {
        let app = start(APART).await;
        good(&app, "beside", 0).await;
        until_idle(&app).await;
        let InstanceStats { made, calls, .. } = app.stats("feeds");
        assert_eq!((made, calls), (2, 2));
        // Their instances serve further calls.
        good(&app, "beside", 0).await;
        until_idle(&app).await;
        assert_eq!(app.stats("feeds").made, 2, "{:?}", app.stats("feeds"));
        let metrics = app.runtime.current().telemetry().render(|now| app.runtime.sample(now));
        let bridged = "watertight_calls_total{from=\"one\",kind=\"bridged\",to=\"two\"} 4\n";
        assert!(metrics.contains(bridged), "{metrics}");
    });
}

#[test]
fn a_cancelled_call_ends() {
    run(async {
        let app = start(APART).await;
        good(&app, "cancel", 0).await;
        until_idle(&app).await;
        let InstanceStats { calls, dropped, .. } = app.stats("feeds");
        assert_eq!((calls, dropped), (1, 1));
    });
}

#[test]
fn every_type_of_items_goes_there_and_back() {
    run(async {
        let app = start(APART).await;
        for number in 0..TYPES {
            good(&app, "types", number).await;
        }
    });
}

#[test]
fn streams_carry_all_bytes_in_order() {
    run(async {
        let app = start(APART).await;
        for count in [0, 1, 65_536, 1_000_000] {
            let here = ["bytes", "total", "through", "plain-through", "relay"];
            for name in here.into_iter().chain(["bytes-on", "total-on", "through-on"]) {
                assert_eq!(good(&app, name, count).await, count.to_string(), "{name}");
            }
            assert_eq!(good(&app, "parted", count).await, format!("{count} {count} end"));
        }
        assert_eq!(good(&app, "gather", 20).await, "200");
        until_idle(&app).await;
        // Calls that end well leave their instances to others.
        let InstanceStats { made, dropped, .. } = app.stats("hands");
        assert!(made <= 2 && dropped == 0, "{made} {dropped}");
    });
}

/// Streams and futures between modules of one compartment, which the host does not relay, give the same results.
#[test]
fn streams_flow_within_a_compartment_as_between_two() {
    run(async {
        let app = start("[compartments.all]\nmodules = [\"drinks\", \"hands\", \"feeds\"]\n").await;
        for name in ["bytes", "total", "through", "relay", "bytes-on", "total-on", "through-on"] {
            assert_eq!(good(&app, name, 1_000_000).await, "1000000", "{name}");
        }
        for number in 0..TYPES {
            good(&app, "types", number).await;
        }
        good(&app, "beside", 0).await;
    });
}

#[test]
fn a_callee_ends_soon_after_its_caller() {
    run(async {
        let app = start(APART).await;
        for _ in 0..3 {
            good(&app, "leave", 0).await;
            until_idle(&app).await;
        }
        // The caller left a stream open, so its instance serves no other call.
        assert_eq!(app.stats("drinks").dropped, 3);
    });
}

/// A stream stays on the generation where it began, also when that one has been replaced.
#[test]
fn a_stream_flows_on_while_its_generation_is_replaced() {
    run(async {
        let app = start(APART).await;
        let old = app.runtime.current();
        let flowing = tokio::spawn({
            let old = old.clone();
            async move { drink(&old, "slow", 3_000_000, LONG).await }
        });
        while app.stats("feeds").running == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let weak = Arc::downgrade(&old);
        drop(old);
        let next = start(APART).await;
        app.runtime.publish(next.runtime.current(), app.runtime.drain_permit().await);
        assert_eq!(good(&app, "bytes", 10).await, "10");
        assert_eq!(flowing.await.unwrap().unwrap().unwrap(), "3000000");
        let start = Instant::now();
        while weak.upgrade().is_some() {
            assert!(start.elapsed() < Duration::from_secs(30), "the old generation is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_writer_gets_no_further_than_the_buffers_of_a_reader_that_pauses() {
    run(async {
        let app = start(APART).await;
        let most = 2 * MAX_CHUNK as u64;
        for count in [1, 1_000_000] {
            let written: u64 = good(&app, "drop", count).await.parse().unwrap();
            assert!(written >= count && written <= count + most, "{written} of {count}");
            let taken: u64 = good(&app, "sip", count).await.parse().unwrap();
            assert!(taken >= count && taken <= count + most, "{taken} of {count}");
        }
    });
}

#[test]
fn a_trap_fails_the_streams_and_futures_of_its_call() {
    run(async {
        let app = start(APART).await;
        // What is cut off must not look complete.
        for (name, count, what) in [("breaks", 100_000, "a stream was read"), ("never", 0, "a future was read")] {
            let error = bad(&app, name, count, LONG).await;
            assert!(matches!(&error, CallError::Trap { reason, .. } if reason.contains(what)), "{error}");
        }
        let unavailable = drink(&app.runtime.current(), "fail", 0, LONG).await.unwrap();
        assert_eq!(unavailable.unwrap_err(), "module `feeds` is unavailable: it failed");
        until_idle(&app).await;
        assert_eq!(app.stats("feeds").warm, 0);
    });
}

#[test]
fn who_waits_forever_is_stopped_at_the_deadline() {
    run(async {
        let app = start(APART).await;
        for name in ["forever", "silent", "hold", "compute"] {
            let error = bad(&app, name, 1_000_000, 300).await;
            assert!(matches!(error, CallError::Deadline { .. }), "{name}: {error}");
            until_idle(&app).await;
        }
        assert_eq!(good(&app, "bytes", 10).await, "10");
    });
}

/// The time of a callee's own limit ends with its function. What it streams after that has the time of its caller.
#[test]
fn a_callee_s_own_limit_of_time_holds_until_its_function_returns() {
    run(async {
        let app = start(&format!("{APART}limits.request = \"200ms\"\n")).await;
        let error = bad(&app, "forever", 0, LONG).await;
        let CallError::Callee(failed) = &error else { panic!("{error}") };
        assert!(matches!(failed.error, CallError::Deadline { .. }), "{error}");
        assert_eq!(good(&app, "slow", 10_000_000).await, "10000000");
    });
}

/// A text or a list of bytes in a stream is an item of its own, which leaves its guest at once.
#[test]
fn an_item_has_the_limit_of_what_leaves_a_guest() {
    run(async {
        let app = start(&format!("{APART}[defaults.limits]\ntransfer = \"100KiB\"\n")).await;
        assert_eq!(good(&app, "bytes", 1_000_000).await, "1000000");
        for number in [13, 14] {
            let error = bad(&app, "types", number, LONG).await;
            assert!(matches!(error, CallError::Limit { hit: LimitHit::Transfer { .. }, .. }), "{number}: {error}");
        }
        // Items that wait for their readers count together.
        let waits = bad(&app, "hold-texts", 500, 500).await;
        assert!(matches!(waits, CallError::Deadline { .. }), "{waits}");
        let error = bad(&app, "hold-texts", 2_000, LONG).await;
        assert!(matches!(error, CallError::Limit { hit: LimitHit::Transfer { .. }, .. }), "{error}");
    });
}

#[test]
fn what_callees_compute_counts_for_their_caller() {
    run(async {
        let app = start(&format!("{APART}[defaults.limits]\ncpu = \"200ms\"\n")).await;
        let error = bad(&app, "compute", 0, LONG).await;
        let CallError::Callee(failed) = &error else { panic!("{error}") };
        assert!(matches!(failed.error, CallError::Limit { hit: LimitHit::Cpu { .. }, .. }), "{error}");
        until_idle(&app).await;
    });
}

#[test]
fn a_call_has_a_bounded_number_of_streams() {
    run(async {
        let app = start(APART).await;
        assert_eq!(good(&app, "many", MAX_ENDS as u64 / 2).await, (MAX_ENDS / 2).to_string());
        for (name, number) in [("many", 1_000), ("gather", 1_000)] {
            let error = bad(&app, name, number, LONG).await;
            let limit = LimitHit::Streams { limit: MAX_ENDS };
            assert!(matches!(&error, CallError::Limit { hit, .. } if *hit == limit), "{name}: {error}");
            until_idle(&app).await;
        }
    });
}

#[test]
fn a_full_queue_is_told_to_one_call_of_many() {
    run(async {
        let settings = format!("{APART}limits.calls = 1\nlimits.queue = 0\n");
        let app = start(&settings).await;
        let error = bad(&app, "beside", 0, LONG).await;
        let CallError::Callee(failed) = &error else { panic!("{error}") };
        assert!(matches!(failed.error, CallError::QueueFull { .. }), "{error}");
    });
}

/// A callee that lifts its `async func` like a plain function, and a caller that waits for it.
#[test]
fn a_callee_without_an_executor_serves_an_async_function() {
    const WIT: &str = "package t:t@1.0.0;
        interface inner { answer: async func(how: u32) -> u32; }
        interface outer { answer: async func(how: u32) -> u32; }";
    let core = |import: &str, export: &str, body: &str| {
        let import = match import {
            "" => String::new(),
            name => format!(r#"(import "t:t/{name}@1.0.0" "answer" (func $next (param i32) (result i32)))"#),
        };
        format!(
            r#"(module {import} (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "t:t/{export}@1.0.0#answer") (param i32) (result i32) {body}))"#
        )
    };
    run(async {
        let caller = core("inner", "outer", "(i32.add (call $next (local.get 0)) (i32.const 1))");
        let callee =
            core("", "inner", "(if (i32.eqz (local.get 0)) (then unreachable)) (i32.mul (local.get 0) (i32.const 2))");
        let components = [
            ("caller", component(&format!("{WIT} world component {{ import inner; export outer; }}"), &caller)),
            ("callee", component(&format!("{WIT} world component {{ export inner; }}"), &callee)),
        ];
        let app = App::start(&components, &[("caller", "callee")], crate::app::APART).await;
        for _ in 0..3 {
            assert_eq!(app.call("caller", "outer.answer", &[Val::U32(4)], LONG).await, Ok(Some(Val::U32(9))));
            let failed = app.call("caller", "outer.answer", &[Val::U32(0)], LONG).await;
            assert!(matches!(failed, Err(CallError::Callee(_))), "{failed:?}");
        }
    });
}
