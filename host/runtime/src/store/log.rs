//! The lines that guests have the host write, by whatever way: bounded, and each with its module, request and trace.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tracing::{Level, enabled, event};

use watertight_model::ids::ModuleName;
use watertight_telemetry::{LineBudget, Trace};

/// The longest line that is written whole, in bytes; of a longer one, the beginning and [`CUT`].
pub(super) const MAX_LINE: usize = 16 << 10;
/// The longest context that is written whole, in bytes.
const MAX_CONTEXT: usize = 256;
/// What stands for the rest of a line that is cut.
const CUT: &str = "…";

/// Bytes of log lines that one call may still write. A store's guests share it.
#[derive(Debug)]
pub struct LogBudget {
    limit: AtomicU64,
    left: AtomicU64,
    /// Whether the call wanted to write more.
    spent: AtomicBool,
    /// Of the lines that say so.
    lines: Arc<LineBudget>,
}

impl LogBudget {
    /// For calls of which none has begun. `lines` bounds the lines about those that want more.
    pub(super) fn new(lines: Arc<LineBudget>) -> Self {
        Self { limit: AtomicU64::new(0), left: AtomicU64::new(0), spent: AtomicBool::new(false), lines }
    }

    /// Begins anew, for a call that may write so many bytes.
    pub(super) fn begin(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        self.left.store(limit, Relaxed);
        self.spent.store(false, Relaxed);
    }

    /// Whether the call wanted to write more than it may: nothing of it is written any more.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Relaxed)
    }

    /// Takes `bytes`. Returns whether they may be written; the error says that this is the first time they may not.
    fn take(&self, bytes: usize) -> Result<bool, u64> {
        if self.is_spent() {
            return Ok(false);
        }
        // One thread at a time runs a store.
        match self.left.load(Relaxed).checked_sub(bytes as u64) {
            Some(left) => {
                self.left.store(left, Relaxed);
                Ok(true)
            }
            None => {
                self.spent.store(true, Relaxed);
                Err(self.limit.load(Relaxed))
            }
        }
    }
}

/// Who says something, and in which request.
pub struct Speaker<'a> {
    /// The module.
    pub module: &'a ModuleName,
    /// The request's id.
    pub request: &'a str,
    /// The request's trace.
    pub trace: &'a Trace,
    /// What the call may write.
    pub budget: &'a LogBudget,
}

impl Speaker<'_> {
    /// Writes a line, or its beginning. What is beyond the call's budget is dropped, and one line says so: of a burst of calls, not of each.
    pub fn write(&self, level: Level, context: &str, message: &str) {
        let (context, message, rest) = (cut(context, MAX_CONTEXT), cut(message, MAX_LINE), rest(message));
        let (name, request) = (self.module.as_str(), self.request);
        macro_rules! line {
            ($level:expr) => {
                if enabled!(target: "module", $level) {
                    let trace = self.trace.id();
                    match self.budget.take(context.len() + message.len()) {
                        Ok(true) => {
                            let message = one_line(message);
                            event!(target: "module", $level, module = name, request, %trace, context, "{message}{rest}");
                        }
                        Ok(false) => {}
                        Err(limit) => {
                            if let Some(unwritten) = self.budget.lines.take() {
                                tracing::warn!(
                                    target: "limit", module = %name, request, %trace, unwritten,
                                    "a limit was met: further lines of this call are dropped: it may log {limit} bytes"
                                );
                            }
                        }
                    }
                }
            };
        }
        match level {
            Level::TRACE => line!(Level::TRACE),
            Level::DEBUG => line!(Level::DEBUG),
            Level::INFO => line!(Level::INFO),
            Level::WARN => line!(Level::WARN),
            Level::ERROR => line!(Level::ERROR),
        }
    }
}

/// `text` with its control characters escaped: a guest's words must not pass for another's line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    line.into()
}

/// The beginning of `text`, at most `limit` bytes of it.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// What stands for the rest of a line that is longer than [`MAX_LINE`].
fn rest(line: &str) -> &'static str {
    if line.len() > MAX_LINE { CUT } else { "" }
}
