//! A walk over a TOML document that reports instead of stopping.
//!
//! Every question (`required`, `string`, `duration` …) answers `None` or a default where the document is wrong, and has then
//! reported why, with the line. So a reader asks for all that it needs and the operator learns of every fault at once.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{At, Source};
use super::units;
use crate::problem::{Code, Problem, list};

/// A value, and where it stands.
pub(super) struct Value<'a> {
    source: &'a Source,
    /// The way to it, for messages: `modules.a.calls[1]`.
    name: String,
    line: u32,
    tree: &'a DeValue<'a>,
}

/// A table that is being read: what was not asked for by the end is unknown.
pub(super) struct Table<'a> {
    source: &'a Source,
    name: String,
    line: u32,
    left: BTreeMap<&'a str, Value<'a>>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

/// Reads a whole document.
pub(super) fn document<'a, T>(
    source: &'a Source,
    tree: &'a Spanned<DeTable<'a>>,
    read: impl FnOnce(&mut Table<'a>) -> T,
) -> T {
    Table::new(source, String::new(), 1, tree.get_ref()).read(read)
}

impl<'a> Table<'a> {
    fn new(source: &'a Source, name: String, line: u32, tree: &'a DeTable<'a>) -> Self {
        let value_of = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key_text: &'a str = AsRef::<std::borrow::Cow<'a, str>>::as_ref(key);
            let name = if name.is_empty() { key_text.to_owned() } else { format!("{name}.{key_text}") };
            // The key's line: a table's own span is its header or nothing at all, depending on how it was written.
            let line = source.line(key.span().start);
            (key_text, Value { source, name, line, tree: value.get_ref() })
        };
        let left = tree.iter().map(value_of).collect();
        Self { source, name, line, left, known: Vec::new() }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let answer = read(&mut self);
        let known = list(&self.known);
        for value in self.left.values() {
            let problem = Problem::new(Code::UnknownKey, format!("there is no key `{}`", value.name));
            value.source.report(value.line, problem.help(format!("the keys here are {known}")));
        }
        answer
    }

    /// The table's own line.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// Reports something about the table as a whole, or about some line of it.
    pub(super) fn report(&self, line: u32, problem: Problem) {
        self.source.report(line, problem);
    }

    /// How many problems were reported so far: see [`Source::reported`].
    pub(super) fn reported(&self) -> usize {
        self.source.reported()
    }

    /// The value of a key, if it is there.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.left.remove(key)
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<Value<'a>> {
        let value = self.optional(key);
        if value.is_none() {
            let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
            self.report(self.line, Problem::new(Code::MissingKey, format!("the key `{name}` is missing")));
        }
        value
    }

    /// Everything: for tables whose keys are names that the operator chooses.
    pub(super) fn entries(&mut self) -> Vec<(&'a str, Value<'a>)> {
        std::mem::take(&mut self.left).into_iter().collect()
    }

    /// A duration within `range`, or the default.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.optional(key).and_then(|value| value.duration(range)).unwrap_or(default)
    }

    /// A size in bytes within `range`, or the default.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.optional(key).and_then(|value| value.size(range)).unwrap_or(default)
    }

    /// A number within `range`, or the default.
    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        self.optional(key).and_then(|value| value.count(range)).unwrap_or(default)
    }

    /// A word, or the default.
    pub(super) fn word<T: FromStr<Err: fmt::Display>>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).and_then(|value| value.parse()).map_or(default, |word| word.value)
    }
}

impl<'a> Value<'a> {
    /// `value` with this value's line.
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At { value, line: self.line }
    }

    /// Reports something about it.
    pub(super) fn report(&self, problem: Problem) {
        self.source.report(self.line, problem);
    }

    /// Reports that it can't be taken; `why` goes on after its name.
    pub(super) fn refuse(&self, why: impl fmt::Display) {
        self.report(Problem::new(Code::BadValue, format!("`{}`: {why}", self.name)));
    }

    /// How many problems were reported so far: see [`Source::reported`].
    pub(super) fn reported(&self) -> usize {
        self.source.reported()
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.tree, DeValue::Table(_))
    }

    /// Whether it is that word.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self.tree, DeValue::String(text) if text == word)
    }

    /// Its text.
    pub(super) fn string(&self) -> Option<&'a str> {
        match self.tree {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type("a string"),
        }
    }

    /// Its text, as whatever that means.
    pub(super) fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Option<At<T>> {
        match self.string()?.parse() {
            Ok(value) => Some(self.at(value)),
            Err(error) => {
                self.refuse(error);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&self) -> Option<bool> {
        match self.tree {
            DeValue::Boolean(truth) => Some(*truth),
            _ => self.wrong_type("true or false"),
        }
    }

    /// Its values, if it is a list.
    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.tree else { return self.wrong_type("a list") };
        let value_of = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Value {
            source: self.source,
            name: format!("{}[{index}]", self.name),
            line: self.source.line(value.span().start),
            tree: value.get_ref(),
        };
        Some(array.iter().enumerate().map(value_of).collect())
    }

    /// Reads it as a table; what `read` doesn't ask for is reported.
    pub(super) fn table<T>(&self, read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        let DeValue::Table(tree) = self.tree else { return self.wrong_type("a table") };
        Some(Table::new(self.source, self.name.clone(), self.line, tree).read(read))
    }

    /// A whole number within `range`.
    pub(super) fn count(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(integer) = self.tree else { return self.wrong_type("a whole number") };
        // The text of what fits nowhere (`-1`, 2^40) is out of the range as well.
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        self.within(number, integer, &range, u32::to_string)
    }

    /// A number from 0 to 1, in millionths.
    pub(super) fn millionths(&self) -> Option<u32> {
        const WHOLE: f64 = 1e6;
        let text = match self.tree {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => return self.wrong_type("a number from 0 to 1"),
        };
        let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            self.refuse(format_args!("`{text}` is not within 0 and 1"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and a million")]
        number.map(|number| (number * WHOLE).round() as u32)
    }

    /// A duration within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.with_unit("`30s`")?;
        let duration = units::duration(text).map_err(|expected| self.not(text, expected)).ok()?;
        self.within(Some(duration), text, &range, |duration| units::show_duration(*duration))
    }

    /// A size in bytes within `range`.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.with_unit("`256MiB`")?;
        let size = units::size(text).map_err(|expected| self.not(text, expected)).ok()?;
        self.within(Some(size), text, &range, |bytes| units::show_size(*bytes))
    }

    /// The text of a quantity. A bare number is the likely slip: say what is missing.
    fn with_unit(&self, example: &str) -> Option<&'a str> {
        match self.tree {
            DeValue::Integer(_) | DeValue::Float(_) => {
                self.refuse(format_args!("a number has no unit: write text such as {example}"));
                None
            }
            _ => self.string(),
        }
    }

    fn not(&self, text: &str, expected: &str) {
        self.refuse(format_args!("`{text}` is not {expected}"));
    }

    /// `value` if it lies within `range`; `written` is what the document says, and `show` writes a bound.
    fn within<T: PartialOrd>(
        &self,
        value: Option<T>,
        written: impl fmt::Display,
        range: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let inside = value.filter(|value| range.contains(value));
        if inside.is_none() {
            let (low, high) = (show(range.start()), show(range.end()));
            self.refuse(format_args!("`{written}` is not within {low} and {high}"));
        }
        inside
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match self.tree {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let problem = Problem::new(Code::BadValue, format!("`{}` must be {expected}, and is {found}", self.name));
        self.report(problem.expected(expected, found));
        None
    }
}
