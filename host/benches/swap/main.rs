//! Benchmark of swaps of the shop's modules: the latency for customers under load, the operator's waiting time, and the resources
//! that are left behind.
//!
//! The host and the load driver share all cores. Every build is a new one, so each swap compiles.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

mod load;

use std::path::Path;
use std::time::Duration;

use watertight_testkit::bench;
use watertight_testkit::bench::application::copy_of_shop;
use watertight_testkit::bench::operator::{MODULES, Operator};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;
use watertight_testkit::process::Holdings;

/// The text that is appended to the manifest for the default placement of modules: none, because the default needs no tables of
/// compartments.
const FUSED: &str = "";
const APART: &str = "[compartments.a]\nmodules = [\"orders\"]\n[compartments.b]\nmodules = [\"payments\"]\n\
                     [compartments.c]\nmodules = [\"notifications\"]\n";
/// The time after which the host has freed the resources of an earlier step: blocking threads stay for ten seconds.
const SETTLE_TIME: Duration = Duration::from_secs(12);

fn main() -> anyhow::Result<()> {
    let shop = bench::application::shop()?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let mut report = Report::new("swap", "the shop's modules swapped by the release binary; builds never seen before");
    for (placement, compartments) in [("fused", FUSED), ("apart", APART)] {
        let app = copy_of_shop(&shop, &folder.path().join(placement), compartments)?;
        let state = folder.path().join(format!("{placement}-state"));
        let server = Server::host(None, &app, &state)?;
        let mut operator = Operator::new(&state)?;
        idle(&mut report, placement, &server, &mut operator)?;
        load::swaps_under_load(&mut report, placement, &server, &mut operator)?;
        server.stop()?;
    }
    left_behind(&mut report, &shop, folder.path())?;
    report.finish()
}

/// Measures how long an operator waits on an idle host, from the command to its end.
fn idle(report: &mut Report, placement: &str, server: &Server, operator: &mut Operator) -> anyhow::Result<()> {
    let rounds = bench::rounds() * 2;
    let (mut swaps, mut inside, mut back, mut refusals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let done = operator.swap("notifications", &format!("i{round}"))?;
        load::answers_from(server, done.generation)?;
        swaps.push(done.millis);
        inside.push(done.millis_inside);
        back.push(operator.roll_back()?.millis_inside);
        refusals.push(operator.refused()?);
    }
    report.figure(&format!("{placement}: command to live, never-seen build"), "ms", Some(150.0), swaps);
    report.figure(&format!("{placement}: of that in the host"), "ms", None, inside);
    report.figure(&format!("{placement}: rollback, in the host"), "ms", Some(20.0), back);
    report.figure(&format!("{placement}: refusal of a build that breaks callers"), "ms", Some(1000.0), refusals);
    Ok(())
}

/// Compares the resources that 300 swaps leave behind with those that three leave.
fn left_behind(report: &mut Report, shop: &Path, folder: &Path) -> anyhow::Result<()> {
    let many = if bench::is_quick() { 30 } else { 300 };
    let app = copy_of_shop(shop, &folder.join("many"), APART)?;
    let state = folder.join("many-state");
    let server = Server::host(None, &app, &state)?;
    let mut operator = Operator::new(&state)?;
    let mut few = None;
    for number in 0..many {
        let done = operator.swap(MODULES[number % MODULES.len()], &format!("m{number}"))?;
        load::answers_from(&server, done.generation)?;
        if number == 2 {
            std::thread::sleep(SETTLE_TIME);
            few = Some(Holdings::of(server.process())?);
        }
    }
    std::thread::sleep(SETTLE_TIME);
    let (few, many_held) = (few.unwrap_or(Holdings::of(server.process())?), Holdings::of(server.process())?);
    let mut more = |what: &str, few: usize, many_held: usize| {
        let name = format!("{what} after {many} swaps, more than after 3");
        report.figure(&name, "", Some(0.0), vec![many_held as f64 - few as f64]);
    };
    more("files of compiled code", few.code.len(), many_held.code.len());
    more("mappings of compiled code", few.mappings, many_held.mappings);
    more("threads", few.threads, many_held.threads);
    more("open files", few.files, many_held.files);
    let goal = (few.resident as f64 / 10.0).max((16 << 20) as f64) / 1e6;
    let growth = (many_held.resident as f64 - few.resident as f64) / 1e6;
    report.figure(&format!("resident after {many} swaps, more than after 3"), "MB", Some(goal), vec![growth]);
    report.figure("resident after 3 swaps", "MB", None, vec![few.resident as f64 / 1e6]);
    server.stop()
}
