//! Tests of the OpenAPI document: what it says, that a validator accepts it, what edits mean to clients, the commands and listeners that
//! show it, and the page that tries it. And a tester of another project tries the running shop by it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod client;
mod documents;
mod edits;
mod page;
mod served;
mod tried;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use watertight_component::artifact::Artifact;
use watertight_control::application::{Artifacts, check_with};
use watertight_model::config::{self, AppFiles, Overrides};
use watertight_openapi::format::OpenApi;
use watertight_testkit::components;
use watertight_testkit::paths::{repository, target};

/// Returns the document of an application with one module, `stock`, whose component is made of WIT. `settings` is appended to its manifest.
fn document(wit: &str, routes: &str, settings: &str) -> OpenApi {
    let file = |name: &str, text: &str| serde_json::json!({ "path": name, "text": text });
    let manifest = "[app]\nname = \"demo\"\nroutes = [\"routes.toml\"]\n[modules.stock]\ncomponent = \"stock.wasm\"\n";
    let manifest = format!("{manifest}{settings}\n");
    let files: AppFiles = serde_json::from_value(serde_json::json!({
        "manifest": file("app.toml", &manifest),
        "routes": [file("routes.toml", routes)],
    }))
    .unwrap();
    let config = config::parse(&files, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems}\n{routes}"));
    let artifact = Artifact::new(Path::new(""), components::component(wit, "stock").into()).unwrap();
    let artifacts: Artifacts = [("stock".parse().unwrap(), Arc::new(artifact))].into();
    let checked = check_with(config, &artifacts).unwrap_or_else(|problems| panic!("{problems}\n{wit}\n{routes}"));
    OpenApi::new(&checked.graph, &checked.routes)
}

fn folder() -> PathBuf {
    repository().join("host/tests/openapi")
}

/// Returns a command that runs Python with a package: that of `make tools-test`, or else the system's.
fn with_python_package(name: &str) -> Command {
    let folders = std::fs::read_dir(target().join("toolchains")).into_iter().flatten().flatten();
    let start = format!("{name}-");
    let is_wanted = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start));
    let found = folders.map(|entry| entry.path()).filter(is_wanted).max();
    let mut python = Command::new("python3");
    found.into_iter().for_each(|folder| {
        python.env("PYTHONPATH", folder);
    });
    python
}
