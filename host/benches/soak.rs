//! Minutes of everything at once: customers of the shop, hostile modules, clients that break off or talk nonsense, and an operator who
//! swaps, rolls back and applies. At the end nothing is held that wasn't at the start, nothing acknowledged is lost, and no customer
//! was answered otherwise than due.
//!
//! `SOAK_MINUTES` says how many (10), `SOAK_RATE` how many requests customers send a second: otherwise 30 % of what saturates the host,
//! which is tried first. It prints a line a minute, and ends with 1 where anything is not as it should be.
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, reason = "a benchmark reports")]

#[path = "../tests/support/attacks.rs"]
mod attacks;
#[path = "soak/hostile.rs"]
mod hostile;
#[path = "swap/operator.rs"]
mod operator;
#[path = "soak/rest.rs"]
mod rest;
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use comfy_table::{CellAlignment, Table, presets};

use attacks::Attack;
use hostile::Counted;
use operator::{MODULES, Operator};
use rest::Rest;
use support::application::with_hostile;
use support::customers::customers;
use support::open::{Load, saturate};
use support::process::Holdings;
use support::server::Server;

/// The part of the load that saturates.
const PART: f64 = 0.3;
/// Connections of the load that saturates.
const CONNECTIONS: usize = 64;
/// How long an instance that nobody uses stays: short, so that none is left when all is counted.
const SETTINGS: &str = "[defaults.instances]\nidle = \"2s\"\n";
const DEFAULT_MINUTES: u64 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// From one change of the application to the next.
const CHANGE: Duration = Duration::from_secs(4);
/// How often resident memory is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// The minute that the last one's memory is compared with: the first one fills pools and caches.
const FIRST_COMPARED: usize = 2;
/// What resident memory may grow by: a part of it, or so many bytes.
const GROWTH: (f64, u64) = (0.05, 16 << 20);

fn main() -> anyhow::Result<()> {
    let minutes = number("SOAK_MINUTES")?.unwrap_or(DEFAULT_MINUTES);
    let shop = support::application::shop()?;
    let folder = tempfile::tempdir_in(support::folder()?)?;
    let attacks = Attack::all();
    let app = with_hostile(&shop, &folder.path().join("app"), SETTINGS, &Attack::routes(&attacks), |folder| {
        Attack::put_all(&attacks, folder)
    })?;
    let state = folder.path().join("state");
    let server = Server::host(None, &app, &state)?;
    let mut operator = Operator::new(&state)?;
    // Every attack and every kind of change once: what is held after that is what may be held at the end.
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
                    told.extend(run.told);
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

/// What a variable of the environment says.
fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable} is `{text}`"))
}

/// How many kinds of change there are.
const CHANGES: u64 = 6;

/// One change after the other, each of which changes something: two builds that nobody has seen, back, forward again, one that is
/// refused, and what stands on the disk.
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

/// What is wrong with the memory that was held, by the medians of the minutes.
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
