//! Soak test: customers of the shop, hostile modules, clients that disconnect or send malformed requests, and an operator who
//! swaps, rolls back and applies, all at once for some minutes. At the end the host holds no more resources than at the start, no
//! acknowledged order is lost, and every customer got the expected response.
//!
//! `SOAK_MINUTES` sets the duration in minutes (10). `SOAK_RATE` sets the customers' requests per second; by default, 30 % of the
//! rate that saturates the host, which is measured first. The test prints a line each minute. Its exit code is 1 if a check fails.
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, reason = "a benchmark reports")]

mod hostile;
mod rest;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use comfy_table::{CellAlignment, Table, presets};
use watertight_testkit::attacks::Attack;
use watertight_testkit::bench;
use watertight_testkit::bench::application::with_hostile;
use watertight_testkit::bench::customers::customers;
use watertight_testkit::bench::operator::{MODULES, Operator};
use watertight_testkit::bench::server::Server;
use watertight_testkit::open::{Load, saturate};
use watertight_testkit::process::Holdings;

use hostile::Counted;
use rest::Rest;

/// The customers' requests per second, as a part of the rate that saturates the host.
const PART: f64 = 0.3;
/// The number of connections with which saturation is measured.
const CONNECTIONS: usize = 64;
/// Settings for the manifest: unused instances are dropped after two seconds, so that an idle host has none when its resources are measured
/// ([`Rest`]).
const SETTINGS: &str = "[defaults.instances]\nidle = \"2s\"\n";
const DEFAULT_MINUTES: u64 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// The interval between two changes of the application.
const CHANGE: Duration = Duration::from_secs(4);
/// The interval between two measurements of the resident memory.
const SAMPLE: Duration = Duration::from_secs(1);
/// The minute of the test whose resident memory is compared with that of the last minute. The first minute fills pools and caches.
const FIRST_COMPARED: usize = 2;
/// The allowed growth of the resident memory between these two minutes: a part of the earlier value, or a number of bytes.
const GROWTH: (f64, u64) = (0.05, 16 << 20);

fn main() -> anyhow::Result<()> {
    let minutes = number("SOAK_MINUTES")?.unwrap_or(DEFAULT_MINUTES);
    let shop = bench::application::shop()?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let attacks = Attack::all();
    let app = with_hostile(&shop, &folder.path().join("app"), SETTINGS, &Attack::routes(&attacks), |folder| {
        Attack::put_all(&attacks, folder)
    })?;
    let state = folder.path().join("state");
    let server = Server::host(None, &app, &state)?;
    let mut operator = Operator::new(&state)?;
    // Runs every attack and every kind of change once. The resources that are held after that may also be held at the end.
    let rate = match number("SOAK_RATE")? {
        Some(rate) => rate as f64,
        None => saturate(server.address, CONNECTIONS, Duration::from_secs(5), customers(&server)?)? * PART,
    };
    attacks.iter().try_for_each(|attack| hostile::attack(&server, attack))?;
    (0..CHANGES).try_for_each(|number| change(&mut operator, &app, number))?;
    let before = Rest::of(&server, &operator)?;
    println!("customers send {rate:.0} requests a second. {minutes} minutes:");

    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "minute",
        "customers",
        "wrong",
        "broken",
        "attacks",
        "nonsense",
        "changes",
        "MB",
        "threads",
        "files",
    ]);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let (counted, over, changes) = (Counted::default(), AtomicBool::new(false), AtomicU64::new(0));
    let mut faults: Vec<String> = Vec::new();
    let mut resident = Vec::new();
    let (mut orders, mut told) = (0_u64, Vec::new());
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let attacker = scope.spawn(|| hostile::attack_until(&over, &server, &attacks, &counted));
        let talker = scope.spawn(|| hostile::talk_nonsense_until(&over, &server, &counted));
        let changer = scope.spawn(|| -> anyhow::Result<()> {
            while !over.load(Relaxed) {
                change(&mut operator, &app, changes.fetch_add(1, Relaxed))?;
                std::thread::sleep(CHANGE);
            }
            Ok(())
        });
        let mut minutes_run = || -> anyhow::Result<()> {
            for minute in 1..=minutes {
                let load = Load::start(server.address, rate, customers(&server)?)?;
                let (start, mut samples) = (Instant::now(), Vec::new());
                while start.elapsed() < MINUTE {
                    std::thread::sleep(SAMPLE);
                    samples.push(Holdings::of(server.process())?);
                }
                let run = load.stop()?;
                let wrong: u64 = run.wrong().values().sum();
                orders += run.answers.iter().filter(|answer| answer.status == 201).count() as u64;
                let median = |of: fn(&Holdings) -> u64| {
                    let mut values: Vec<u64> = samples.iter().map(of).collect();
                    values.sort_unstable();
                    values[values.len() / 2]
                };
                resident.push(median(|held| held.resident));
                table.add_row([
                    minute.to_string(),
                    run.answers.len().to_string(),
                    wrong.to_string(),
                    run.broken.len().to_string(),
                    counted.attacks.load(Relaxed).to_string(),
                    counted.nonsense.load(Relaxed).to_string(),
                    changes.load(Relaxed).to_string(),
                    format!("{:.1}", median(|held| held.resident) as f64 / 1e6),
                    median(|held| held.threads as u64).to_string(),
                    median(|held| held.files as u64).to_string(),
                ]);
                println!("{}", table.lines().last().unwrap_or_default());
                if wrong > 0 || !run.broken.is_empty() {
                    faults.push(format!(
                        "minute {minute}: {wrong} customers were answered wrongly, {} not at all",
                        run.broken.len()
                    ));
                    told.extend(run.unexpected);
                    told.extend(
                        run.broken.into_iter().take(3).map(|(due, error)| format!("due after {due:?}: {error}")),
                    );
                }
            }
            Ok(())
        };
        let run = minutes_run();
        over.store(true, Relaxed);
        for (who, ended) in
            [("the attacker", attacker.join()), ("the talker", talker.join()), ("the operator", changer.join())]
        {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => faults.push(format!("{who}: {error:#}")),
                Err(_) => faults.push(format!("{who} panicked")),
            }
        }
        run
    })?;
    println!("{table}");

    let after = Rest::of(&server, &operator)?;
    println!("at rest before: {before:?}\nat rest after:  {after:?}");
    faults.extend(after.more_than(&before));
    faults.extend(growth(&resident));
    server.stop()?;
    faults.extend(rest::databases(&state, orders)?);
    told.iter().for_each(|answer| eprintln!("  {answer}"));
    ensure!(faults.is_empty(), "not as it should be:\n  {}", faults.join("\n  "));
    println!("nothing is left over, nothing is lost, and every customer was answered as due");
    Ok(())
}

/// Returns the number in an environment variable, or `None` if the variable is not set.
fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable} is `{text}`"))
}

/// The number of kinds of changes.
const CHANGES: u64 = 6;

/// Makes the next change. The kinds take turns: two new builds, a rollback, a second one that undoes the first, a refused build,
/// and an apply of the files on the disk.
fn change(operator: &mut Operator, app: &Path, number: u64) -> anyhow::Result<()> {
    match number % CHANGES {
        kind @ (0 | 1) => {
            operator.swap(MODULES[((number / CHANGES + kind) % 3) as usize], &format!("s{number}"))?;
        }
        2 | 3 => {
            operator.roll_back()?;
        }
        4 => {
            operator.refused()?;
        }
        _ => {
            operator.apply(app)?;
        }
    }
    Ok(())
}

/// Returns a description of the growth if the resident memory has grown too much, and else `None`. Compares the medians of two minutes.
fn growth(resident: &[u64]) -> Option<String> {
    let (first, last) = (resident.get(FIRST_COMPARED - 1)?, resident.last()?);
    let (part, bytes) = GROWTH;
    let allowed = ((*first as f64 * part) as u64).max(bytes);
    let grown = last.saturating_sub(*first);
    println!(
        "resident: {:.1} MB more than in minute {FIRST_COMPARED}, at most {:.1}",
        grown as f64 / 1e6,
        allowed as f64 / 1e6
    );
    (grown > allowed).then(|| format!("it held {grown} bytes more at the end, and may hold {allowed} more"))
}
