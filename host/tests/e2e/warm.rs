//! Instances that are kept for calls to come (`instances.warm`), and what those see who wait for a large module.

use std::time::{Duration, Instant};

use watertight_telemetry::table;
use watertight_testkit::app::{App, guest};
use watertight_testkit::host::{Host, Launch, binary, component, folder};

use crate::scrape::Scrape;

/// Returns an application whose module keeps two instances and drops all others soon.
fn app() -> App {
    App::new(&format!(
        "[app]\nname = \"warm\"\nroutes = [\"routes/*.toml\"]\n[modules.a]\ncomponent = {:?}\n\
         uses = [\"sql\", \"logging\", \"clocks\", \"random\"]\n[defaults.instances]\nwarm = 2\nidle = \"100ms\"\n",
        guest("probe")
    ))
    .routes("[[route]]\nmethod = \"GET\"\npath = \"/count\"\ncall = \"a/acts.count\"\n[[route]]\nmethod = \"GET\"\npath = \"/trap\"\ncall = \"a/acts.trap\"\n")
}

/// Waits until the host has two warm instances and holds memory for them. Fails if it never does.
async fn has_two(host: &Host) {
    let start = Instant::now();
    loop {
        let now = Scrape::of(host).await;
        let (warm, bytes) = (now.sum(&table::INSTANCES_WARM, &[]), now.sum(&table::INSTANCES_WARM_BYTES, &[]));
        if warm == 2.0 && bytes > 0.0 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{warm} warm instances");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn warm_instances_are_there_from_the_start_and_after_idle_times_traps_and_swaps() {
    let app = app();
    let host = app.launch().start();
    let made = |now: &Scrape| now.sum(&table::INSTANCES_MADE, &[]);
    let now = Scrape::of(&host).await;
    assert_eq!((made(&now), now.sum(&table::INSTANCES_WARM, &[])), (2.0, 2.0));
    // Longer than `idle`.
    tokio::time::sleep(Duration::from_millis(500)).await;
    has_two(&host).await;
    assert_eq!(made(&Scrape::of(&host).await), 2.0);

    // A trap costs an instance. Another takes its place without a call.
    host.get("/trap").await.expect(500);
    has_two(&host).await;
    assert_eq!(made(&Scrape::of(&host).await), 3.0);

    // A new generation brings its own, and the old one keeps none.
    let before = made(&Scrape::of(&host).await);
    let component = std::fs::read(guest("probe")).unwrap();
    let mut changed = component.clone();
    // A custom section of one byte's name: another build of the same code.
    changed.extend_from_slice(&[0, 2, 1, b'x']);
    host.swap("a", changed, "").await.expect(200);
    assert_eq!(host.get("/count").await.expect(200).header("watertight-generation"), "2");
    assert_eq!(made(&Scrape::of(&host).await), before + 2.0, "the first request had to wait for an instance");
    has_two(&host).await;
}

/// A module of an interpreter takes seconds to compile. Whoever waits for it sees that, in the log and at the command line.
#[test]
fn a_swap_shows_the_large_module_that_it_waits_for() {
    let host = Launch::shop().start();
    let folder = folder();
    let file = folder.path().join("large.wasm");
    let mut component = std::fs::read(component("notifications-js")).unwrap();
    // A custom section, whose content makes it a component that no cache has.
    let unique = format!("{:?}", Instant::now());
    component.extend_from_slice(&[0, u8::try_from(unique.len() + 2).unwrap(), 1, b'x']);
    component.extend_from_slice(unique.as_bytes());
    std::fs::write(&file, component).unwrap();
    let mut swap = binary();
    swap.args(["swap", "notifications", file.to_str().unwrap(), "--state", host.state().to_str().unwrap()]);
    let output = swap.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("the host compiles module `notifications`, "), "{told}");
    assert!(host.has_logged("still compiling module `notifications`"), "{}", host.log());
}
