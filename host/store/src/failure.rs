//! A guest's own report of why it is about to fail: one bounded report for each call.

use std::fmt;

use tracing::Level;

use super::log::{cut, one_line};
use super::{InstanceState, ModuleIndex};

/// The longest message of a report, in bytes. A longer one is cut.
const MAX_MESSAGE: usize = 2 << 10;
/// The longest file name of a report, in bytes. A longer one is cut.
const MAX_FILE: usize = 256;

/// A guest's report of its failure, as one line: the message, then file, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureReport(String);

impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl InstanceState {
    /// Records and logs why a module is about to fail. `at` is file, line and column; column 0 means unknown. Only the first report of a
    /// call counts.
    pub fn record_failure(&mut self, module: ModuleIndex, message: &str, at: Option<(&str, u32, u32)>) {
        if self.failure().is_some() {
            return;
        }
        let mut words = one_line(cut(message, MAX_MESSAGE)).into_owned();
        if let Some((file, line, column)) = at {
            let file = one_line(cut(file, MAX_FILE));
            words += &if column == 0 { format!(" ({file}:{line})") } else { format!(" ({file}:{line}:{column})") };
        }
        self.guest_log(module).write(Level::ERROR, "failure", &words);
        self.current_mut().failure = Some(Box::new(FailureReport(words)));
    }

    /// Returns why the call that failed did so: the guest's report, or else the message of a panic that the runtime of the guest's language
    /// wrote to standard error.
    pub fn reason(&self) -> Option<FailureReport> {
        self.failure().cloned().or_else(|| self.log_budget().panic().map(FailureReport))
    }

    /// Returns the guest's report of its failure in this call, if it made one.
    pub fn failure(&self) -> Option<&FailureReport> {
        self.current().failure.as_deref()
    }
}
