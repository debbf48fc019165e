//! Migrations of a module's database: numbered SQL texts that are part of the module's component.

mod numbers;

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

pub use numbers::{BadNumber, check_numbers};

/// The first line of a contraction: a migration after which builds that don't carry it may fail.
pub const CONTRACTION_MARK: &str = "-- contract";

/// A migration. Its position in the order of application is its position in the list that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The name of the migration's file, which begins with a number: `0001_tables.sql`. The order of names is the order of application.
    pub name: String,
    /// The SQL statements of the migration.
    pub sql: String,
    /// The SHA-256 digest of `sql`. The text of an applied migration must never change.
    pub checksum: Digest,
}

impl Migration {
    /// Makes a migration, and computes the checksum of its text.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        let sql = sql.into();
        Self { name: name.into(), checksum: Digest::of(sql.as_bytes()), sql }
    }

    /// Whether the migration's first line is [`CONTRACTION_MARK`]: builds that don't have the migration may not work after it.
    pub fn is_contraction(&self) -> bool {
        // Some editors put an invisible mark before the first line.
        let text = self.sql.strip_prefix('\u{feff}').unwrap_or(&self.sql);
        text.lines().next().is_some_and(|line| line.trim_end() == CONTRACTION_MARK)
    }

    /// Whether this migration is the one that a database has applied with `checksum`. The checksum may also be that of the text before the
    /// line [`CONTRACTION_MARK`] was put above it, because that line doesn't change what was applied.
    pub fn matches_checksum(&self, checksum: &str) -> bool {
        let unmarked = || self.sql.split_once('\n').map(|(_, rest)| Digest::of(rest.as_bytes()).to_string());
        self.checksum.to_string() == checksum
            || (self.is_contraction() && unmarked().is_some_and(|unmarked| unmarked == checksum))
    }

    /// Whether the migration's SQL text still has the digest in `checksum`.
    pub fn is_intact(&self) -> bool {
        Digest::of(self.sql.as_bytes()) == self.checksum
    }
}

/// A migration that is applied in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedMigration {
    /// The name of the migration, such as `0001_tables.sql`.
    pub name: String,
    /// The SHA-256 digest of the SQL text that was applied.
    pub checksum: String,
    /// The time at which the migration was applied, in RFC 3339.
    pub at: String,
    /// Whether the migration is a contraction: builds that don't have it may not work after it.
    #[serde(default)]
    pub contraction: bool,
}

/// A migration that a build carries, as [`compare`] reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedMigration {
    /// The name of the migration, such as `0001_tables.sql`.
    pub name: String,
    /// The SHA-256 digest of the migration's SQL text.
    pub checksum: Digest,
    /// Whether the migration is a contraction: builds that don't have it may not work after it.
    pub contraction: bool,
}

/// The result of comparing one position in a build's migrations with the same position in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// The database has the migration that the build carries.
    Applied,
    /// The build carries a migration that the database doesn't have yet.
    Pending,
    /// The database has a migration that the build doesn't carry: a newer build applied it.
    Unknown,
    /// The migration had another text when it was applied. The build is refused.
    Changed,
    /// Another migration was applied at this position. The build is refused.
    Reordered,
    /// The migration is new, and the build carries it before one that is applied. The build is refused.
    Inserted,
}

impl MigrationState {
    /// Returns the state's name in the answers of the host.
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

/// One position in the order of migrations: what a build carries there, and what a database has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationPosition {
    /// The position in the order of migrations, counted from 1.
    pub number: usize,
    /// The result of comparing the two migrations at this position.
    pub state: MigrationState,
    /// The migration that the build carries at this position. `None` if the build has fewer migrations.
    pub carried: Option<CarriedMigration>,
    /// The migration that the database has at this position. `None` if the database has fewer migrations.
    pub applied: Option<AppliedMigration>,
}

/// Compares the migrations that a build carries with those that a database has, position by position.
pub fn compare(carried: &[Migration], applied: &[AppliedMigration]) -> Vec<MigrationPosition> {
    let all = carried;
    let place = |index: usize| {
        let (carried, applied) = (carried.get(index), applied.get(index));
        let state = match (carried, applied) {
            (Some(one), Some(applied)) => migration_state(one, applied, &all[index + 1..]),
            (Some(_), None) => MigrationState::Pending,
            (None, _) => MigrationState::Unknown,
        };
        let carried = carried.map(|carried| CarriedMigration {
            name: carried.name.clone(),
            checksum: carried.checksum,
            contraction: carried.is_contraction(),
        });
        MigrationPosition { number: index + 1, state, carried, applied: applied.cloned() }
    };
    (0..carried.len().max(applied.len())).map(place).collect()
}

/// Compares a migration with the one that is applied at its position. `after` are the migrations that the build carries after it.
///
/// A migration with another name is the same migration if its text and its position are the same.
fn migration_state(carried: &Migration, applied: &AppliedMigration, after: &[Migration]) -> MigrationState {
    let is_later = || after.iter().any(|later| later.matches_checksum(&applied.checksum));
    match () {
        () if carried.matches_checksum(&applied.checksum) => MigrationState::Applied,
        () if carried.name == applied.name => MigrationState::Changed,
        () if is_later() => MigrationState::Inserted,
        () => MigrationState::Reordered,
    }
}

/// Returns the first applied migration that a build has edited, or `None` if it has edited none. The build has edited a migration if it no
/// longer carries the migration's text, or carries it before the text of a migration that was applied earlier. New migrations in between
/// don't count as edits.
pub fn first_edited<'a>(carried: &[Migration], applied: &'a [AppliedMigration]) -> Option<&'a AppliedMigration> {
    let mut left = carried.iter();
    applied.iter().find(|applied| !left.any(|migration| migration.matches_checksum(&applied.checksum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_what_stands_there() {
        let carried = |names: &[&str]| names.iter().map(|name| Migration::new(*name, *name)).collect::<Vec<_>>();
        let applied = |names: &[(&str, &str)]| -> Vec<AppliedMigration> {
            let one = |(name, sql): &(&str, &str)| AppliedMigration {
                name: (*name).to_owned(),
                checksum: Digest::of(sql.as_bytes()).to_string(),
                at: "then".to_owned(),
                contraction: false,
            };
            names.iter().map(one).collect()
        };
        let states = |carried: &[Migration], applied: &[AppliedMigration]| -> Vec<&str> {
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
        let applied = |texts: &[&str]| -> Vec<AppliedMigration> {
            let one = |sql: &&str| AppliedMigration {
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
            assert_eq!(first_edited(&carried(texts), &there), None, "{texts:?}");
        }
        for (texts, which) in [(&["a"][..], 1), (&["a", "b"], 1), (&["b", "bb"], 0), (&["bb", "a"], 1), (&[], 0)] {
            assert_eq!(first_edited(&carried(texts), &there), Some(&there[which]), "{texts:?}");
        }
        // The line may be added to an applied migration, and may not be removed from one.
        let marked = applied(&["-- contract\na"]);
        assert!(
            first_edited(&carried(&["a"]), &marked).is_some()
                && first_edited(&carried(&["-- contract\na"]), &marked).is_none()
        );
    }

    #[test]
    fn a_contraction_says_so_in_its_first_line() {
        let is = |sql: &str| Migration::new("a", sql).is_contraction();
        assert!(is("-- contract\nDROP TABLE a") && is("-- contract") && is("-- contract \r\nx"));
        assert!(!is("") && !is("\n-- contract") && !is("-- contracts") && !is("--contract") && !is(" -- contract"));
    }
}
