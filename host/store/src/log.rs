//! Writes the log lines of guests: bounded for each call, and labelled with module, request and trace.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tracing::{Level, enabled, event};

use watertight_model::ids::ModuleName;
use watertight_telemetry::{LineRateLimit, Trace};

/// The greatest length of a line that is written whole, in bytes. A longer line is cut, with [`CUT`] at its end.
pub(crate) const MAX_LINE: usize = 16 << 10;
/// The greatest length of a line's context that is written whole, in bytes. The guest names the context. A longer one is cut.
const MAX_CONTEXT: usize = 256;
/// Replaces the cut part of a line.
const CUT: &str = "…";

/// The bytes of log lines that the current call may still write. All guests of a store share it.
#[derive(Debug)]
pub struct LogBudget {
    limit: AtomicU64,
    left: AtomicU64,
    /// Whether the call tried to write more than it may.
    exceeded: AtomicBool,
    /// Limits how many warnings are logged about calls that exceed their budget.
    lines: Arc<LineRateLimit>,
}

impl LogBudget {
    /// Creates an empty budget for a new store. `lines` limits how many warnings are logged about calls that exceed their budget.
    pub(super) fn new(lines: Arc<LineRateLimit>) -> Self {
        Self { limit: AtomicU64::new(0), left: AtomicU64::new(0), exceeded: AtomicBool::new(false), lines }
    }

    /// Resets the budget for a call that may write `limit` bytes.
    pub(super) fn begin(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        self.left.store(limit, Relaxed);
        self.exceeded.store(false, Relaxed);
    }

    /// Returns whether the call tried to write more than it may. All its further lines are dropped.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    /// Takes `bytes` from the budget. Returns whether a line of that many may be written. The first time it may not, returns the call's
    /// limit as an error.
    fn take(&self, bytes: usize) -> Result<bool, u64> {
        if self.is_exceeded() {
            return Ok(false);
        }
        // Load and store need not be one atomic step: only one thread at a time runs a store.
        match self.left.load(Relaxed).checked_sub(bytes as u64) {
            Some(left) => {
                self.left.store(left, Relaxed);
                Ok(true)
            }
            None => {
                self.exceeded.store(true, Relaxed);
                Err(self.limit.load(Relaxed))
            }
        }
    }
}

/// A log writer for one module within one request.
pub struct GuestLog<'a> {
    /// The module.
    pub module: &'a ModuleName,
    /// The request's id.
    pub request: &'a str,
    /// The request's trace.
    pub trace: &'a Trace,
    /// The bytes that the call may still write.
    pub budget: &'a LogBudget,
}

impl GuestLog<'_> {
    /// Writes one line, cut if it is too long. A line beyond the call's budget is dropped. The first drop logs a warning, rate-limited
    /// over all calls.
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
                            if let Some(unwritten) = self.budget.lines.try_acquire() {
                                tracing::warn!(
                                    target: "limit", module = %name, request, %trace, unwritten,
                                    "a limit was met: further lines of this call are dropped, because a call can log at most {limit} bytes"
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

/// Escapes the control characters of `text`, so that a guest cannot forge a line of the log.
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

/// Returns the beginning of `text`: at most `limit` bytes, cut between characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Returns the text that replaces the rest of a line longer than [`MAX_LINE`].
fn rest(line: &str) -> &'static str {
    if line.len() > MAX_LINE { CUT } else { "" }
}
