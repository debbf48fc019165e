//! Benchmark of limits: how much hostile modules disturb other modules, and how precisely a loop is stopped.
//!
//! The shop is under load, at 30 % of what saturates the machine. Meanwhile one hostile module after the other is called again and
//! again, each in a compartment of its own, or one invalid build after the other is uploaded. The host and the load driver share
//! all cores.
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, reason = "a benchmark reports")]

mod connections;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use watertight_control::state::{StateFolder, read_token};
use watertight_engine::EPOCH_TICK;
use watertight_testkit::attacks::Attack;
use watertight_testkit::bench;
use watertight_testkit::bench::application::with_hostile;
use watertight_testkit::bench::compare::Values;
use watertight_testkit::bench::customers::{customers, read};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;
use watertight_testkit::open::{Load, Request, Run, ask, saturate};
use watertight_testkit::paths;
use watertight_testkit::refused::Refused;

/// The customers' requests per second, as a part of the rate that saturates the host.
const PART: f64 = 0.3;
/// The number of connections with which saturation is measured.
const CONNECTIONS: usize = 64;
/// The name of the hostile module that loops forever.
const LOOP: &str = "loop";
/// The name of the module for which invalid builds are uploaded. It imports only what every module may import.
const TARGET: &str = "trap";
/// The maximum processor time of a call of a hostile module.
const CPU: Duration = Duration::from_millis(100);
/// Settings for the manifest: a short compile time limit, so that compile bombs end soon.
const COMPILING: &str = "[compile]\ntime = \"1s\"\n";

fn main() -> anyhow::Result<()> {
    let shop = bench::application::shop()?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let (app, state) = (folder.path().join("app"), folder.path().join("state"));
    let attacks = Attack::all();
    let app =
        with_hostile(&shop, &app, COMPILING, &Attack::routes(&attacks), |folder| Attack::put_all(&attacks, folder))?;
    let mut report = Report::new("limits", "hostile modules and builds beside the shop, by the release binary");
    let server = Server::host(None, &app, &state)?;
    if is_asked_for(LOOP) {
        stopped(&mut report, &server)?;
    }
    let mut blows: Vec<RepeatedAttack> =
        attacks.iter().map(|attack| RepeatedAttack::call(server.address, attack)).collect();
    blows.extend(RepeatedAttack::offers(&state)?);
    blows.retain(|blow| is_asked_for(&blow.name));
    let most = beside(&mut report, &server, &blows)?;
    server.stop()?;
    if is_asked_for("connections") {
        // The shop alone: the operator swaps and rolls back what a team runs, not modules that take 100 ms to start.
        let state = folder.path().join("listeners");
        let server = Server::host(None, &shop, &state)?;
        let component = std::fs::read(paths::repository().join("target/components/notifications.wasm"))?;
        let marked = [&component[..], &[0, 6, 4, b'm', b'a', b'r', b'k', 1]].concat();
        connections::attacked(&mut report, &server, &state, "notifications", &marked, most * PART)?;
        server.stop()?;
    }
    report.finish()
}

/// An attack that is repeated while customers are served.
struct RepeatedAttack {
    name: String,
    /// The effect of the attack in words, for the table of results.
    told: String,
    address: SocketAddr,
    request: Request,
}

impl RepeatedAttack {
    /// Creates an attack that calls a hostile module.
    fn call(address: SocketAddr, attack: &Attack) -> Self {
        let Attack { name, status, .. } = attack;
        let request = Request { bytes: read(&format!("/{name}")).into(), status: *status };
        Self { name: name.clone(), told: format!("answered {status}, {}", attack.effect()), address, request }
    }

    /// Creates attacks that upload invalid builds to the host on `state`.
    fn offers(state: &Path) -> anyhow::Result<Vec<Self>> {
        let address = StateFolder::running_host(state).context("the host says where it is")?.admin;
        let token = read_token(state)?.context("the state folder has a token")?;
        let offer = |Refused { name, code, component }| {
            let length = component.len();
            let head = format!("POST /modules/{TARGET}/swap HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}");
            let head = format!("{head}\r\ncontent-type: application/wasm\r\ncontent-length: {length}\r\n\r\n");
            let request = Request { bytes: [head.into_bytes(), component].concat().into(), status: 409 };
            Self { name: name.to_owned(), told: format!("refused, `{code}`"), address, request }
        };
        Ok(Refused::all().into_iter().map(offer).collect())
    }
}

/// Returns whether the command line names this hostile module, or names none and so asks for all: `cargo bench --bench limits -- loop`. The
/// name `connections` stands for the attacks on listeners.
fn is_asked_for(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| word == name)
}

/// Measures how much longer than its limit of processor time a looping call runs, on an otherwise idle machine.
fn stopped(report: &mut Report, server: &Server) -> anyhow::Result<()> {
    let rounds = if bench::is_quick() { 20 } else { 200 };
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

/// Measures the effect of each attack on the shop's customers. Returns how many requests a second saturate the host.
fn beside(report: &mut Report, server: &Server, blows: &[RepeatedAttack]) -> anyhow::Result<f64> {
    let (rounds, time) = if bench::is_quick() { (3, Duration::from_secs(1)) } else { (5, Duration::from_secs(2)) };
    let customers = customers(server)?;
    let most = saturate(server.address, CONNECTIONS, Duration::from_secs(5), customers.clone())?;
    report.figure("saturated by", "requests/s", None, vec![most]);
    if blows.is_empty() {
        return Ok(most);
    }
    let run = |blow: Option<&RepeatedAttack>| -> anyhow::Result<(Run, usize)> {
        let load = Load::start(server.address, most * PART, customers.clone())?;
        let mut count = 0;
        while load.elapsed() < time {
            match blow {
                Some(RepeatedAttack { name, address, request, .. }) => {
                    ask(*address, request).with_context(|| format!("`{name}`, {count} times before"))?;
                    count += 1;
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let run = load.stop()?;
        ensure!(run.broken.is_empty(), "connections broke: {:?}", run.broken);
        ensure!(run.wrong().is_empty(), "{:?}: {:?}", run.wrong(), run.unexpected);
        Ok((run, count))
    };
    let mut quiet = Vec::new();
    let mut found: Vec<Found> = blows.iter().map(|_| Found::default()).collect();
    for _ in 0..rounds {
        for (number, (blow, found)) in blows.iter().zip(&mut found).enumerate() {
            // Measured in between, because the machine's performance changes over time.
            if number % 3 == 0 {
                quiet.push(p99(&run(None)?.0)?);
            }
            let (run, count) = run(Some(blow)).with_context(|| format!("beside `{}`", blow.name))?;
            found.p99.push(p99(&run)?);
            found.customers += run.answers.len();
            found.count += count;
        }
    }
    let goal = Values::new(quiet.clone()).median + 2.0 * EPOCH_TICK.as_secs_f64() * 1e3;
    for (RepeatedAttack { name, told, .. }, Found { p99, customers, count }) in blows.iter().zip(found) {
        let name = format!("{name}: {told}; {count} times; p99 of {customers} customers beside it, 0 failed");
        report.figure(&name, "ms", Some(goal), p99);
    }
    report.figure("p99 of customers, quiet", "ms", None, quiet);
    Ok(most)
}

/// The measurements during one attack.
#[derive(Default)]
struct Found {
    p99: Vec<f64>,
    customers: usize,
    count: usize,
}

/// Returns the 99th percentile of the latency, in milliseconds.
fn p99(run: &Run) -> anyhow::Result<f64> {
    let mut all = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3)?;
    for histogram in run.by_second().values() {
        all.add(histogram)?;
    }
    Ok(all.value_at_quantile(0.99) as f64 / 1e3)
}
