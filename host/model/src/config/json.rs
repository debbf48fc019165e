//! Reads how routes write JSON where WIT leaves a choice: the table `json` of the manifest, of a route file or of a route. The nearest one
//! counts, key by key.

use super::tree::Table;
use super::words::words;
use crate::ids::{camel_name, json_name};

words! {
    /// How JSON writes 64-bit integers.
    WideIntegers {
        /// As numbers. Programs whose numbers are floats lose digits beyond 2^53.
        Number = "number",
        /// As strings of a number.
        String = "string",
    }
}

words! {
    /// How names of WIT are spelled in JSON, in query fields and in fields of forms.
    NameCase {
        /// `first-name` is `first_name`.
        Snake = "snake",
        /// `first-name` is `firstName`.
        Camel = "camel",
    }
}

impl NameCase {
    /// Returns the spelling of a name of WIT.
    pub fn spell(self, wit: &str) -> String {
        match self {
            Self::Snake => json_name(wit),
            Self::Camel => camel_name(wit),
        }
    }
}

/// How JSON is written where WIT leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonStyle {
    /// How 64-bit integers are written: the key `int64`. Both forms are read.
    pub int64: WideIntegers,
    /// How names are spelled: the key `case`.
    pub case: NameCase,
}

impl Default for JsonStyle {
    fn default() -> Self {
        Self { int64: WideIntegers::Number, case: NameCase::Snake }
    }
}

impl JsonStyle {
    /// Reads the key `json` of `table`. A key that is missing there keeps its value in `outer`.
    pub(super) fn read(table: &mut Table<'_>, outer: Self) -> Self {
        let read =
            |keys: &mut Table<'_>| Self { int64: keys.word("int64", outer.int64), case: keys.word("case", outer.case) };
        table.optional("json").and_then(|value| value.table(read)).unwrap_or(outer)
    }
}
