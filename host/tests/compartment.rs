//! Tests of a compartment whose guest loops, traps, exhausts its memory or is cancelled: each failure affects only its own call.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, Stream, StreamExt as _};
use tempfile::TempDir;
use wasmtime::component::Val;
use watertight_control::application::{self, Host};
use watertight_control::state::StateFolder;
use watertight_model::config::{self, Overrides};
use watertight_runtime::runtime::{CallError, Generation, InstanceStats, Lease, Runtime};
use watertight_store::{CallContext, LimitHit, TimeLimit};

const GUEST: &str = r#"
(component
  (core module $m
    (memory 1)
    (global $calls (mut i32) (i32.const 0))
    (func (export "spin") (loop (br 0)))
    (func (export "trap") unreachable)
    (func (export "eat") (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable)
    (func (export "count") (result i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (global.get $calls)))
  (core instance $i (instantiate $m))
  (func $spin (canon lift (core func $i "spin")))
  (func $trap (canon lift (core func $i "trap")))
  (func $eat (canon lift (core func $i "eat")))
  (func $count (result u32) (canon lift (core func $i "count")))
  (instance $api
    (export "spin" (func $spin)) (export "trap" (func $trap)) (export "eat" (func $eat)) (export "count" (func $count)))
  (export "t:t/api@1.0.0" (instance $api)))
"#;

/// A guest whose start function begins a transaction and keeps it. `begin` begins another, and returns 0 if that succeeds.
const KEEPS_TRANSACTION: &str = r#"
(component
  (import "watertight:sql/sql@1.0.0" (instance $sql
    (type $kind (enum "unique" "foreign-key" "not-null" "check" "other"))
    (export "constraint-kind" (type $constraint-kind (eq $kind)))
    (type $violation (record (field "kind" $constraint-kind) (field "detail" string)))
    (export "constraint-violation" (type $constraint-violation (eq $violation)))
    (type $cases (variant
      (case "constraint" $constraint-violation) (case "syntax" string) (case "busy") (case "timeout")
      (case "too-large") (case "closed") (case "storage" string)))
    (export "error" (type $error (eq $cases)))
    (export "transaction" (type $transaction (sub resource)))
    (export "[static]transaction.begin" (func (result (result (own $transaction) (error $error)))))))
  (alias export $sql "[static]transaction.begin" (func $begin))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $l (instantiate $memory))
  (core func $lowered
    (canon lower (func $begin) (memory (core memory $l "memory")) (realloc (core func $l "realloc"))))
  (core instance $host (export "begin" (func $lowered)))
  (core module $starts
    (import "host" "begin" (func $begin (param i32)))
    (func $start (call $begin (i32.const 16)))
    (start $start))
  (core instance (instantiate $starts (with "host" (instance $host))))
  (core module $m
    (import "host" "begin" (func $begin (param i32)))
    (import "l" "memory" (memory 1))
    (func (export "begin") (result i32) (call $begin (i32.const 64)) (i32.load8_u (i32.const 64))))
  (core instance $i (instantiate $m (with "host" (instance $host)) (with "l" (instance $l))))
  (func $f (result u32) (canon lift (core func $i "begin")))
  (instance $api (export "begin" (func $f)))
  (export "t:t/api@1.0.0" (instance $api)))
"#;

struct App {
    runtime: Runtime,
    /// Holds the lock of the state folder while the application runs.
    _state: StateFolder,
    _folder: TempDir,
}

/// Starts an application with the test guest `guest` as its module `m`. `settings` is appended to the manifest.
fn start(guest: &str, settings: &str) -> Result<App, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.wasm"), wat::parse_str(guest).unwrap()).unwrap();
    let manifest = format!("[app]\nname = \"demo\"\n[modules.m]\ncomponent = \"m.wasm\"\n{settings}\n");
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    let state = StateFolder::open(&folder.path().join("state")).unwrap();
    let config = config::load(folder.path(), &Overrides::default()).unwrap();
    let checked = application::check(config).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_watertight"));
    let host = Host::with_program(program);
    let runtime = application::start(checked, &state, &host).map_err(|problems| problems.to_string())?;
    Ok(App { runtime, _state: state, _folder: folder })
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

async fn call(generation: &Arc<Generation>, function: &str) -> Result<Option<Val>, CallError> {
    let name = ("m".parse().unwrap(), "t:t/api@1.0.0".parse().unwrap());
    let target = generation.target(&name.0, &name.1, function).unwrap();
    let deadline = Instant::now() + generation.time(target);
    generation.call(target, &[], CallContext::new("test".into(), deadline)).await
}

fn stats(generation: &Generation) -> InstanceStats {
    generation.compartments()[0].stats()
}

#[test]
fn a_call_that_fails_costs_its_own_instance_only() {
    run(async {
        let settings = "[defaults.limits]\nmemory = \"1MiB\"\nrequest = \"200ms\"\n";
        let app = start(GUEST, settings).unwrap();
        let generation = app.runtime.current();
        assert_eq!(call(&generation, "count").await, Ok(Some(Val::U32(1))));
        assert_eq!(call(&generation, "count").await, Ok(Some(Val::U32(2))), "instances are reused");

        assert!(matches!(call(&generation, "trap").await, Err(CallError::Trap { .. })));
        assert_eq!(
            call(&generation, "count").await,
            Ok(Some(Val::U32(1))),
            "the state of a trapped instance was reused"
        );

        let start = Instant::now();
        let late = CallError::Deadline {
            module: Some("m".parse().unwrap()),
            limit: TimeLimit::Request(Duration::from_millis(200)),
        };
        assert_eq!(call(&generation, "spin").await, Err(late));
        assert!((150..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

        let limit = 1 << 20;
        let wanted = limit + (64 << 10);
        let eaten = call(&generation, "eat").await;
        let module = Some("m".parse().unwrap());
        assert_eq!(eaten, Err(CallError::Limit { hit: LimitHit::Memory { wanted, limit }, module }));

        let stats = stats(&generation);
        assert_eq!((stats.made, stats.dropped, stats.warm, stats.calls), (3, 3, 0, 6));
    });
}

/// Returns a stream like a response body: each of its `parts` items is the result of a call on the same instance. The stream owns the lease
/// of the instance, which ends with the last item.
fn body(lease: Lease, parts: u32) -> impl Stream<Item = Result<Option<Val>, CallError>> + Send + 'static {
    stream::try_unfold((lease, parts), |(lease, left)| async move {
        if left == 0 {
            lease.put_back();
            return Ok(None);
        }
        let (part, lease) = lease.call(&[]).await?;
        Ok(Some((part, (lease, left - 1))))
    })
}

#[test]
fn a_call_ends_with_the_stream_that_owns_its_lease() {
    run(async {
        let app = start(GUEST, "[defaults.limits]\ncalls = 1\nqueue = 0\n").unwrap();
        let generation = app.runtime.current();
        let name = ("m".parse().unwrap(), "t:t/api@1.0.0".parse().unwrap());
        let target = generation.target(&name.0, &name.1, "count").unwrap();
        let admit = || {
            let call = CallContext::new("test".into(), Instant::now() + generation.time(target));
            generation.admit(target, call)
        };
        let running = || (stats(&generation).running, stats(&generation).warm);

        let mut whole = Box::pin(body(admit().await.unwrap(), 2));
        assert_eq!(running(), (1, 0), "the call runs from its admission");
        assert_eq!(whole.next().await, Some(Ok(Some(Val::U32(1)))));
        assert!(matches!(call(&generation, "count").await, Err(CallError::QueueFull { .. })), "its permit is taken");
        assert_eq!(whole.next().await, Some(Ok(Some(Val::U32(2)))), "on the same instance");
        assert_eq!(running(), (1, 0), "until the end is read");
        assert_eq!(whole.next().await, None);
        assert_eq!(running(), (0, 1), "the instance is put back");

        let mut left = Box::pin(body(admit().await.unwrap(), 2));
        assert_eq!(left.next().await, Some(Ok(Some(Val::U32(3)))));
        drop(left);
        assert_eq!(running(), (0, 0), "a body that is left drops its instance");
        assert_eq!(call(&generation, "count").await, Ok(Some(Val::U32(1))), "and gives its permit back");
    });
}

#[test]
fn a_call_that_is_left_gives_its_place_and_its_instance_back() {
    run(async {
        let app = start(GUEST, "[defaults.limits]\ncalls = 1\nqueue = 0\nrequest = \"30s\"\n").unwrap();
        let generation = app.runtime.current();
        let left = tokio::time::timeout(Duration::from_millis(50), call(&generation, "spin")).await;
        assert!(left.is_err(), "the endless call returned");
        assert_eq!(call(&generation, "count").await, Ok(Some(Val::U32(1))), "its permit was not given back");
        let stats = stats(&generation);
        assert_eq!((stats.made, stats.dropped, stats.warm), (2, 1, 1));
    });
}

#[test]
fn a_guest_that_computes_lets_others_run() {
    // With a single thread, a loop that is not interrupted would block everything else.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let app = start(GUEST, "[defaults.limits]\nrequest = \"1s\"\n").unwrap();
        let generation = app.runtime.current();
        let spinning = {
            let generation = generation.clone();
            tokio::spawn(async move { call(&generation, "spin").await })
        };
        tokio::task::yield_now().await;
        for _ in 0..10 {
            assert!(call(&generation, "count").await.is_ok());
        }
        assert!(!spinning.is_finished());
        assert!(matches!(spinning.await.unwrap(), Err(CallError::Deadline { .. })));
    });
}

#[test]
fn a_full_queue_is_told_at_once() {
    run(async {
        let app = start(GUEST, "[defaults.limits]\ncalls = 2\nqueue = 3\nrequest = \"500ms\"\n").unwrap();
        let generation = app.runtime.current();
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let generation = generation.clone();
                tokio::spawn(async move { call(&generation, "spin").await })
            })
            .collect();
        let mut full = 0;
        for caller in callers {
            match caller.await.unwrap() {
                Err(CallError::QueueFull { .. }) => full += 1,
                other => assert!(matches!(other, Err(CallError::Deadline { .. })), "{other:?}"),
            }
        }
        assert_eq!(full, 15);
        assert!(call(&generation, "count").await.is_ok());
    });
}

#[test]
fn instances_end_after_their_calls_or_when_idle() {
    run(async {
        let app = start(GUEST, "[defaults.instances]\nmax_calls = 2\nidle = \"100ms\"\n").unwrap();
        let generation = app.runtime.current();
        for expected in [1, 2, 1, 2, 1] {
            assert_eq!(call(&generation, "count").await, Ok(Some(Val::U32(expected))));
        }
        assert_eq!(stats(&generation).warm, 1);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let stats = stats(&generation);
        assert_eq!((stats.warm, stats.made, stats.dropped), (0, 3, 3));
    });
    run(async {
        let app = start(GUEST, "[defaults.instances]\nmode = \"fresh\"\n").unwrap();
        let generation = app.runtime.current();
        for _ in 0..3 {
            assert_eq!(
                call(&generation, "count").await,
                Ok(Some(Val::U32(1))),
                "a fresh instance has the state of an earlier call"
            );
        }
        assert_eq!(stats(&generation).warm, 0);
    });
}

#[test]
fn what_a_start_function_began_does_not_last_until_the_first_call() {
    run(async {
        let app = start(KEEPS_TRANSACTION, "uses = [\"sql\"]\n").unwrap();
        for _ in 0..2 {
            assert_eq!(call(&app.runtime.current(), "begin").await, Ok(Some(Val::U32(0))));
        }
    });
}

#[test]
fn a_module_that_can_t_start_says_which_limit_it_met() {
    let grows =
        "(start $grow) (func $grow (if (i32.eq (memory.grow (i32.const 99)) (i32.const -1)) (then unreachable)))";
    let too_large = GUEST.replace("(memory 1)", &format!("(memory 1) {grows}"));
    let traps = GUEST.replace("(global $calls", "(start $boom) (func $boom unreachable) (global $calls");
    for (guest, message) in [(too_large, "1048576 allowed"), (traps, "unreachable")] {
        run(async {
            let app = start(&guest, "[defaults.limits]\nmemory = \"1MiB\"\n").unwrap();
            let problems = app.runtime.current().warm_up(None).await.unwrap_err();
            assert!(problems.to_string().contains(message), "{problems}");
            assert_eq!(stats(&app.runtime.current()), InstanceStats::default());
        });
    }
}

#[test]
fn more_calls_than_the_pools_have_room_for_are_turned_away() {
    run(async {
        // Each instance has 60 memories, so 68 instances fill the pool of 4,096.
        let greedy = GUEST
            .replace("(func $spin (canon", &("(core instance (instantiate $m))\n".repeat(59) + "(func $spin (canon"));
        let app = start(&greedy, "[defaults.limits]\ncalls = 10000\nrequest = \"3s\"\n").unwrap();
        let generation = app.runtime.current();
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let generation = generation.clone();
                tokio::spawn(async move { call(&generation, "spin").await })
            })
            .collect();
        let mut no_room = 0;
        for caller in callers {
            match caller.await.unwrap() {
                Err(CallError::NoRoom { .. }) => no_room += 1,
                other => assert!(matches!(other, Err(CallError::Deadline { .. })), "{other:?}"),
            }
        }
        assert!(no_room == 32, "{no_room}");
        assert!(call(&generation, "count").await.is_ok());
    });
}

#[test]
fn a_generation_outlives_the_runtime_that_published_it() {
    run(async {
        let app = start(GUEST, "").unwrap();
        let generation: Arc<Generation> = app.runtime.current();
        drop(app);
        assert!(call(&generation, "count").await.is_ok());
    });
}
