//! What hostile modules cost those who stand beside them, and how exactly a loop is stopped.
//!
//! The shop is under load, at 30 % of what saturates the machine, while one hostile module after the other is called again and again,
//! each in a compartment of its own. The host and the driver share all cores.
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, reason = "a benchmark reports")]

#[path = "../tests/support/attacks.rs"]
mod attacks;
mod support;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use watertight::engine::EPOCH_TICK;

use attacks::Attack;
use support::application::with_hostile;
use support::customers::{customers, read};
use support::open::{Load, Request, Run, ask, saturate};
use support::report::Report;
use support::server::Server;

/// The part of the load that saturates.
const PART: f64 = 0.3;
/// Connections of the load that saturates.
const CONNECTIONS: usize = 64;
/// The module that loops.
const LOOP: &str = "loop";
/// What a loop may compute: the limit that hostile modules have.
const CPU: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    let shop = support::application::shop()?;
    let folder = tempfile::tempdir_in(support::folder()?)?;
    let attacks: Vec<Attack> = Attack::all().into_iter().filter(|attack| is_asked_for(&attack.name)).collect();
    let app = with_hostile(&shop, &folder.path().join("app"), "", &Attack::routes(&attacks), |folder| {
        Attack::put_all(&attacks, folder)
    })?;
    let mut report = Report::new("limits", "hostile modules beside the shop, by the release binary");
    let server = Server::host(None, &app, &folder.path().join("state"))?;
    if is_asked_for(LOOP) {
        stopped(&mut report, &server)?;
    }
    beside(&mut report, &server, &attacks)?;
    server.stop()?;
    report.finish()
}

/// Whether the command line names no module, or this one: `cargo bench --bench limits -- loop`.
fn is_asked_for(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| word == name)
}

/// How much longer than its budget a loop runs, on a machine that does nothing else.
fn stopped(report: &mut Report, server: &Server) -> anyhow::Result<()> {
    let rounds = if support::is_quick() { 20 } else { 200 };
    let request = Request { bytes: read(&format!("/{LOOP}")).into(), status: 500 };
    let mut above = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        ask(server.address, &request)?;
        above.push((start.elapsed().as_secs_f64() - CPU.as_secs_f64()) * 1e3);
    }
    above.sort_unstable_by(f64::total_cmp);
    let p99 = above[(rounds * 99).div_ceil(100) - 1];
    report.figure("a loop with 100 ms of processor time: request's time above that", "ms", None, above);
    report.figure("its p99", "ms", Some(10.0), vec![p99]);
    Ok(())
}

/// What the shop's customers have of each attack.
fn beside(report: &mut Report, server: &Server, attacks: &[Attack]) -> anyhow::Result<()> {
    let seconds = if support::is_quick() { 2 } else { 8 };
    let customers = customers(server)?;
    let most = saturate(server.address, CONNECTIONS, Duration::from_secs(5), customers.clone())?;
    report.figure("saturated by", "requests/s", None, vec![most]);
    let mut quiet = Vec::new();
    let run = |attack: Option<&Attack>| -> anyhow::Result<(Run, u64)> {
        let load = Load::start(server.address, most * PART, customers.clone())?;
        let mut count = 0;
        while load.elapsed() < Duration::from_secs(seconds) {
            match attack {
                Some(Attack { name, status, .. }) => {
                    let request = Request { bytes: read(&format!("/{name}")).into(), status: *status };
                    ask(server.address, &request).with_context(|| format!("`{name}`, {count} times before"))?;
                    count += 1;
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let run = load.stop()?;
        ensure!(run.broken.is_empty(), "connections broke: {:?}", run.broken);
        Ok((run, count))
    };
    // Between the attacks, since the machine isn't the same all the time.
    for (number, attack) in attacks.iter().enumerate() {
        if number % 3 == 0 {
            quiet.push(p99(&run(None)?.0)?);
        }
        let (done, count) = run(Some(attack))?;
        let wrong: u64 = done.wrong().values().sum();
        ensure!(wrong == 0, "{}: {:?}", attack.name, done.wrong());
        quiet.sort_unstable_by(f64::total_cmp);
        let goal = quiet[quiet.len() / 2] + 2.0 * EPOCH_TICK.as_secs_f64() * 1e3;
        let told = format!("{}: answered {}, {}", attack.name, attack.status, attack.effect());
        let name = format!("{told}; {count} times; p99 of {} customers beside it, 0 failed", done.answers.len());
        report.figure(&name, "ms", Some(goal), vec![p99(&done)?]);
    }
    report.figure("p99 of customers, quiet", "ms", None, quiet);
    Ok(())
}

/// In milliseconds.
fn p99(run: &Run) -> anyhow::Result<f64> {
    let mut all = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3)?;
    for histogram in run.by_second().values() {
        all.add(histogram)?;
    }
    Ok(all.value_at_quantile(0.99) as f64 / 1e3)
}
