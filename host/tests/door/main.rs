//! Tests of what routes say about HTTP: requests that become parameters, and results that become answers. The cases are data, over real
//! sockets.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod answers;
mod bindings;
mod cases;
mod compression;
mod context;
mod floods;
mod hosts;
mod refusals;
mod templates;
mod uploads;

use std::path::PathBuf;

use watertight_testkit::app::{App, guest};
use watertight_testkit::paths::repository;

/// Returns an application of the module `door` with the routes of a file in this folder. `settings` is appended to the manifest.
fn app(routes: &str, settings: &str) -> App {
    let door = guest("door");
    let routes = std::fs::read_to_string(folder().join(routes)).unwrap();
    App::new(&format!(
        "[app]\nname = \"door\"\nroutes = [\"routes/*.toml\"]\n[modules.door]\ncomponent = {door:?}\n{settings}\n"
    ))
    .routes(&routes)
}

fn folder() -> PathBuf {
    repository().join("host/tests/door")
}
