//! The benchmark's table: printed as Markdown, and written as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use watertight_testkit::bench;
use watertight_testkit::bench::compare::{Pairs, Values};
use watertight_testkit::bench::load::Sample;
use watertight_testkit::bench::report::Machine;

use crate::sides::{Program, Setting};

/// The results of the benchmark.
#[derive(Serialize)]
pub(crate) struct Table {
    machine: Machine,
    quick: bool,
    /// The versions of the programs, in the order of the columns.
    versions: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    what: String,
    wasi: String,
    instances: String,
    unit: &'static str,
    /// One cell for each program.
    cells: Vec<Cell>,
}

/// What was measured of one program.
#[derive(Serialize)]
#[serde(untagged)]
enum Cell {
    Measured {
        /// What the row compares: less is better.
        cost: Values,
        /// What a load driver saw, if the row is about load.
        samples: Vec<Sample>,
        /// The peer's cost, divided by this host's cost of the same round. `None` for this host, and if this host was not measured.
        ratio: Option<Values>,
        /// The value that the ratio should reach.
        goal: Option<f64>,
    },
    Missing {
        reason: String,
    },
}

/// What was measured of one program in each round, or the reason why nothing was.
pub(crate) type Measured<T> = Result<Vec<T>, String>;

impl Table {
    pub(crate) fn new(versions: Vec<String>) -> Self {
        Self { machine: Machine::this(), quick: bench::is_quick(), versions, rows: Vec::new() }
    }

    /// Adds a row about load: the processor time of each step.
    pub(crate) fn load(&mut self, what: String, setting: Setting, goals: [f64; 2], sides: Vec<Measured<Sample>>) {
        let costs = sides.iter().map(|side| match side {
            Ok(samples) => Ok(samples.iter().map(|sample| sample.cpu_micros).collect()),
            Err(reason) => Err(reason.clone()),
        });
        let mut cells = cells(costs.collect(), goals);
        for (cell, side) in cells.iter_mut().zip(sides) {
            if let (Cell::Measured { samples, .. }, Ok(measured)) = (cell, side) {
                *samples = measured;
            }
        }
        self.add(what, setting, "µs", cells);
    }

    /// Adds a row about memory, in KiB.
    pub(crate) fn memory(&mut self, what: String, setting: Setting, goals: [f64; 2], sides: Vec<Measured<f64>>) {
        self.add(what, setting, "KiB", cells(sides, goals));
    }

    fn add(&mut self, what: String, setting: Setting, unit: &'static str, cells: Vec<Cell>) {
        let (wasi, instances) = (setting.version.to_string(), setting.instances.to_string());
        self.rows.push(Row { what, wasi, instances, unit, cells });
    }

    /// Prints the table, and writes it to `target/bench/peers.json`.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("\n{}", self.machine);
        println!("{}\n\n{}", self.versions.join(", "), self.markdown());
        let path = bench::folder()?.join("peers.json");
        std::fs::write(&path, serde_json::to_string_pretty(&self)?)?;
        println!("written to {}\n", path.display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let names: Vec<_> = Program::ALL.iter().map(|program| program.name()).collect();
        let mut text = format!("| what | WASI | instances | {} |\n|{}\n", names.join(" | "), " --- |".repeat(6));
        let mut reasons: Vec<&str> = Vec::new();
        for Row { what, wasi, instances, unit, cells } in &self.rows {
            let _ = write!(text, "| {what} | {wasi} | {instances} |");
            for cell in cells {
                let _ = write!(text, " {} |", show(cell, unit, &mut reasons));
            }
            text.push('\n');
        }
        for (number, reason) in reasons.iter().enumerate() {
            let _ = write!(text, "\n{}. {reason}", number + 1);
        }
        text
    }
}

/// Compares the peers, which are all but the first side, with this host. `goals` are those of the peers.
fn cells(sides: Vec<Measured<f64>>, goals: [f64; 2]) -> Vec<Cell> {
    let ours = sides.first().and_then(|side| side.as_ref().ok()).cloned();
    let goals = [None].into_iter().chain(goals.map(Some));
    let cell = |(side, goal): (Measured<f64>, Option<f64>)| match side {
        Ok(cost) => {
            let ours = ours.as_ref().filter(|_| goal.is_some());
            let ratio = ours.map(|ours| Pairs::new(cost.clone(), ours.clone()).ratio);
            Cell::Measured { cost: Values::new(cost), samples: Vec::new(), ratio, goal }
        }
        Err(reason) => Cell::Missing { reason },
    };
    sides.into_iter().zip(goals).map(cell).collect()
}

/// Formats a cell: the cost, what was done in a second, and the ratio. A ratio that misses its goal is bold.
fn show<'a>(cell: &'a Cell, unit: &str, reasons: &mut Vec<&'a str>) -> String {
    let (cost, samples, ratio, goal) = match cell {
        Cell::Measured { cost, samples, ratio, goal } => (cost, samples, ratio, goal),
        Cell::Missing { reason } => {
            let place = reasons.iter().position(|known| known == reason).unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            return format!("— ({})", place + 1);
        }
    };
    let mut text = format!("{} {unit}", number(cost.median));
    if !samples.is_empty() {
        let per_second = Values::new(samples.iter().map(|sample| sample.per_second).collect());
        let _ = write!(text, ", {}/s", number(per_second.median));
    }
    if let (Some(ratio), Some(goal)) = (ratio, goal) {
        let mark = if ratio.median >= *goal { "" } else { "**" };
        let _ = write!(text, ": {mark}{:.2}×{mark}", ratio.median);
    }
    text
}

/// Formats a number with three digits that count, or as a whole number with commas.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && digit.is_ascii_digit() && (digits.len() - place) % 3 == 0 && !text.ends_with('-') {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
