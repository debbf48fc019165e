//! Pairs: two things measured in turns, so that whatever the machine does meanwhile happens to both, and their ratio pair by pair.

use serde::Serialize;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Requests in a second.
    Higher,
    /// Time.
    Lower,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Aim {
    /// Which way is good.
    pub better: Better,
    /// What we want.
    pub goal: f64,
    /// What is the least that will do; none where only the goal is stated.
    pub floor: Option<f64>,
}

/// How a value stands to its aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The goal is met.
    Goal,
    /// The floor is.
    Floor,
    /// Neither is.
    Missed,
}

impl Aim {
    /// How `value` stands to it.
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

/// Values that were measured, with their median.
#[derive(Debug, Clone, Serialize)]
pub struct Values {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All, in the order of time.
    pub all: Vec<f64>,
}

impl Values {
    /// Of what was measured; nothing measured is not a number.
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
    /// With us.
    pub ours: Values,
    /// Without.
    pub baseline: Values,
    /// Ours by the baseline's, pair by pair.
    pub ratio: Values,
}

impl Pairs {
    /// Of two series of one length.
    pub fn new(ours: Vec<f64>, baseline: Vec<f64>) -> Self {
        let ratio = ours.iter().zip(&baseline).map(|(ours, baseline)| ours / baseline).collect();
        Self { ours: Values::new(ours), baseline: Values::new(baseline), ratio: Values::new(ratio) }
    }
}

/// Measures every side once in each round, and returns what each gave. The order turns round by round, so that nobody is always first.
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
