//! Tests of mounts: a module answers requests by an HTTP handler of its own, over real sockets, in HTTP/1.1 and HTTP/2.
//!
//! The guest `serves` does what the last segment of a request's path says.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod cases;
mod client;
mod clients;
mod hostile;
mod limits;
mod middleware;
mod mixed;
mod neighbours;
mod p3;
mod relayed;
mod shared;
mod streams;
mod swaps;

use std::time::{Duration, Instant};

use axum::http::Version;
use watertight_testkit::app::{App, guest};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;

/// The maximum time to wait for something that takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);
/// The versions of HTTP that a host speaks.
const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// One mount for most tests, and others with each of the keys that a mount can have. `/web/handled` has a route of its own.
const ROUTES: &str = r#"
[[mount]]
path = "/web"
module = "web"

[[mount]]
path = "/strip/this"
module = "web"
strip = true

[[mount]]
path = "/some"
module = "web"
methods = ["GET", "PURGE"]

[[route]]
method = "GET"
path = "/web/handled"
call = "web/serves.handled"
"#;

/// Returns an application that mounts the guest `serves`. `settings` is appended to the manifest.
fn app(settings: &str) -> App {
    let (serves, probe) = (guest("serves"), guest("probe"));
    App::new(&format!(
        "[app]\nname = \"mounts\"\nroutes = [\"routes/*.toml\"]\n\
         [modules.web]\ncomponent = {serves:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n{settings}\n"
    ))
    .routes(ROUTES)
}

/// Waits until the condition `is` holds. `what` describes the condition for a failure's message.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < SOON, "timed out while waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the value of a series in a host's metrics, such as `name{label="value"}`. A series that is not there has the value 0.
async fn metric(host: &Host, series: &str) -> u64 {
    let text = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap_or("0");
    line.parse().unwrap_or_else(|_| panic!("{series}: {line}"))
}

/// Waits until nothing is in flight on the generation with this number.
async fn until_idle(host: &Host, generation: u64) {
    let series = format!("watertight_generation_requests_in_flight{{generation=\"{generation}\"}}");
    until("nothing is in flight", async || metric(host, &series).await == 0).await;
}
