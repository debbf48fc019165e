//! Benchmark of calls between modules. The first part measures calls between two modules that are composed to one component (fused), and
//! compares them with the same composed component on bare Wasmtime: the same `Config`, but without limits, ticking epochs, fibers or a
//! host.
//!
//! All measured calls are made inside one call of a guest. So the cost of that outer call does not show, but anything that the host
//! puts between modules would.
//!
//! The second part (`bridged`) places the two modules in two compartments, and compares them with the two components linked
//! dynamically on bare Wasmtime.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

mod bridged;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use wasmtime::component::{Component, Instance, Linker, TypedFunc, Val};
use wasmtime::{Engine, Store};
use watertight_component::profile::Profile;
use watertight_control::application::{self, Checked, Host};
use watertight_control::state::StateFolder;
use watertight_model::config::{self, Overrides};
use watertight_runtime::link::{Composition, compose};
use watertight_runtime::runtime::{Generation, Target};
use watertight_store::CallContext;
use watertight_testkit::bench;
use watertight_testkit::bench::compare::{Pairs, in_turns};
use watertight_testkit::bench::cores::Cores;
use watertight_testkit::bench::report::Report;
use watertight_testkit::paths;

/// The kinds of calls that are measured. Each has the name of the caller's function, the number of calls that it makes within one call of
/// itself, and a description.
const KINDS: [(&str, u32, &str); 3] = [
    ("scalar", 1_000_000, "func(u32, u32) -> u32"),
    ("record", 1_000_000, "record with texts -> result of one"),
    ("list", 20_000, "list of 100 records -> s64"),
];
/// The time limit of a measurement, long enough on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> anyhow::Result<()> {
    let [caller, callee] = bench::application::guests(["caller", "callee"])?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let check = |name: &str, placement: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder)?;
        let manifest = folder.join("app.toml");
        let text = format!(
            "[app]\nname = \"calls\"\nstate = \"state\"\n\n[modules.caller]\ncomponent = {caller:?}\ncalls = [\"callee\"]\n\n\
             [modules.callee]\ncomponent = {callee:?}\n\n[defaults.limits]\nrequest = \"300s\"\n{placement}"
        );
        std::fs::write(&manifest, text)?;
        anyhow::Ok(application::check(config::load(&manifest, &Overrides::default())?)?)
    };
    let checked = check("fused", "")?;
    let apart =
        check("bridged", "[compartments.a]\nmodules = [\"caller\"]\n[compartments.b]\nmodules = [\"callee\"]\n")?;
    let mut bare = Bare::new(&checked).map_err(in_words)?;

    Cores::pin(Cores::find()?.server)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let within = runtime.enter();
    let hosted = Hosted::new(checked)?;
    let apart = Hosted::new(apart)?;
    drop(within);

    let mut report = Report::new("call", "calls between modules, by the host / on bare Wasmtime");
    for (kind, times, what) in KINDS.into_iter().filter(|(kind, ..)| is_asked_for("fused", kind)) {
        // Runs both once to warm up caches and branch predictors, and to check that both return the same result.
        let (ours, theirs) = (runtime.block_on(hosted.run(kind, times))?, bare.run(kind, times).map_err(in_words)?);
        ensure!(ours.1 == theirs.1, "`{kind}`: the host's result is {}, bare Wasmtime's {}", ours.1, theirs.1);
        let measured = in_turns(bench::rounds() * 3, 2, |side| {
            let (seconds, _) = if side == 0 {
                runtime.block_on(hosted.run(kind, times))?
            } else {
                bare.run(kind, times).map_err(in_words)?
            };
            anyhow::Ok(seconds * 1e9 / f64::from(times))
        })?;
        let [ours, theirs] = <[Vec<f64>; 2]>::try_from(measured).ok().context("two sides were measured")?;
        report.times(&format!("fused {kind}: {what}, {times} calls"), "ns/call", 1.05, 1.10, Pairs::new(ours, theirs));
    }
    let dynamic = runtime.block_on(bridged::Bare::new(&caller, &callee)).map_err(in_words)?;
    bridged::measure(&runtime, &apart, dynamic, &mut report)?;
    report.finish()
}

/// Returns whether the command line asks for this kind of call and this type, or for none in particular: `cargo bench --bench call
/// -- bridged scalar`.
fn is_asked_for(call: &str, kind: &str) -> bool {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    words.iter().all(|word| word == call || word == kind)
}

/// Converts an error of Wasmtime, which does not implement the trait `Error` of the standard library.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn in_words(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// The composed component of caller and callee on bare Wasmtime: the exports that make the measured calls.
struct Bare {
    store: Store<()>,
    instance: Instance,
    interface: String,
}

impl Bare {
    fn new(checked: &Checked) -> wasmtime::Result<Self> {
        let compartment = &checked.graph.compartments[0];
        let Composition { bytes, exports, .. } = compose(&checked.graph, compartment).map_err(wasmtime::Error::msg)?;
        let interface = exports.into_iter().find(|((module, _), _)| module.as_str() == "caller");
        let engine = Engine::new(&watertight_engine::config(Profile::Reuse))?;
        let component = Component::new(&engine, bytes)?;
        let mut store = Store::new(&engine, ());
        // The compiled code checks epochs, as in the host. Here the epoch never advances.
        store.set_epoch_deadline(1);
        let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
        let (_, interface) = interface.expect("the caller exports an interface");
        Ok(Self { store, instance, interface })
    }

    fn run(&mut self, kind: &str, times: u32) -> wasmtime::Result<(f64, u64)> {
        let Self { store, instance, interface } = self;
        let interface = instance.get_export_index(&mut *store, None, interface);
        let function = instance.get_export_index(&mut *store, interface.as_ref(), kind);
        let function = function.ok_or_else(|| wasmtime::format_err!("there is no export `{kind}`"))?;
        let function: TypedFunc<(u32,), (u64,)> = instance.get_typed_func(&mut *store, function)?;
        let start = Instant::now();
        let (sum,) = function.call(&mut *store, (times,))?;
        Ok((start.elapsed().as_secs_f64(), sum))
    }
}

/// The composed component of caller and callee, run by the host.
struct Hosted {
    generation: Arc<Generation>,
    // Keeps the lock of the state folder as long as this process runs.
    _state: StateFolder,
}

impl Hosted {
    fn new(checked: Checked) -> anyhow::Result<Self> {
        let state = StateFolder::open(&checked.config.state)?;
        let host = Host::with_program(paths::binary());
        let runtime = application::start(checked, &state, &host)?;
        Ok(Self { generation: runtime.current(), _state: state })
    }

    fn target(&self, kind: &str) -> anyhow::Result<Target> {
        let module = "caller".parse()?;
        let interface = "bench:work/drive@1.0.0".parse()?;
        self.generation.target(&module, &interface, kind).context("an export")
    }

    /// Makes `times` calls of the kind `kind` as a request does: on a worker thread of the runtime. Returns the time in seconds and the
    /// result.
    async fn run(&self, kind: &str, times: u32) -> anyhow::Result<(f64, u64)> {
        let (target, generation) = (self.target(kind)?, self.generation.clone());
        let call = CallContext::new("bench".into(), Instant::now() + TIMEOUT);
        let run = async move {
            let start = Instant::now();
            let result = generation.call(target, &[Val::U32(times)], call).await?;
            anyhow::Ok((start.elapsed().as_secs_f64(), result))
        };
        match tokio::spawn(run).await?? {
            (seconds, Some(Val::U64(sum))) => Ok((seconds, sum)),
            (_, other) => anyhow::bail!("an unexpected result: {other:?}"),
        }
    }
}
