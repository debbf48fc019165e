//! Benchmark of the same components with handlers of `wasi:http` on this host and on its peers, `wasmtime serve` and wasmCloud's `wash dev`:
//! small requests, large bodies, slow streams, and the memory of instances. `make bench-peers` installs the peers and runs it.
//!
//! Each server has one core, and the load driver another. What a program can't run is a dash in the table, with the reason.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

mod client;
mod load;
mod sides;
mod table;

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use watertight_testkit::bench;
use watertight_testkit::bench::compare::in_turns;
use watertight_testkit::bench::cores::Cores;
use watertight_testkit::bench::load::Sample;
use watertight_testkit::bench::server::Server;

use load::{HELD_STREAMS, Memory};
use sides::{Instances, Program, Setting, Version};
use table::{Measured, Table};

/// What is measured, in the order of the table.
const SETTINGS: [Setting; 5] = [
    Setting { version: Version::P2, instances: Instances::Fresh },
    Setting { version: Version::P2, instances: Instances::Reused },
    Setting { version: Version::P3, instances: Instances::Fresh },
    Setting { version: Version::P3, instances: Instances::Reused },
    Setting { version: Version::P3, instances: Instances::Shared },
];
/// How often memory is measured. Each time needs new servers.
const MEMORY_ROUNDS: usize = 3;
/// The maximum length of a reason in the table, in characters.
const MAX_REASON: usize = 300;

/// A measurement of load, its name in the table, and the goals for the ratios to `wasmtime serve` and to `wash dev`.
type Load = (&'static str, fn(&Cores, &Server) -> anyhow::Result<Sample>, [f64; 2]);

fn main() -> anyhow::Result<()> {
    let cores = Cores::find()?;
    let components = bench::application::guests(["handler-p2", "handler-p3"])?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let versions = Program::ALL.iter().map(|program| program.version().unwrap_or_else(|error| error.to_string()));
    let mut run = Runs { cores, folder: folder.path().to_owned(), started: 0 };
    let mut table = Table::new(versions.collect());
    for setting in SETTINGS {
        let component = &components[usize::from(setting.version == Version::P3)];
        eprintln!("  measuring {} with instances {}", setting.version, setting.instances);
        let able = run.loads(&mut table, setting, component);
        run.memory(&mut table, setting, component, &able);
    }
    table.finish()
}

/// The runs of servers.
struct Runs {
    cores: Cores,
    folder: PathBuf,
    /// The number of servers that were started. Each gets a folder of its own.
    started: usize,
}

impl Runs {
    fn serve(&mut self, program: Program, setting: Setting, component: &Path) -> anyhow::Result<Server> {
        self.started += 1;
        let folder = self.folder.join(self.started.to_string());
        std::fs::create_dir(&folder)?;
        program.serve(&self.cores, setting, component, &folder, &load::probe())
    }

    /// Measures every load on every program in turns. Returns which programs can serve the component in this way, or the reasons.
    fn loads(&mut self, table: &mut Table, setting: Setting, component: &Path) -> [Result<(), String>; 3] {
        let fresh = if setting.instances == Instances::Fresh { 2.0 } else { 1.1 };
        let loads: [Load; 3] = [
            ("hello, 64 connections", load::hello, [fresh, 1.1]),
            ("echo of 1 MiB, 8 connections", load::echo, [1.0, 1.0]),
            ("64 slow streams, each piece", load::streams, [1.0, 1.0]),
        ];
        let servers = Program::ALL.map(|program| {
            let server = self.serve(program, setting, component);
            let verified = server.and_then(|server| load::verify(&server, setting.instances).map(|()| server));
            verified.map_err(|error| reason(program, &error))
        });
        for (what, measure, goals) in loads {
            let sides = rounds(bench::rounds(), |side| {
                let server = servers[side].as_ref().map_err(Clone::clone)?;
                measure(&self.cores, server).map_err(|error| reason(Program::ALL[side], &error))
            });
            table.load(what.to_owned(), setting, goals, sides);
        }
        servers.map(|server| server.map(drop))
    }

    /// Measures the memory of every program in turns.
    fn memory(&mut self, table: &mut Table, setting: Setting, component: &Path, able: &[Result<(), String>; 3]) {
        let sides = rounds(MEMORY_ROUNDS, |side| {
            able[side].clone()?;
            let server = self.serve(Program::ALL[side], setting, component);
            let memory = server.and_then(|server| load::memory(&self.cores, &server));
            memory.map_err(|error| reason(Program::ALL[side], &error))
        });
        let part = |of: fn(&Memory) -> f64| {
            let kib = |memory: &Memory| of(memory) / 1024.0 / HELD_STREAMS as f64;
            let part = |side: &Measured<Memory>| Ok(side.as_ref().map_err(Clone::clone)?.iter().map(kib).collect());
            sides.iter().map(part).collect()
        };
        table.memory(
            format!("memory of each of {HELD_STREAMS} streams"),
            setting,
            [1.0, 1.0],
            part(|memory| memory.busy),
        );
        // Nothing is kept of fresh instances.
        if setting.instances != Instances::Fresh {
            let what = format!("what each of {HELD_STREAMS} streams leaves");
            table.memory(what, setting, [1.0, 1.0], part(|memory| memory.idle));
        }
    }
}

/// Measures every program in turns. A program of which one measurement fails has a reason instead of results.
fn rounds<T>(rounds: usize, measure: impl FnMut(usize) -> Result<T, String>) -> Vec<Measured<T>> {
    let mut measure = measure;
    let Ok(sides) = in_turns::<_, Infallible>(rounds, Program::ALL.len(), |side| Ok(measure(side)));
    sides.into_iter().map(|side| side.into_iter().collect()).collect()
}

/// Returns the text of an error for the table: one line, which names the program.
fn reason(program: Program, error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(MAX_REASON).collect();
    format!("{}: {text}", program.name())
}
