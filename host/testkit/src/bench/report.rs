//! The report of a benchmark: a table for people, and JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{read_to_string, write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::compare::{Aim, Better, Pairs, Values, Verdict};
use super::load::Sample;

/// The results of one benchmark. [`Report::finish`] prints and writes them.
#[derive(Debug, Serialize)]
pub struct Report {
    benchmark: &'static str,
    about: &'static str,
    machine: Machine,
    quick: bool,
    results: Vec<Outcome>,
    /// Measured values that are compared with no baseline.
    figures: Vec<Figure>,
}

/// The machine that ran the benchmark.
#[derive(Debug, Serialize)]
pub struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    memory_bytes: u64,
    /// The machine's load average before the benchmark. A value above 0 means that other processes were running.
    load_average: f64,
    /// The time at which the benchmark ran, in seconds since 1970.
    time: u64,
}

/// The result of a comparison of the host with a baseline.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    unit: &'static str,
    aim: Aim,
    verdict: Verdict,
    #[serde(flatten)]
    pairs: Pairs,
    /// The medians of further measured values by name: the host's, and the baseline's.
    beside: BTreeMap<&'static str, [f64; 2]>,
}

/// A measured value that is compared with no baseline.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    #[serde(flatten)]
    values: Values,
    aim: Option<Aim>,
    verdict: Option<Verdict>,
}

impl Report {
    /// Creates a report without results. `benchmark` is the benchmark's name, and `about` says what it measures.
    pub fn new(benchmark: &'static str, about: &'static str) -> Self {
        let quick = super::is_quick();
        Self { benchmark, about, machine: Machine::this(), quick, results: Vec::new(), figures: Vec::new() }
    }

    /// Adds a comparison of times, which should be at most `goal` times as long on the host as on the baseline. `floor` is the worst
    /// acceptable ratio.
    pub fn times(&mut self, name: &str, unit: &'static str, goal: f64, floor: f64, pairs: Pairs) {
        let aim = Aim { better: Better::Lower, goal, floor: Some(floor) };
        self.add(name.to_owned(), unit, aim, pairs, BTreeMap::new());
    }

    /// Adds a comparison of runs of load. The host's requests per second should be at least `goal` times those of the baseline. `floor` is
    /// the worst acceptable ratio.
    pub fn loads(&mut self, name: String, goal: f64, floor: Option<f64>, ours: &[Sample], baseline: &[Sample]) {
        let of = |samples: &[Sample], value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
        let median = |samples: &[Sample], value| Values::new(of(samples, value)).median;
        let both = |value| [median(ours, value), median(baseline, value)];
        let beside = BTreeMap::from([
            ("cpu_micros", both(|sample: &Sample| sample.cpu_micros)),
            ("p50_micros", both(|sample| sample.p50_micros as f64)),
            ("p99_micros", both(|sample| sample.p99_micros as f64)),
            ("server_busy", both(|sample| sample.server_busy)),
        ]);
        let pairs = Pairs::new(of(ours, |sample| sample.per_second), of(baseline, |sample| sample.per_second));
        self.add(name, "requests/s", Aim { better: Better::Higher, goal, floor }, pairs, beside);
    }

    /// Adds a comparison of runs of load on two builds of the host. This build should take at most 3 % more processor time for each request
    /// than the build `before`.
    pub fn cost(&mut self, name: &str, ours: &[Sample], before: &[Sample]) {
        let cpu = |samples: &[Sample]| samples.iter().map(|sample| sample.cpu_micros).collect();
        self.times(&format!("{name}: CPU / before"), "µs", 1.03, 1.05, Pairs::new(cpu(ours), cpu(before)));
    }

    fn add(
        &mut self,
        name: String,
        unit: &'static str,
        aim: Aim,
        pairs: Pairs,
        beside: BTreeMap<&'static str, [f64; 2]>,
    ) {
        let verdict = aim.judge(pairs.ratio.median);
        self.results.push(Outcome { name, unit, aim, verdict, pairs, beside });
    }

    /// Adds a measured value that is compared with no baseline. Its median should be at most `goal`.
    pub fn figure(&mut self, name: &str, unit: &'static str, goal: Option<f64>, values: Vec<f64>) {
        let aim = goal.map(|goal| Aim { better: Better::Lower, goal, floor: None });
        let values = Values::new(values);
        let verdict = aim.map(|aim| aim.judge(values.median));
        self.figures.push(Figure { name: name.to_owned(), unit, values, aim, verdict });
    }

    /// Prints the report, and writes it to `target/bench/NAME.json`.
    pub fn finish(self) -> anyhow::Result<()> {
        println!("\n{}: {}", self.benchmark, self.about);
        println!("{}", self.machine);
        if !self.results.is_empty() {
            println!("{}", self.results_table());
        }
        if !self.figures.is_empty() {
            println!("{}", self.figures_table());
        }
        let path = super::folder()?.join(self.benchmark).with_extension("json");
        write(&path, serde_json::to_string_pretty(&self)?)?;
        println!("written to {}\n", path.display());
        Ok(())
    }

    fn results_table(&self) -> Table {
        let mut table =
            table(&["", "ours", "baseline", "", "ratio", "min … max", "goal", "at least", "", "CPU µs", "p99 µs"]);
        for Outcome { name, unit, aim, verdict, pairs, beside } in &self.results {
            let mark = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
            let both = |name| {
                let values = beside.get(name).copied();
                values.map_or_else(String::new, |[ours, baseline]| format!("{ours:.1} / {baseline:.1}"))
            };
            table.add_row([
                name.clone(),
                number(pairs.ours.median),
                number(pairs.baseline.median),
                (*unit).to_owned(),
                format!("{:.3}", pairs.ratio.median),
                format!("{:.3} … {:.3}", pairs.ratio.min, pairs.ratio.max),
                mark(Some(aim.goal)),
                mark(aim.floor),
                word(*verdict).to_owned(),
                both("cpu_micros"),
                both("p99_micros"),
            ]);
        }
        table
    }

    fn figures_table(&self) -> Table {
        let mut table = table(&["", "median", "", "min … max", "goal", ""]);
        for Figure { name, unit, values, aim, verdict } in &self.figures {
            table.add_row([
                name.clone(),
                number(values.median),
                (*unit).to_owned(),
                format!("{} … {}", number(values.min), number(values.max)),
                aim.map_or_else(String::new, |aim| number(aim.goal)),
                verdict.map_or("", word).to_owned(),
            ]);
        }
        table
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Goal => "goal met",
        Verdict::Floor => "at least met",
        Verdict::Missed => "MISSED",
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, kernel, load_average, .. } = self;
        write!(formatter, "{processor}, {cores} cores, Linux {kernel}, load average before: {load_average}")
    }
}

/// Formats a measured value with as many digits as are useful.
fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Machine {
    /// Describes the machine that runs this process.
    pub fn this() -> Self {
        let read = |path| read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let first = |text: String| text.split_whitespace().next().map(str::to_owned).unwrap_or_default();
        let memory = first(after(&read("/proc/meminfo"), "MemTotal"));
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            processor: after(&read("/proc/cpuinfo"), "model name"),
            // Counts the machine's cores: this process may already be pinned to one of them.
            cores: read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: memory.parse::<u64>().unwrap_or_default() * 1024,
            load_average: first(read("/proc/loadavg")).parse().unwrap_or_default(),
            time: since.map_or(0, |since| since.as_secs()),
        }
    }
}
