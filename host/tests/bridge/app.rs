//! Applications for tests of calls: the modules `caller` and `callee`, in one compartment or in two.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wasmtime::component::Val;
use watertight_control::application::{self, Host};
use watertight_control::state::StateFolder;
use watertight_model::config::{self, Overrides};
use watertight_runtime::runtime::{CallError, Generation, InstanceStats, Runtime};
use watertight_store::CallContext;
use watertight_testkit::components::component_of;
use watertight_testkit::host::code;

/// Text for the end of a manifest: it puts the modules `caller` and `callee` into two compartments.
pub(crate) const APART: &str =
    "[compartments.one]\nmodules = [\"caller\"]\n[compartments.two]\nmodules = [\"callee\"]\n";

/// An application of test modules that runs in the test's process.
pub(crate) struct App {
    pub(crate) runtime: Runtime,
    /// Holds the lock of the state folder while the application runs.
    _state: StateFolder,
    _folder: TempDir,
}

impl App {
    /// Starts an application. `components` has the name and the component of each module, and `calls` pairs of a calling and a called
    /// module. `settings` is appended to the manifest.
    pub(crate) async fn start(components: &[(&str, Vec<u8>)], calls: &[(&str, &str)], settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = "[app]\nname = \"demo\"\n".to_owned();
        for (name, bytes) in components {
            fs::write(folder.path().join(name).with_extension("wasm"), bytes).unwrap();
            let callees: Vec<&str> = calls.iter().filter(|(from, _)| from == name).map(|(_, to)| *to).collect();
            manifest += &format!("[modules.{name}]\ncomponent = \"{name}.wasm\"\ncalls = {callees:?}\n");
        }
        fs::write(folder.path().join("app.toml"), format!("{manifest}{settings}\n")).unwrap();
        let state = StateFolder::open(&folder.path().join("state")).unwrap();
        code::lend(&folder.path().join("state"));
        let checked = application::check(config::load(folder.path(), &Overrides::default()).unwrap());
        let checked = checked.unwrap_or_else(|problems| panic!("{problems}"));
        let program = PathBuf::from(env!("CARGO_BIN_EXE_watertight"));
        let host = Host::with_program(program);
        let runtime = tokio::task::block_in_place(|| application::start(checked, &state, &host));
        let runtime = runtime.unwrap_or_else(|problems| panic!("{problems}"));
        code::keep(&folder.path().join("state"));
        Self { runtime, _state: state, _folder: folder }
    }

    /// Calls `t:t/API@1.0.0.function` of a module with a deadline in milliseconds.
    pub(crate) async fn call(
        &self,
        module: &str,
        function: &str,
        parameters: &[Val],
        millis: u64,
    ) -> Result<Option<Val>, CallError> {
        call(&self.runtime.current(), module, function, parameters, millis).await
    }

    /// Returns the numbers of instances and calls of a module's compartment.
    pub(crate) fn stats(&self, module: &str) -> InstanceStats {
        let generation = self.runtime.current();
        let place = generation.graph.compartment_of(&module.parse().unwrap()).unwrap();
        generation.compartments()[place].stats()
    }
}

pub(crate) async fn call(
    generation: &Arc<Generation>,
    module: &str,
    function: &str,
    parameters: &[Val],
    millis: u64,
) -> Result<Option<Val>, CallError> {
    let (api, function) = function.split_once('.').unwrap();
    let target = generation.target(&module.parse().unwrap(), &format!("t:t/{api}@1.0.0").parse().unwrap(), function);
    let deadline = Instant::now() + Duration::from_millis(millis);
    generation.call(target.unwrap(), parameters, CallContext::new("test".into(), deadline)).await
}

pub(crate) fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Builds a component from a core module in text and the world `component` of a WIT package `t:t@1.0.0`.
pub(crate) fn component(wit: &str, core: &str) -> Vec<u8> {
    component_of(wit, "component", core)
}
