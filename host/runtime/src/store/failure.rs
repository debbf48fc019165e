//! Why a guest is about to fail, as it says itself: one bounded report for each call.

use std::fmt;

use tracing::Level;

use super::log::{cut, one_line};
use super::{InstanceState, ModuleIndex};

/// The longest message of a report that is kept whole, in bytes.
const MAX_MESSAGE: usize = 2 << 10;
/// The longest name of a file that is kept whole, in bytes.
const MAX_FILE: usize = 256;

/// What a guest said of its failure, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl InstanceState {
    /// Notes and logs why a module is about to fail: a message, and file, line and column. Whatever comes after the first report of a
    /// call is dropped.
    pub fn note_failure(&mut self, module: ModuleIndex, message: &str, at: Option<(&str, u32, u32)>) {
        if self.failure.is_some() {
            return;
        }
        let mut words = one_line(cut(message, MAX_MESSAGE)).into_owned();
        if let Some((file, line, column)) = at {
            let file = one_line(cut(file, MAX_FILE));
            words += &if column == 0 { format!(" ({file}:{line})") } else { format!(" ({file}:{line}:{column})") };
        }
        self.speaker(module).write(Level::ERROR, "failure", &words);
        self.failure = Some(Box::new(Failure(words)));
    }

    /// What a guest said of its failure in this call, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }
}
