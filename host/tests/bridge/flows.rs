//! Tests of `async func`, streams and futures between two compartments.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Val;
use watertight_relay::ends::MAX_ENDS;
use watertight_relay::item::MAX_CHUNK;
use watertight_runtime::runtime::{CallError, Generation, InstanceStats};
use watertight_runtime::store::{CallContext, LimitHit};
use watertight_testkit::app::guest;

use crate::app::{App, run};

/// Text for the end of a manifest: it puts the two guests into two compartments.
const APART: &str = "[compartments.one]\nmodules = [\"drinks\"]\n[compartments.two]\nmodules = [\"feeds\"]\n";
/// The time of a call that is to succeed, in milliseconds.
const LONG: u64 = 60_000;
/// The number of types that the guest `drinks` sends there and back.
const TYPES: u64 = 15;

async fn start(settings: &str) -> App {
    let components = ["drinks", "feeds"].map(|name| (name, fs::read(guest(name)).unwrap()));
    App::start(&components, &[("drinks", "feeds")], settings).await
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

/// Waits until no call runs in the two compartments.
async fn until_idle(app: &App) {
    let start = Instant::now();
    while ["drinks", "feeds"].iter().any(|module| app.stats(module).running > 0) {
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
            for name in ["bytes", "total", "through", "plain-through", "relay"] {
                assert_eq!(good(&app, name, count).await, count.to_string(), "{name}");
            }
            assert_eq!(good(&app, "parted", count).await, format!("{count} {count} end"));
        }
        assert_eq!(good(&app, "gather", 20).await, "200");
    });
}

#[test]
fn a_writer_gets_no_further_than_the_buffers_of_a_reader_that_pauses() {
    run(async {
        let app = start(APART).await;
        let most = 4 * MAX_CHUNK as u64;
        for count in [1, 1_000_000] {
            let written: u64 = good(&app, "drop", count).await.parse().unwrap();
            assert!(written >= count && written <= count + most, "{written} of {count}");
            let taken: u64 = good(&app, "sip", count).await.parse().unwrap();
            assert!(taken >= count && taken <= count + most, "{taken} of {count}");
        }
    });
}

#[test]
fn a_trap_ends_the_streams_of_its_call_and_fails_its_futures() {
    run(async {
        let app = start(APART).await;
        // The bytes before the trap arrive.
        assert_eq!(good(&app, "breaks", 100_000).await, "100000");
        let error = bad(&app, "never", 0, LONG).await;
        assert!(matches!(&error, CallError::Trap { reason, .. } if reason.contains("future")), "{error}");
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
