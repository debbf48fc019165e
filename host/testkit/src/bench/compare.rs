//! Paired measurements. The host and a baseline are measured in turns, so that disturbances of the machine affect both, and the ratio of
//! the two is taken for each pair.

use serde::Serialize;

/// Whether a higher or a lower ratio of the host's value to the baseline's is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// A higher ratio is better, such as a ratio of requests per second.
    Higher,
    /// A lower ratio is better, such as a ratio of times.
    Lower,
}

/// The goal for a ratio of the host's value to the baseline's.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Aim {
    /// Whether a higher or a lower ratio is better.
    pub better: Better,
    /// The value that the ratio should reach.
    pub goal: f64,
    /// The worst ratio that is still acceptable. `None` if only the goal counts.
    pub floor: Option<f64>,
}

/// The result of comparing a ratio with its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The ratio meets the goal.
    Goal,
    /// The ratio misses the goal, but is still acceptable.
    Floor,
    /// The ratio is worse than acceptable.
    Missed,
}

impl Aim {
    /// Compares the ratio `value` with the goal, and with the worst acceptable ratio.
    pub fn judge(&self, value: f64) -> Verdict {
        let reaches = |mark: f64| match self.better {
            Better::Higher => value >= mark,
            Better::Lower => value <= mark,
        };
        match self.floor {
            _ if reaches(self.goal) => Verdict::Goal,
            Some(floor) if reaches(floor) => Verdict::Floor,
            _ => Verdict::Missed,
        }
    }
}

/// A series of measured values, with its median and extremes.
#[derive(Debug, Clone, Serialize)]
pub struct Values {
    /// The median of the values.
    pub median: f64,
    /// The smallest of the values.
    pub min: f64,
    /// The largest of the values.
    pub max: f64,
    /// All values, in the order in which they were measured.
    pub all: Vec<f64>,
}

impl Values {
    /// Takes a series of measured values and computes its median and extremes. The median of an empty series is NaN.
    pub fn new(all: Vec<f64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        let median = (at(last / 2) + at(sorted.len() / 2)) / 2.0;
        Self { median, min: at(0), max: at(last), all }
    }
}

/// Two series of values that were measured in turns: of the host and of a baseline.
#[derive(Debug, Clone, Serialize)]
pub struct Pairs {
    /// The values that were measured on the host.
    pub ours: Values,
    /// The values that were measured on the baseline.
    pub baseline: Values,
    /// The host's values, each divided by the baseline's value of the same pair.
    pub ratio: Values,
}

impl Pairs {
    /// Pairs the values of two series of equal length, and computes their ratios.
    pub fn new(ours: Vec<f64>, baseline: Vec<f64>) -> Self {
        let ratio = ours.iter().zip(&baseline).map(|(ours, baseline)| ours / baseline).collect();
        Self { ours: Values::new(ours), baseline: Values::new(baseline), ratio: Values::new(ratio) }
    }
}

/// Measures each compared server once in each round, and returns the results of each. Every second round has the reverse order, so that no
/// server is always measured first.
pub fn in_turns<T, E>(
    rounds: usize,
    sides: usize,
    mut measure: impl FnMut(usize) -> Result<T, E>,
) -> Result<Vec<Vec<T>>, E> {
    let mut all: Vec<Vec<T>> = (0..sides).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for turn in 0..sides {
            let side = if round % 2 == 0 { turn } else { sides - 1 - turn };
            all[side].push(measure(side)?);
        }
    }
    Ok(all)
}
