//! Benchmark of a start: the time until the host is ready to serve the shop with its code in the cache, and its memory when idle.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

use std::time::Duration;

use watertight_testkit::bench;
use watertight_testkit::bench::cores::resident_bytes;
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;

/// The time after which the resources that only the start needs are certainly freed.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// The goal for the time from the start to ready, in milliseconds.
const START_GOAL: f64 = 100.0;
/// The goal for the resident memory when idle, in MB.
const MEMORY_GOAL: f64 = 60.0;

fn main() -> anyhow::Result<()> {
    let app = bench::application::shop()?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let state = folder.path().join("state");
    let first = Server::host(None, &app, &state)?;
    let compiled = first.start_time.as_secs_f64() * 1e3;
    first.stop()?;

    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..bench::rounds() * 3 {
        let server = Server::host(None, &app, &state)?;
        times.push(server.start_time.as_secs_f64() * 1e3);
        if memory.len() < bench::rounds() {
            std::thread::sleep(SETTLE_TIME);
            memory.push(resident_bytes(server.process())? as f64 / 1e6);
        }
        server.stop()?;
    }
    let mut report = Report::new("start", "the release binary on the shop");
    report.figure("start to ready, cached code", "ms", Some(START_GOAL), times);
    report.figure("resident when idle", "MB", Some(MEMORY_GOAL), memory);
    report.figure("start to ready, compiling first", "ms", None, vec![compiled]);
    report.finish()
}
