//! The lines that guests have the host write, by whatever way: bounded, and each with its module, request and trace.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use tracing::{Level, enabled, event};

use crate::ids::ModuleName;
use crate::telemetry::Trace;

/// The longest line that is written whole, in bytes; of a longer one, the beginning and [`CUT`].
pub(super) const MAX_LINE: usize = 16 << 10;
/// The longest context that is written whole, in bytes.
const MAX_CONTEXT: usize = 256;
/// What stands for the rest of what is cut.
const CUT: &str = "…";

/// Bytes of log lines that one call may still write. A store's guests share it.
#[derive(Debug, Default)]
pub struct LogBudget {
    limit: AtomicU64,
    left: AtomicU64,
    /// Whether the call wanted to write more.
    spent: AtomicBool,
    /// The module that did.
    by: Mutex<Option<ModuleName>>,
}

impl LogBudget {
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

    /// The module that wanted to write more, and what may be written.
    pub(super) fn spent_by(&self) -> Option<(ModuleName, u64)> {
        let by = || self.by.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.is_spent().then(by).flatten().map(|module| (module, self.limit.load(Relaxed)))
    }

    /// Takes `bytes` for a line of that module. Returns whether they may be written.
    fn take(&self, bytes: usize, module: &ModuleName) -> bool {
        if self.is_spent() {
            return false;
        }
        // One thread at a time runs a store.
        let left = self.left.load(Relaxed).checked_sub(bytes as u64);
        match left {
            Some(left) => self.left.store(left, Relaxed),
            None => {
                *self.by.lock().unwrap_or_else(PoisonError::into_inner) = Some(module.clone());
                self.spent.store(true, Relaxed);
            }
        }
        left.is_some()
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
    /// Writes a line, or its beginning. What is beyond the call's budget is dropped; the call's end tells of it.
    pub fn write(&self, level: Level, context: &str, message: &str) {
        let ((context, _), (message, rest)) = (cut(context, MAX_CONTEXT), cut(message, MAX_LINE));
        let (name, request) = (self.module.as_str(), self.request);
        macro_rules! line {
            ($level:expr) => {
                if enabled!(target: "module", $level) {
                    if self.budget.take(context.len() + message.len(), self.module) {
                        let (message, trace) = (one_line(message), self.trace.id());
                        event!(target: "module", $level, module = name, request, %trace, context, "{message}{rest}");
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
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    line.into()
}

/// The beginning of `text`, at most `limit` bytes of it, and what stands for the rest.
fn cut(text: &str, limit: usize) -> (&str, &'static str) {
    let beginning = &text[..text.floor_char_boundary(limit)];
    (beginning, if beginning.len() < text.len() { CUT } else { "" })
}
