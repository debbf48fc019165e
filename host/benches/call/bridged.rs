//! Measures calls between compartments, compared with the same two components on bare Wasmtime with the same `Config`. On bare Wasmtime,
//! the caller's import is a function that is defined at run time and calls an existing instance of the other component. That call has no
//! queue, deadline, limits, instance pool or error reporting.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use wasmtime::component::{Component, Func, Linker, TypedFunc};
use wasmtime::{Engine, Store};
use watertight_component::profile::Profile;
use watertight_testkit::bench::compare::{Pairs, in_turns};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::rounds;

use crate::{Hosted, in_words, is_asked_for};

/// The kinds of calls that are measured. Each has the name of the caller's function, the number of calls that it makes within one call of
/// itself, and a description.
const KINDS: [(&str, u32, &str); 3] = [
    ("scalar", 200_000, "func(u32, u32) -> u32"),
    ("record", 100_000, "record with texts -> result of one"),
    ("list", 2_000, "list of 100 records -> s64"),
];
/// The goal for the additional time of a bridged call with a number, compared with bare Wasmtime, in nanoseconds.
const SCALAR_ABOVE: f64 = 500.0;
/// The goal for the other calls: their time divided by that on bare Wasmtime. For calls with a number, this ratio follows from the goal in
/// nanoseconds.
const RATIO: f64 = 1.3;

/// Measures the host and bare Wasmtime in turns.
pub(crate) fn measure(runtime: &Runtime, hosted: &Hosted, bare: Bare, report: &mut Report) -> anyhow::Result<()> {
    let bare = Arc::new(tokio::sync::Mutex::new(bare));
    for (kind, times, what) in KINDS.into_iter().filter(|(kind, ..)| is_asked_for("bridged", kind)) {
        let run_bare = || {
            let bare = bare.clone();
            // Runs on a worker thread of the runtime, as a request does.
            let run = runtime.spawn(async move { bare.lock().await.run(kind, times).await });
            runtime.block_on(run)?.map_err(in_words)
        };
        let (ours, theirs) = (runtime.block_on(hosted.run(kind, times))?, run_bare()?);
        ensure!(ours.1 == theirs.1, "`{kind}`: the host's result is {}, bare Wasmtime's {}", ours.1, theirs.1);
        let measured = in_turns(rounds() * 3, 2, |side| {
            let (seconds, _) = if side == 0 { runtime.block_on(hosted.run(kind, times))? } else { run_bare()? };
            anyhow::Ok(seconds * 1e9 / f64::from(times))
        })?;
        let [ours, theirs] = <[Vec<f64>; 2]>::try_from(measured).ok().context("two sides were measured")?;
        let mut goal = RATIO;
        if kind == "scalar" {
            goal = 1.0 + SCALAR_ABOVE * theirs.len() as f64 / theirs.iter().sum::<f64>();
            let above = ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs).collect();
            report.figure(
                &format!("bridged {kind}, above bare dynamic Wasmtime"),
                "ns/call",
                Some(SCALAR_ABOVE),
                above,
            );
        }
        let name = format!("bridged {kind}: {what}, {times} calls");
        report.times(&name, "ns/call", goal, goal, Pairs::new(ours, theirs));
    }
    Ok(())
}

/// A function that the caller exports: it takes the number of calls to make, and returns a sum of their results.
type Drive = TypedFunc<(u32,), (u64,)>;

/// The calling component on bare Wasmtime. Its import calls an instance of the other component.
pub(crate) struct Bare {
    store: Store<()>,
    drives: Vec<(&'static str, Drive)>,
}

/// An instance of the called component, in a Wasmtime store of its own.
struct Callee {
    store: Store<()>,
    functions: Vec<Func>,
}

/// The functions of the called component, each with the caller's function that calls it.
const FUNCTIONS: [(&str, &str); 3] = [("add", "scalar"), ("update", "record"), ("total", "list")];

impl Bare {
    pub(crate) async fn new(caller: &Path, callee: &Path) -> wasmtime::Result<Self> {
        let engine = Engine::new(&watertight_engine::config(Profile::Reuse))?;
        let store = || {
            let mut store = Store::new(&engine, ());
            // The compiled code checks epochs, as in the host. Here the epoch never advances.
            store.set_epoch_deadline(1);
            store
        };
        let component = Component::from_file(&engine, callee)?;
        let mut callee_store = store();
        let callee = Linker::new(&engine).instantiate(&mut callee_store, &component)?;
        let (_, interface) =
            callee.get_export(&mut callee_store, None, "bench:work/work@1.0.0").expect("the callee's interface");
        let mut functions = Vec::new();
        for (name, _) in FUNCTIONS {
            let (_, index) = callee.get_export(&mut callee_store, Some(&interface), name).expect("its function");
            functions.push(callee.get_func(&mut callee_store, index).expect("it is a function"));
        }
        let callee = Arc::new(Mutex::new(Some(Box::new(Callee { store: callee_store, functions }))));

        let component = Component::from_file(&engine, caller)?;
        let mut linker = Linker::new(&engine);
        let mut work = linker.instance("bench:work/work@1.0.0")?;
        for (place, (name, _)) in FUNCTIONS.iter().enumerate() {
            let callee = callee.clone();
            work.func_new_async(name, move |_, _, parameters, results| {
                let callee = callee.clone();
                Box::new(async move {
                    let mut live = callee.lock().expect("nobody panics").take().expect("one call at a time");
                    let function = live.functions[place];
                    function.call_async(&mut live.store, parameters, results).await?;
                    *callee.lock().expect("nobody panics") = Some(live);
                    Ok(())
                })
            })?;
        }
        let mut store = store();
        let instance = linker.instantiate_async(&mut store, &component).await?;
        let (_, interface) =
            instance.get_export(&mut store, None, "bench:work/drive@1.0.0").expect("the caller's interface");
        let mut drives = Vec::new();
        for (_, name) in FUNCTIONS {
            let (_, index) = instance.get_export(&mut store, Some(&interface), name).expect("its function");
            drives.push((name, instance.get_typed_func(&mut store, index)?));
        }
        Ok(Self { store, drives })
    }

    async fn run(&mut self, kind: &str, times: u32) -> wasmtime::Result<(f64, u64)> {
        let (_, drive) = self.drives.iter().find(|(name, _)| *name == kind).expect("a kind that is driven");
        let start = Instant::now();
        let (sum,) = drive.call_async(&mut self.store, (times,)).await?;
        Ok((start.elapsed().as_secs_f64(), sum))
    }
}
