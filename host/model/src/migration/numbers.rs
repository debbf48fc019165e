//! Checks the numbers of migrations: each migration has its own, and they ascend. Gaps are allowed.

/// Greatest number of digits in a migration's number. It is far beyond any number in use, and fits into `u64`.
const MAX_DIGITS: usize = 18;

/// The error that a migration's number is missing or out of order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    /// The name of the migration begins with no number.
    #[error("the migration `{name}` has no number: its name must begin with one, such as `0001_tables.sql`")]
    Missing {
        /// The name of the migration.
        name: String,
    },
    /// Another migration has the same number.
    #[error("the migrations `{before}` and `{name}` have the same number: give the newer one the next free number")]
    Twice {
        /// The name of the migration that stands before and has the same number.
        before: String,
        /// The name of the migration whose number is not its own.
        name: String,
    },
    /// The number is lower than that of the migration before.
    #[error(
        "the migration `{name}` stands after `{before}`, whose number is higher: names are sorted as text, so write all numbers with equally \
         many digits, such as `0002` and `0010`"
    )]
    Descending {
        /// The name of the migration that stands before and has a higher number.
        before: String,
        /// The name of the migration whose number is too low.
        name: String,
    },
}

/// Checks the numbers in the names of migrations. `names` must be in the order of application.
///
/// # Errors
///
/// [`BadNumber`] names the first migration whose number is missing or out of order.
pub fn check_numbers<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), BadNumber> {
    let mut last: Option<(u64, &str)> = None;
    for name in names {
        let number = number(name).ok_or_else(|| BadNumber::Missing { name: name.to_owned() })?;
        if let Some((before, before_name)) = last {
            let names = || (before_name.to_owned(), name.to_owned());
            if before == number {
                let (before, name) = names();
                return Err(BadNumber::Twice { before, name });
            }
            if before > number {
                let (before, name) = names();
                return Err(BadNumber::Descending { before, name });
            }
        }
        last = Some((number, name));
    }
    Ok(())
}

/// Returns the number at the start of a migration's name. `None` if there is none, or if it has more than [`MAX_DIGITS`] digits.
fn number(name: &str) -> Option<u64> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    if digits > MAX_DIGITS { None } else { name[..digits].parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_there_unique_and_ascending() {
        let check = |names: &[&str]| match check_numbers(names.iter().copied()) {
            Ok(()) => "fine",
            Err(BadNumber::Missing { .. }) => "missing",
            Err(BadNumber::Twice { .. }) => "twice",
            Err(BadNumber::Descending { .. }) => "descends",
        };
        for (names, expected) in [
            (&[][..], "fine"),
            (&["0001.sql"], "fine"),
            (&["0001_a.sql", "0002_b.sql", "0010_c.sql"], "fine"),
            (&["1_a.sql", "2_b.sql"], "fine"),
            (&["0_a.sql", "00001-b.sql"], "fine"),
            (&["y.sql"], "missing"),
            (&["0001_a.sql", "y.sql"], "missing"),
            (&["_1.sql"], "missing"),
            (&["99999999999999999999_a.sql"], "missing"),
            (&["0003_a.sql", "0003_b.sql"], "twice"),
            (&["003_a.sql", "03_b.sql"], "twice"),
            (&["10_a.sql", "9_b.sql"], "descends"),
        ] {
            assert_eq!(check(names), expected, "{names:?}");
        }
    }
}
