//! Writes the log lines of guests: bounded for each call, and labelled with module, request and trace.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, enabled, event};

use watertight_model::ids::ModuleName;
use watertight_telemetry::{LineRateLimit, Trace};

/// The greatest length of a line that is written whole, in bytes. A longer line is cut, with [`CUT`] at its end.
pub(crate) const MAX_LINE: usize = 16 << 10;
/// The greatest length of a line's context that is written whole, in bytes. The guest names the context. A longer one is cut.
const MAX_CONTEXT: usize = 256;
/// The longest part of a panic's message that is kept, in bytes.
const MAX_LAST_WORDS: usize = 1 << 10;
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
    /// What the runtime of a guest's language wrote before it ended the call.
    panic: Mutex<Option<LastWords>>,
}

/// The message of a guest whose language's runtime writes why it panicked to standard error, and then traps: Go and plain Rust.
#[derive(Debug, Default)]
struct LastWords {
    /// The message. Empty if the next line has it.
    message: String,
    /// File and line, if they are known.
    place: Option<String>,
}

impl LastWords {
    /// Reads the first line of a message. Returns `None` if the line is none.
    fn begun_by(line: &str) -> Option<Self> {
        if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
            return Some(Self { message: cut(line, MAX_LAST_WORDS).to_owned(), place: None });
        }
        let (_, place) = line.strip_prefix("thread '")?.split_once(" panicked at ")?;
        Some(Self { message: String::new(), place: Some(cut(place, MAX_LAST_WORDS).trim_end_matches(':').to_owned()) })
    }

    /// Adds a line after the first: the message, or in Go's list of calls the innermost that is not one of Go's own runtime.
    fn add(&mut self, line: &str) {
        if self.message.is_empty() {
            cut(line, MAX_LAST_WORDS).clone_into(&mut self.message);
        }
        let call = line.strip_prefix('\t').filter(|call| call.contains(".go:") && !call.contains("/runtime/"));
        if let (None, Some(call)) = (&self.place, call) {
            self.place = call.split(' ').next().map(|place| cut(place, MAX_LAST_WORDS).to_owned());
        }
    }
}

impl LogBudget {
    /// Creates an empty budget for a new store. `lines` limits how many warnings are logged about calls that exceed their budget.
    pub(super) fn new(lines: Arc<LineRateLimit>) -> Self {
        Self {
            limit: AtomicU64::new(0),
            left: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            lines,
            panic: Mutex::default(),
        }
    }

    /// Resets the budget for a call that may write `limit` bytes.
    pub(super) fn begin(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
        self.left.store(limit, Relaxed);
        self.exceeded.store(false, Relaxed);
        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks for the message of a panic in a line that a guest wrote to standard error.
    pub(crate) fn hear(&self, line: &str) {
        let mut panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *panic {
            Some(words) => words.add(line),
            None => *panic = LastWords::begun_by(line),
        }
    }

    /// Returns the message of a panic that a guest wrote to standard error in this call, with its place.
    pub(crate) fn panic(&self) -> Option<String> {
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        let LastWords { message, place } = panic.as_ref()?;
        let place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        Some(one_line(&format!("{message}{place}")).into_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_found_among_the_lines_of_standard_error() {
        let go = "a warning\npanic: index out of range [5] with length 0\n\ngoroutine 1 [running]:\nruntime.panicIndex()\n\t/go/src/runtime/panic.go:11 +0x1\n\
                  books.Shake({0x28, 0x5})\n\tbooks/component.go:159 +0x45\n\tbooks/exports.go:352 +0x7";
        let rust = "thread 'main' (1) panicked at src/lib.rs:12:9:\nthe shelf fell\nnote: run with RUST_BACKTRACE=1";
        for (lines, expected) in [
            (go, Some("panic: index out of range [5] with length 0 (books/component.go:159)")),
            (rust, Some("the shelf fell (src/lib.rs:12:9)")),
            ("printed to stderr", None),
        ] {
            let budget = LogBudget::new(Arc::default());
            lines.lines().for_each(|line| budget.hear(line));
            assert_eq!(budget.panic().as_deref(), expected);
            budget.begin(1);
            assert_eq!(budget.panic(), None);
        }
    }
}
