//! What is wrong with a document, and where: the way to the current place, the violations found, and how much was read.
//!
//! The way is kept as steps that borrow; it becomes a pointer only once something is wrong. Every list in here is bounded.

use std::borrow::Cow;

use super::prepare::Names;
use super::reader::Syntax;
use super::{MAX_VALUES, MAX_VIOLATIONS, Violation, clip, push_pointer};

/// How many characters of a document's own key stand in a pointer.
const MAX_KEY: usize = 128;

/// How many steps there is room for without asking for more.
const USUAL_DEPTH: usize = 8;

/// A step of the way from a document's root.
pub(super) enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

impl<'a> Step<'a> {
    /// Into a member whose name is known beforehand.
    pub(super) fn key(name: &'a str) -> Self {
        Self::Key(Cow::Borrowed(name))
    }
}

/// A bound was hit; that was noted among the violations.
#[derive(Debug)]
pub(super) struct Full;

/// See the file's head.
pub(super) struct Report<'a> {
    path: Vec<Step<'a>>,
    violations: Vec<Violation>,
    values: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new() -> Self {
        Self { path: Vec::with_capacity(USUAL_DEPTH), violations: Vec::new(), values: 0 }
    }

    /// Goes one step further in. Whoever does also leaves, except where reading ends for good: then the way is still needed.
    pub(super) fn enter(&mut self, step: Step<'a>) {
        self.path.push(step);
    }

    /// Goes back by one step.
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// Goes to another item of the list that was entered last.
    pub(super) fn at_index(&mut self, index: usize) {
        if let Some(last) = self.path.last_mut() {
            *last = Step::Index(index);
        }
    }

    /// Notes what is wrong here.
    pub(super) fn violate(&mut self, detail: String) -> Result<(), Full> {
        if self.violations.len() == MAX_VIOLATIONS {
            let detail = format!("there is more that doesn't fit; only the first {MAX_VIOLATIONS} places are listed");
            self.violations.push(Violation { pointer: String::new(), detail });
            return Err(Full);
        }
        self.violations.push(Violation { pointer: self.pointer(), detail });
        Ok(())
    }

    /// Counts `values` more of the document's values.
    pub(super) fn count(&mut self, values: usize) -> Result<(), Full> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        let detail = format!("the document holds more than {MAX_VALUES} values up to here");
        self.violations.push(Violation { pointer: self.pointer(), detail });
        Err(Full)
    }

    /// `value`, unless something was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.violations.is_empty() { Ok(value) } else { Err(self.violations) }
    }

    /// What was wrong.
    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// The violation that `text` is no JSON, for which the way ends where reading did.
    pub(super) fn no_json(&self, text: &str, syntax: Syntax) -> Violation {
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

/// The name that somebody may have meant who wrote `key`: at most two letters of it wrong, and most of them right.
pub(super) fn nearest<'n>(key: &str, names: &'n Names) -> Option<&'n str> {
    let near = |name: &str| {
        let close = key.len().abs_diff(name.len()) <= 2 && key.len() > 2;
        close.then(|| edits(key.as_bytes(), name.as_bytes())).filter(|&edits| edits <= 2 && edits * 3 <= name.len())
    };
    let names = names.list.iter().filter_map(|name| near(&name.json).map(|edits| (edits, &*name.json)));
    names.min_by_key(|&(edits, _)| edits).map(|(_, name)| name)
}

/// How many bytes must be put in, taken out or changed to make one of the other (Levenshtein's distance).
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
