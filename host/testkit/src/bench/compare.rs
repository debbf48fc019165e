//! Paired measurements. Two sides are measured in turns, so that disturbances of the machine affect both, and their ratio is taken
//! pair by pair.

use serde::Serialize;

/// The direction in which a ratio is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// A higher ratio is better, such as one of requests per second.
    Higher,
    /// A lower ratio is better, such as one of times.
    Lower,
}

/// The goal for a ratio.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Aim {
    /// The direction in which the ratio is better.
    pub better: Better,
    /// The goal.
    pub goal: f64,
    /// The worst value that is still acceptable. `None` if only the goal counts.
    pub floor: Option<f64>,
}

/// The result of comparing a value with its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The value meets the goal.
    Goal,
    /// The value meets the floor but not the goal.
    Floor,
    /// The value meets neither the goal nor the floor.
    Missed,
}

impl Aim {
    /// Compares `value` with the goal and the floor.
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

/// Measured values with their median.
#[derive(Debug, Clone, Serialize)]
pub struct Values {
    /// The median.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// All values, in the order of time.
    pub all: Vec<f64>,
}

impl Values {
    /// Creates the values from a series. The median of an empty series is NaN.
    pub fn new(all: Vec<f64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        let median = (at(last / 2) + at(sorted.len() / 2)) / 2.0;
        Self { median, min: at(0), max: at(last), all }
    }
}

/// Two series that were measured in turns.
#[derive(Debug, Clone, Serialize)]
pub struct Pairs {
    /// The values of the host.
    pub ours: Values,
    /// The values of the baseline.
    pub baseline: Values,
    /// The host's values divided by the baseline's, pair by pair.
    pub ratio: Values,
}

impl Pairs {
    /// Creates the pairs from two series of equal length.
    pub fn new(ours: Vec<f64>, baseline: Vec<f64>) -> Self {
        let ratio = ours.iter().zip(&baseline).map(|(ours, baseline)| ours / baseline).collect();
        Self { ours: Values::new(ours), baseline: Values::new(baseline), ratio: Values::new(ratio) }
    }
}

/// Measures every side once in each round, and returns the results of each side. The order rotates from round to round, so that no
/// side is always first.
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
