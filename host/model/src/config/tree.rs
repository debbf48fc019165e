//! Walks a TOML document and reports every fault instead of stopping at the first.
//!
//! Where the document has a fault, each method (`required`, `string`, `duration` …) reports it with its line, and returns `None` or a
//! default. So a reader can go on, and the operator learns of all faults at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{LocatedValue, Source};
use super::units;
use crate::problem::{Code, Problem, list_names};

/// The word that stands for "never" or "no limit" in place of a duration.
pub(super) const OFF: &str = "off";

/// A value of a TOML document, with its path and its line.
pub struct Value<'a> {
    source: &'a Source,
    /// The path to the value, for messages: `modules.a.calls[1]`.
    name: String,
    line: u32,
    tree: &'a DeValue<'a>,
}

/// A table of a TOML document that is being read. Keys that no reader has asked for by the end are reported as unknown.
pub struct Table<'a> {
    source: &'a Source,
    name: String,
    line: u32,
    left: BTreeMap<&'a str, Value<'a>>,
    /// The keys that readers of this table have asked for.
    known: Vec<Cow<'static, str>>,
}

/// Calls `read` with the outermost table of a document, and reports the keys that `read` did not ask for.
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
            // The line is that of the key. The span of a table itself is its header or empty, depending on the notation.
            let line = source.line(key.span().start);
            (key_text, Value { source, name, line, tree: value.get_ref() })
        };
        let left = tree.iter().map(value_of).collect();
        Self { source, name, line, left, known: Vec::new() }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let answer = read(&mut self);
        let known = list_names(&self.known);
        for value in self.left.values() {
            let problem = Problem::new(Code::UnknownKey, format!("there is no key `{}`", value.name));
            value.source.report(value.line, problem.help(format!("the keys here are {known}")));
        }
        answer
    }

    /// Returns the line of the table, counted from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Reports a problem at a line of the table.
    pub fn report(&self, line: u32, problem: Problem) {
        self.source.report(line, problem);
    }

    /// Returns the number of problems reported so far in this file.
    pub fn reported(&self) -> usize {
        self.source.reported()
    }

    /// Returns the value of `key`, or `None` if the table doesn't have the key.
    pub fn optional(&mut self, key: impl Into<Cow<'static, str>>) -> Option<Value<'a>> {
        let key = key.into();
        let value = self.left.remove(&*key);
        self.known.push(key);
        value
    }

    /// Returns the value of `key`. If the table doesn't have the key, reports that it is missing and returns `None`.
    pub fn required(&mut self, key: &'static str) -> Option<Value<'a>> {
        let value = self.optional(key);
        if value.is_none() {
            let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
            self.report(self.line, Problem::new(Code::MissingKey, format!("the key `{name}` is missing")));
        }
        value
    }

    /// Returns all entries of the table. This is for tables whose keys are names that the operator chooses.
    pub fn entries(&mut self) -> Vec<(&'a str, Value<'a>)> {
        std::mem::take(&mut self.left).into_iter().collect()
    }

    /// Reads a duration within `range`. Returns `default` if the key is missing or its value has a fault.
    pub fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>, default: Duration) -> Duration {
        self.optional(key).and_then(|value| value.duration(range)).unwrap_or(default)
    }

    /// Reads a duration within `range`, or the word `off`, which means `None`. Returns `default` if the key is missing or its value has a
    /// fault.
    pub fn duration_or_off(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        match self.optional(key) {
            Some(value) if value.is_word(OFF) => None,
            Some(value) => value.duration(range).or(default),
            None => default,
        }
    }

    /// Reads a size within `range`, in bytes. Returns `default` if the key is missing or its value has a fault.
    pub fn size(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.optional(key).and_then(|value| value.size(range)).unwrap_or(default)
    }

    /// Reads a whole number within `range`. Returns `default` if the key is missing or its value has a fault.
    pub fn count(&mut self, key: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        self.optional(key).and_then(|value| value.count(range)).unwrap_or(default)
    }

    /// Reads a word of the closed set `T`. Returns `default` if the key is missing or its value has a fault.
    pub fn word<T: FromStr<Err: fmt::Display>>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).and_then(|value| value.parse()).map_or(default, |word| word.value)
    }
}

impl<'a> Value<'a> {
    /// Returns `value` together with the line of this value.
    pub fn at<T>(&self, value: T) -> LocatedValue<T> {
        LocatedValue { value, line: self.line }
    }

    /// Reports a problem at the line of this value.
    pub fn report(&self, problem: Problem) {
        self.source.report(self.line, problem);
    }

    /// Reports that the value can't be accepted. `why` follows the value's path in the message.
    pub fn refuse(&self, why: impl fmt::Display) {
        self.report(Problem::new(Code::BadValue, format!("`{}`: {why}", self.name)));
    }

    /// Returns the number of problems reported so far in this file.
    pub fn reported(&self) -> usize {
        self.source.reported()
    }

    /// Whether the value is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.tree, DeValue::Table(_))
    }

    /// Whether the value is the string `word`.
    pub fn is_word(&self, word: &str) -> bool {
        matches!(self.tree, DeValue::String(text) if text == word)
    }

    /// Whether the value is the whole number 0.
    pub fn is_zero(&self) -> bool {
        matches!(self.tree, DeValue::Integer(number) if number.as_str() == "0")
    }

    /// Whether the value is `false`.
    pub fn is_false(&self) -> bool {
        matches!(self.tree, DeValue::Boolean(false))
    }

    /// Returns the text of a string. Reports any other value and returns `None`.
    pub fn string(&self) -> Option<&'a str> {
        match self.tree {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type("a string"),
        }
    }

    /// Reads a string and parses it as `T`. Reports a value for which that fails and returns `None`.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Option<LocatedValue<T>> {
        match self.string()?.parse() {
            Ok(value) => Some(self.at(value)),
            Err(error) => {
                self.refuse(error);
                None
            }
        }
    }

    /// Reads true or false. Reports any other value and returns `None`.
    pub fn boolean(&self) -> Option<bool> {
        match self.tree {
            DeValue::Boolean(truth) => Some(*truth),
            _ => self.wrong_type("true or false"),
        }
    }

    /// Returns the values of a list. Reports any other value and returns `None`.
    pub fn list(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.tree else { return self.wrong_type("a list") };
        let value_of = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Value {
            source: self.source,
            name: format!("{}[{index}]", self.name),
            line: self.source.line(value.span().start),
            tree: value.get_ref(),
        };
        Some(array.iter().enumerate().map(value_of).collect())
    }

    /// Reads a table with `read`, and reports the keys that `read` didn't ask for. Reports any other value and returns `None`.
    pub fn table<T>(&self, read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        let DeValue::Table(tree) = self.tree else { return self.wrong_type("a table") };
        Some(Table::new(self.source, self.name.clone(), self.line, tree).read(read))
    }

    /// Reads a whole number within `range`. Reports any other value and returns `None`.
    pub fn count(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(integer) = self.tree else { return self.wrong_type("a whole number") };
        // A number that doesn't fit into `u32` (`-1`, 2^40) is out of every range.
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        self.within(number, integer, &range, u32::to_string)
    }

    /// Reads a number from 0 to 1 and returns it in millionths. Reports any other value and returns `None`.
    pub fn millionths(&self) -> Option<u32> {
        const WHOLE: f64 = 1e6;
        let text = match self.tree {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => return self.wrong_type("a number from 0 to 1"),
        };
        let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            self.refuse(format_args!("`{text}` is not a number from 0 to 1"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and a million")]
        number.map(|number| (number * WHOLE).round() as u32)
    }

    /// Reads a duration within `range`. Reports any other value and returns `None`.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.with_unit("`30s`")?;
        let duration = units::duration(text).map_err(|expected| self.refuse_unit(text, expected)).ok()?;
        self.within(Some(duration), text, &range, |duration| units::show_duration(*duration))
    }

    /// Reads a size within `range` and returns it in bytes. Reports any other value and returns `None`.
    pub fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.with_unit("`256MiB`")?;
        let size = units::size(text).map_err(|expected| self.refuse_unit(text, expected)).ok()?;
        self.within(Some(size), text, &range, |bytes| units::show_size(*bytes))
    }

    /// Reads the text of a quantity with its unit. Reports any other value and returns `None`. A number without a unit is a likely mistake,
    /// so its message shows `example`.
    fn with_unit(&self, example: &str) -> Option<&'a str> {
        match self.tree {
            DeValue::Integer(_) | DeValue::Float(_) => {
                self.refuse(format_args!("a number has no unit: write text such as {example}"));
                None
            }
            _ => self.string(),
        }
    }

    fn refuse_unit(&self, text: &str, expected: &str) {
        self.refuse(format_args!("`{text}` is not {expected}"));
    }

    /// Returns `value` if it is within `range`; otherwise reports it and returns `None`. `written` is its text in the document; `show`
    /// prints a bound.
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

    /// Returns the value as JSON. Reports a date or time, an infinity or a NaN, which JSON doesn't have, and returns `None`.
    pub fn to_json(&self) -> Option<String> {
        let json = to_json(self.tree);
        if json.is_none() {
            self.refuse("dates, infinities and NaN are no values here: write a text");
        }
        json
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

fn to_json(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => serde_json::Value::from(&**text).to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            serde_json::Number::from_f64(number)?.to_string()
        }
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => return None,
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| to_json(item.get_ref())).collect();
            format!("[{}]", items?.join(","))
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                let key = serde_json::Value::from(&**key.get_ref());
                Some(format!("{key}:{}", to_json(value.get_ref())?))
            };
            let entries: Option<Vec<String>> = table.iter().map(entry).collect();
            format!("{{{}}}", entries?.join(","))
        }
    })
}
