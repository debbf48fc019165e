//! Measures swaps under load: half of the load that saturates the machine, while every module is swapped again and again.

use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use watertight_testkit::bench;
use watertight_testkit::bench::customers::{customers, read};
use watertight_testkit::bench::operator::{MODULES, Operator};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;
use watertight_testkit::open::{Load, Request, Run, ask, saturate};

/// The number of connections with which saturation is measured.
const CONNECTIONS: usize = 64;
/// The customers' requests per second, as a part of the rate that saturates the host.
const PART: f64 = 0.5;
/// How long load is sent before the measurement begins, in seconds.
const WARM: u64 = 3;
/// The interval between two swaps, in seconds. The seconds in between serve as the comparison.
const EVERY: f64 = 2.0;
/// For how many seconds after a swap's end a measured second still counts as one with a swap, because the old generation is being freed.
const AFTER: f64 = 0.1;

/// Returns an error unless the next request is answered by this generation.
pub(crate) fn answers_from(server: &Server, generation: u64) -> anyhow::Result<()> {
    let request = Request { bytes: read("/orders?customer=nobody").into(), status: 200 };
    let answered = ask(server.address, &request)?;
    ensure!(answered == generation, "generation {generation} was published, and {answered} answers");
    Ok(())
}

/// Swaps each module repeatedly under load, and reports the latency for customers.
pub(crate) fn swaps_under_load(
    report: &mut Report,
    placement: &str,
    server: &Server,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let swaps = if bench::is_quick() { 3 } else { 30 };
    let customers = customers(server)?;
    let most = saturate(server.address, CONNECTIONS, Duration::from_secs(5), customers.clone())?;
    let load = Load::start(server.address, most * PART, customers)?;
    let mut with_swap = std::collections::BTreeSet::new();
    let (mut commands, mut inside) = (Vec::new(), Vec::new());
    for number in 0..swaps * MODULES.len() {
        let next = Duration::from_secs_f64(WARM as f64 + number as f64 * EVERY);
        std::thread::sleep(next.saturating_sub(load.elapsed()));
        let start = load.elapsed().as_secs();
        let done = operator.swap(MODULES[number % MODULES.len()], &format!("{placement}{number}"))?;
        let end = (load.elapsed().as_secs_f64() + AFTER) as u64;
        with_swap.extend(start..=end);
        commands.push(done.millis);
        inside.push(done.millis_inside);
    }
    std::thread::sleep(Duration::from_secs(2));
    let run = load.stop()?;
    let name = |what: &str| format!("{placement}: {what}");
    report.figure(&name("saturated by"), "requests/s", None, vec![most]);
    report.figure(&name("answered under load"), "requests", None, vec![run.answers.len() as f64]);
    report.figure(
        &name("answers of another status than due"),
        "",
        Some(0.0),
        vec![run.wrong().values().sum::<u64>() as f64],
    );
    report.figure(&name("connections that broke"), "", Some(0.0), vec![run.broken.len() as f64]);
    for (due, error) in run.broken.iter().take(5) {
        eprintln!("  broke: due after {due:?}: {error}");
    }
    for answer in &run.unexpected {
        eprintln!("  was answered: {answer}");
    }
    report.figure(&name("a swap under load, from the command to its end"), "ms", None, commands);
    report.figure(&name("of that in the host"), "ms", None, inside);
    percentiles(report, placement, &run, &with_swap)
}

/// Returns percentiles of the latencies of two kinds of measured seconds: those with a swap, and those without.
fn percentiles(
    report: &mut Report,
    placement: &str,
    run: &Run,
    with_swap: &std::collections::BTreeSet<u64>,
) -> anyhow::Result<()> {
    let empty = || Histogram::<u32>::new_with_bounds(1, 60_000_000, 3);
    let (mut with, mut without) = (empty()?, empty()?);
    let mut seconds = run.by_second();
    // The last second is incomplete.
    seconds.pop_last();
    for (second, histogram) in seconds.range(WARM..) {
        if with_swap.contains(second) { with.add(histogram)? } else { without.add(histogram)? }
    }
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")] {
        let millis = |histogram: &Histogram<u32>| histogram.value_at_quantile(quantile) as f64 / 1e3;
        report.figure(&format!("{placement}: {name}, seconds with a swap"), "ms", None, vec![millis(&with)]);
        report.figure(&format!("{placement}: {name}, seconds without"), "ms", None, vec![millis(&without)]);
    }
    Ok(())
}
