//! Collects the violations of a document with their JSON pointers, and counts the values that were read.
//!
//! The path to the current place is a list of borrowed steps. It becomes a JSON pointer only when a violation is found. Every list here
//! is bounded.

use std::borrow::Cow;

use super::prepare::Names;
use super::reader::SyntaxError;
use super::{MAX_VALUES, MAX_VIOLATIONS, Violation, clip, push_pointer};

/// Greatest number of characters of an object's key that a JSON pointer repeats.
const MAX_KEY: usize = 128;

/// Number of steps for which the path to the current place has room from the start. Deeper documents allocate again.
const USUAL_DEPTH: usize = 8;

/// One step of the path from a document's root: the key of an object's member, or the index of a list's item.
pub(super) enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

impl<'a> Step<'a> {
    /// Returns the step to an object's member whose name is known from the type.
    pub(super) fn key(name: &'a str) -> Self {
        Self::Key(Cow::Borrowed(name))
    }
}

/// The error that a bound on documents was exceeded. A violation in the report already says so.
#[derive(Debug)]
pub(super) struct BoundExceeded;

/// The violations of one document, the path to the current place, and the number of values read.
pub(super) struct Report<'a> {
    path: Vec<Step<'a>>,
    violations: Vec<Violation>,
    values: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new() -> Self {
        Self { path: Vec::with_capacity(USUAL_DEPTH), violations: Vec::new(), values: 0 }
    }

    /// Adds a step to the path to the current place. [`Report::leave`] must follow, except where decoding ends: the violation then still
    /// needs the path.
    pub(super) fn enter(&mut self, step: Step<'a>) {
        self.path.push(step);
    }

    /// Removes the last step from the path to the current place.
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// Replaces the last step of the path by another index of the same list.
    pub(super) fn set_index(&mut self, index: usize) {
        if let Some(last) = self.path.last_mut() {
            *last = Step::Index(index);
        }
    }

    /// Records a violation at the current place.
    pub(super) fn add_violation(&mut self, detail: String) -> Result<(), BoundExceeded> {
        if self.violations.len() == MAX_VIOLATIONS {
            let detail = format!("there are more violations; only the first {MAX_VIOLATIONS} are listed");
            self.violations.push(Violation { pointer: String::new(), detail });
            return Err(BoundExceeded);
        }
        self.violations.push(Violation { pointer: self.pointer(), detail });
        Ok(())
    }

    /// Adds `values` to the number of values read from the document.
    pub(super) fn count(&mut self, values: usize) -> Result<(), BoundExceeded> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        let detail = format!("the document holds more than {MAX_VALUES} values up to here");
        self.violations.push(Violation { pointer: self.pointer(), detail });
        Err(BoundExceeded)
    }

    /// Returns `value` if no violation was recorded, or else the violations.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.violations.is_empty() { Ok(value) } else { Err(self.violations) }
    }

    /// Returns the recorded violations.
    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// Returns the violation that `text` is not JSON. Its pointer is the path to where reading ended.
    pub(super) fn syntax_violation(&self, text: &str, syntax: SyntaxError) -> Violation {
        let before = &text[..text.floor_char_boundary(syntax.at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.bytes().filter(|&b| b == b'\n').count();
        let column = 1 + before[line_start..].chars().count();
        let detail = format!("not JSON: {}, at line {line}, column {column}", syntax.message);
        Violation { pointer: self.pointer(), detail }
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) => push_pointer(&mut pointer, &clip(key, MAX_KEY)),
                Step::Index(index) => push_pointer(&mut pointer, &index.to_string()),
            }
        }
        pointer
    }
}

/// Returns the known name that the author of `key` probably meant: one that differs by at most two edits, and by at most one edit in three
/// bytes. `None` if there is no such name, or if `key` has one or two bytes.
pub(super) fn nearest<'n>(key: &str, names: &'n Names) -> Option<&'n str> {
    let near = |name: &str| {
        let close = key.len().abs_diff(name.len()) <= 2 && key.len() > 2;
        close.then(|| edits(key.as_bytes(), name.as_bytes())).filter(|&edits| edits <= 2 && edits * 3 <= name.len())
    };
    let names = names.list.iter().filter_map(|name| near(&name.json).map(|edits| (edits, &*name.json)));
    names.min_by_key(|&(edits, _)| edits).map(|(_, name)| name)
}

/// Returns the Levenshtein distance between two texts: how many bytes must be inserted, deleted or changed to turn one into the other.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
