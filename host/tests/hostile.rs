//! Modules that trap, loop, eat, flood and lie: each costs the request that met it, and says what happened, to the operator only.
//!
//! Each file of `hostile/` is the core code of a module, whose function `attack` does it. Its first line says what is answered and
//! why; a second one what type `attack` has, where it returns anything.

#![allow(clippy::unwrap_used, dead_code, missing_docs, reason = "a test fails by panicking")]

#[path = "e2e/client.rs"]
mod client;
#[path = "support/host.rs"]
mod host;
#[path = "e2e/scrape.rs"]
mod scrape;

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use host::{Host, Launch};
use scrape::Scrape;
use watertight::telemetry::table;

/// Small enough that each is met soon.
const LIMITS: &str = "[defaults.limits]\nmemory = \"16MiB\"\ncpu = \"100ms\"\nrequest = \"10s\"\ntransfer = \"5MiB\"\n\
                      handles = 1000\nlog = \"64KiB\"\nresult = \"64KiB\"\n";

/// What a hostile module must come to.
#[derive(Debug)]
struct Attack {
    name: String,
    /// What its caller is answered.
    status: u16,
    why: Why,
    component: Vec<u8>,
}

/// What counts it.
#[derive(Debug)]
enum Why {
    Trap,
    Limit(String),
    /// The answer itself was too large, after the call.
    Result,
}

impl Attack {
    fn read(name: &str, text: &str) -> Self {
        let mut words = text.lines().next().unwrap().strip_prefix(";; status ").unwrap().split(' ');
        let status = words.next().unwrap().parse().unwrap();
        let why = match (words.next().unwrap(), words.next()) {
            ("trap", None) => Why::Trap,
            ("result", None) => Why::Result,
            ("limit", Some(limit)) => Why::Limit(limit.to_owned()),
            other => panic!("{name}: {other:?}"),
        };
        let result = text.lines().nth(1).and_then(|line| line.strip_prefix(";; result "));
        let result = result.map_or_else(String::new, |result| format!("(result {result})"));
        let component = format!(
            r#"(component
              (import "wasi:logging/logging@0.1.0-draft" (instance $logging
                (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
                (export "level" (type $level (eq $l)))
                (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
              (type $handle (resource (rep i32)))
              (core func $new (canon resource.new $handle))
              (core module $memory (memory (export "memory") 1))
              (core instance $memory (instantiate $memory))
              (alias core export $memory "memory" (core memory $shared))
              (core func $log (canon lower (func $logging "log") (memory $shared)))
              (core module $m
                (import "host" "new" (func $new (param i32) (result i32)))
                (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
                (import "host" "memory" (memory 1))
                (func (export "fine") (result i32) (i32.const 7))
                {text})
              (core instance $host
                (export "new" (func $new)) (export "log" (func $log)) (export "memory" (memory $shared)))
              (core instance $i (instantiate $m (with "host" (instance $host))))
              (func $attack {result} (canon lift (core func $i "attack") (memory $shared)))
              (func $fine (result u32) (canon lift (core func $i "fine")))
              (instance $api (export "attack" (func $attack)) (export "fine" (func $fine)))
              (export "t:t/api@1.0.0" (instance $api)))"#
        );
        let component = wat::parse_str(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), status, why, component }
    }

    fn all() -> Vec<Self> {
        let folder = host::repository().join("host/tests/hostile");
        let mut attacks: Vec<Self> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|file| Self::read(file.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(&file).unwrap()))
            .collect();
        attacks.sort_by(|one, other| one.name.cmp(&other.name));
        attacks
    }
}

/// A host on all of them, each in a compartment of its own.
fn start(attacks: &[Attack]) -> (tempfile::TempDir, Host) {
    let folder = host::folder();
    let (mut manifest, mut routes) =
        (format!("[app]\nname = \"a\"\nroutes = [\"routes.toml\"]\n{LIMITS}"), String::new());
    for Attack { name, component, status, .. } in attacks {
        fs::write(folder.path().join(format!("{name}.wasm")), component).unwrap();
        write!(manifest, "[modules.{name}]\ncomponent = \"{name}.wasm\"\nuses = [\"logging\"]\n").unwrap();
        write!(manifest, "[compartments.{name}]\nmodules = [\"{name}\"]\n").unwrap();
        let status = if *status == 500 { 200 } else { *status };
        for (function, status) in [("attack", status), ("fine", 200)] {
            writeln!(
                routes,
                "[[route]]\nmethod = \"GET\"\npath = \"/{name}/{function}\"\ncall = \"{name}/api.{function}\"\nstatus = {status}"
            )
            .unwrap();
        }
    }
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    let host = Launch::app(folder.path()).start();
    (folder, host)
}

async fn scrape(host: &Host) -> Scrape {
    Scrape::read(&client::send(client::client().get(host.admin_url("/metrics"))).await.expect(200).text)
}

#[tokio::test]
async fn each_attack_costs_its_own_request_and_says_why() {
    let attacks = Attack::all();
    let (_folder, host) = start(&attacks);
    for Attack { name, status, why, .. } in &attacks {
        for round in 1..=3 {
            let answer = host.get(&format!("/{name}/attack")).await;
            assert_eq!(answer.status, *status, "{name}: {answer:?}\n{}", host.log());
            if *status == 500 {
                assert_eq!(answer.problem(), "module-failed", "{name}");
                assert!(!answer.text.contains(name.as_str()), "{name}: the inside is told: {}", answer.text);
            }
            let metrics = scrape(&host).await;
            let count = f64::from(round);
            let (counted, error) = match why {
                Why::Trap => {
                    (metrics.value(&table::CALL_ERRORS, &[("compartment", name), ("kind", "trap")]), "trapped")
                }
                Why::Limit(limit) => {
                    (metrics.value(&table::LIMITS, &[("compartment", name), ("limit", limit)]), "a limit was met")
                }
                Why::Result => (count, "result"),
            };
            assert_eq!(counted, count, "{name}: {:?}", metrics.text());
            if *status == 500 && !matches!(why, Why::Result) {
                assert!(host.has_logged(error), "{name}: {}", host.log());
            }
            // The next request of the same module, and that of its neighbours, is served.
            for name in [name, &attacks[round as usize].name] {
                let fine = host.get(&format!("/{name}/fine")).await.expect(200);
                assert_eq!(fine.text, "7");
            }
        }
    }
    for name in ["loop", "recursion", "trap"] {
        assert!(host.has_logged(&format!("in `{name}`")), "{name}: {}", host.log());
    }
    assert!(host.has_logged("further lines of this call are dropped"));
    // Three floods of 64 KiB each, and what the others say.
    assert!(host.log().len() < 400_000, "{}", host.log().len());
}

#[tokio::test]
async fn a_loop_is_stopped_by_its_processor_time_though_it_may_wait_for_long() {
    let attacks: Vec<Attack> = Attack::all().into_iter().filter(|attack| attack.name == "loop").collect();
    let (_folder, host) = start(&attacks);
    let start = std::time::Instant::now();
    host.get("/loop/attack").await.expect(500);
    // Its time on the wall would be ten seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
