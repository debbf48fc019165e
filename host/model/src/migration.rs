//! A module's migration: a numbered piece of SQL that travels inside the module's component.

mod numbers;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

pub use numbers::{BadNumber, check_numbers};

/// What a first line says of a migration that older builds may not survive.
pub const CONTRACTS: &str = "-- contract";

/// One migration. Its place in the order is its place in the list that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The file's name, which begins with a number: `0001_tables.sql`. Names sort in the order of application.
    pub name: String,
    /// The statements.
    pub sql: String,
    /// The digest of `sql`: an applied migration never changes.
    pub checksum: Digest,
}

impl Migration {
    /// A migration with the checksum of its text.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        let sql = sql.into();
        Self { name: name.into(), checksum: Digest::of(sql.as_bytes()), sql }
    }

    /// Whether its first line says that builds which don't know it do not survive it.
    pub fn is_contraction(&self) -> bool {
        self.sql.lines().next().is_some_and(|line| line.trim_end() == CONTRACTS)
    }

    /// Whether a database that has this checksum has this migration: its own, or that of the text before [`CONTRACTS`] was put above it.
    /// That word changes nothing of what was applied.
    pub fn had_checksum(&self, checksum: &str) -> bool {
        let unmarked = || self.sql.split_once('\n').map(|(_, rest)| Digest::of(rest.as_bytes()).to_string());
        self.checksum.to_string() == checksum
            || (self.is_contraction() && unmarked().is_some_and(|unmarked| unmarked == checksum))
    }

    /// Whether the text is what the checksum says.
    pub fn is_intact(&self) -> bool {
        Digest::of(self.sql.as_bytes()) == self.checksum
    }
}

/// A migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// The digest of what was applied, as text.
    pub checksum: String,
    /// When, RFC 3339.
    pub at: String,
    /// Whether builds that don't know it do not survive it.
    #[serde(default)]
    pub contraction: bool,
}

/// What is carried by a build, as [`compare`] tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its name.
    pub name: String,
    /// The digest of its text.
    pub checksum: Digest,
    /// Whether builds that don't know it do not survive it.
    pub contraction: bool,
}

/// How a migration of a build stands to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The database has what the build carries.
    Applied,
    /// The build carries it, and the database has it not.
    Pending,
    /// The database has it, and the build doesn't know it: a newer build's.
    Unknown,
    /// It had another text when it was applied: the build is refused.
    Changed,
    /// Another one was applied at this place: the build is refused.
    Reordered,
    /// It is new, and stands before one that was applied: the build is refused.
    Inserted,
}

impl State {
    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Changed => "changed",
            Self::Reordered => "reordered",
            Self::Inserted => "inserted",
        }
    }
}

/// One place in the order of migrations: what a build carries there, and what a database has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub number: usize,
    /// How the two stand to each other.
    pub state: State,
    /// The build's.
    pub carried: Option<Carried>,
    /// The database's.
    pub applied: Option<Applied>,
}

/// What a build carries beside what a database has, place by place.
pub fn compare(carried: &[Migration], applied: &[Applied]) -> Vec<Place> {
    let all = carried;
    let place = |index: usize| {
        let (carried, applied) = (carried.get(index), applied.get(index));
        let state = match (carried, applied) {
            (Some(one), Some(applied)) => how_it_stands(one, applied, &all[index + 1..]),
            (Some(_), None) => State::Pending,
            (None, _) => State::Unknown,
        };
        let carried = carried.map(|carried| Carried {
            name: carried.name.clone(),
            checksum: carried.checksum,
            contraction: carried.is_contraction(),
        });
        Place { number: index + 1, state, carried, applied: applied.cloned() }
    };
    (0..carried.len().max(applied.len())).map(place).collect()
}

/// How a migration stands to the one that was applied at its place. `after` are those that the build carries behind it.
///
/// Who gives a migration another name, and changes neither its text nor its place, changes nothing.
fn how_it_stands(carried: &Migration, applied: &Applied, after: &[Migration]) -> State {
    let is_later = || after.iter().any(|later| later.had_checksum(&applied.checksum));
    match () {
        () if carried.had_checksum(&applied.checksum) => State::Applied,
        () if carried.name == applied.name => State::Changed,
        () if is_later() => State::Inserted,
        () => State::Reordered,
    }
}

/// The first applied migration that a build no longer carries as it was: its text is gone or stands before what was applied earlier. What
/// was only put between them edits none.
pub fn edited<'a>(carried: &[Migration], applied: &'a [Applied]) -> Option<&'a Applied> {
    let mut left = carried.iter();
    applied.iter().find(|applied| !left.any(|migration| migration.had_checksum(&applied.checksum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_what_stands_there() {
        let carried = |names: &[&str]| names.iter().map(|name| Migration::new(*name, *name)).collect::<Vec<_>>();
        let applied = |names: &[(&str, &str)]| -> Vec<Applied> {
            let one = |(name, sql): &(&str, &str)| Applied {
                name: (*name).to_owned(),
                checksum: Digest::of(sql.as_bytes()).to_string(),
                at: "then".to_owned(),
                contraction: false,
            };
            names.iter().map(one).collect()
        };
        let states = |carried: &[Migration], applied: &[Applied]| -> Vec<&str> {
            compare(carried, applied).iter().map(|place| place.state.as_str()).collect()
        };
        assert_eq!(states(&carried(&["a", "b"]), &applied(&[("a", "a")])), ["applied", "pending"]);
        assert_eq!(states(&carried(&["a"]), &applied(&[("a", "a"), ("b", "b")])), ["applied", "unknown"]);
        assert_eq!(states(&carried(&["a", "c"]), &applied(&[("a", "b"), ("b", "b")])), ["changed", "reordered"]);
        assert!(states(&[], &[]).is_empty());
        let inserted = states(&carried(&["a", "b", "c"]), &applied(&[("a", "a"), ("c", "c")]));
        assert_eq!(inserted, ["applied", "inserted", "pending"]);
    }

    #[test]
    fn a_name_or_the_word_contract_edits_nothing_and_neither_does_what_is_put_between() {
        let applied = |texts: &[&str]| -> Vec<Applied> {
            let one = |sql: &&str| Applied {
                name: format!("0_{}", sql.len()),
                checksum: Digest::of(sql.as_bytes()).to_string(),
                at: String::new(),
                contraction: false,
            };
            texts.iter().map(one).collect()
        };
        let carried = |texts: &[&str]| texts.iter().map(|sql| Migration::new("1", *sql)).collect::<Vec<_>>();
        let there = applied(&["a", "bb"]);
        for texts in
            [&["a", "bb"][..], &["a", "bb", "c"], &["c", "a", "d", "bb"], &["-- contract\na", "-- contract\nbb"]]
        {
            assert_eq!(edited(&carried(texts), &there), None, "{texts:?}");
        }
        for (texts, which) in [(&["a"][..], 1), (&["a", "b"], 1), (&["b", "bb"], 0), (&["bb", "a"], 1), (&[], 0)] {
            assert_eq!(edited(&carried(texts), &there), Some(&there[which]), "{texts:?}");
        }
        // The word goes to an applied one, not away from it.
        let marked = applied(&["-- contract\na"]);
        assert!(
            edited(&carried(&["a"]), &marked).is_some() && edited(&carried(&["-- contract\na"]), &marked).is_none()
        );
    }

    #[test]
    fn a_contraction_says_so_in_its_first_line() {
        let is = |sql: &str| Migration::new("a", sql).is_contraction();
        assert!(is("-- contract\nDROP TABLE a") && is("-- contract") && is("-- contract \r\nx"));
        assert!(!is("") && !is("\n-- contract") && !is("-- contracts") && !is("--contract") && !is(" -- contract"));
    }
}
