//! End-to-end tests of streams between two compartments, where the host's process matters.

use serde_json::json;
use watertight_testkit::app::{App, guest};
use watertight_testkit::host::Host;
use watertight_testkit::process::Holdings;

/// The bytes of a stream that is much larger than what the host may keep of it.
const LARGE: u64 = 100_000_000;

fn start() -> Host {
    let [drinks, hands, feeds] = ["drinks", "hands", "feeds"].map(guest);
    let app = App::new(&format!(
        "[app]\nname = \"flows\"\n\
         [modules.drinks]\ncomponent = {drinks:?}\ncalls = [\"feeds\", \"hands\"]\n\
         [modules.hands]\ncomponent = {hands:?}\ncalls = [\"feeds\"]\n[modules.feeds]\ncomponent = {feeds:?}\n\
         [defaults.limits]\nrequest = \"5min\"\ncpu = \"5min\"\n"
    ));
    app.launch().start()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_stream_takes_little_memory_however_slow_its_reader_is() {
    let host = start();
    let slow = async |count: u64| host.called("drinks/drinks.run", json!(["slow", count])).await;
    assert_eq!(slow(1_000_000).await, json!({"ok": "1000000"}));
    let resident = || Holdings::of(host.process()).unwrap().resident;
    let before = resident();
    let mut flowing = std::pin::pin!(slow(LARGE));
    let mut most = before;
    let answer = loop {
        tokio::select! {
            answer = &mut flowing => break answer,
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => most = most.max(resident()),
        }
    };
    assert_eq!(answer, json!({"ok": LARGE.to_string()}));
    assert!(most - before < 32 << 20, "{} bytes", most - before);
}
