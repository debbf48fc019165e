//! The log, as a trait and as macros with fields.
//!
//! ```
//! # use watertight_guest::{info, warn};
//! # let (id, lines) = ("01J", 3);
//! info!("placed an order of {lines} lines"; order = id, total = "9.00 EUR");
//! // INFO my_module::orders: placed an order of 3 lines order=01J total="9.00 EUR"
//! warn!(context: "stock", "there is little left");
//! ```
//!
//! A macro writes to the host's log, or to standard error where there is no host. `log: SINK` names another [`Log`], such as the one that
//! the rules were given; tests can then read what was logged. `context: TEXT` replaces the path of the Rust module.

use std::fmt::{Display, Write as _};

/// A destination of log lines.
pub trait Log {
    /// Writes one log line. `context` names the part of the module that writes it.
    fn log(&self, level: Level, context: &str, message: &str);
}

impl<T: Log + ?Sized> Log for &T {
    fn log(&self, level: Level, context: &str, message: &str) {
        T::log(self, level, context, message);
    }
}

/// The severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each step, for the author of the code.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// An expected event.
    Info,
    /// A failure that will be retried.
    Warn,
    /// A failure that an operator must look at.
    Error,
    /// A failure after which the module cannot continue.
    Critical,
}

/// The log that the macros write to unless they name one: the host's, or standard error where there is no host.
#[derive(Debug, Clone, Copy)]
pub struct Standard;

impl Log for Standard {
    fn log(&self, level: Level, context: &str, message: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::Host.log(level, context, message);
        #[cfg(not(target_arch = "wasm32"))]
        eprintln!("{level:?} {context}: {message}");
    }
}

/// Adds a field to a log line: ` name=value`. The value is quoted unless it is one word.
pub fn field(line: &mut String, name: &str, value: &impl Display) {
    let text = value.to_string();
    let is_word = |char: char| !(char.is_whitespace() || char.is_control() || hides(char) || "\"\\=".contains(char));
    // Writing to a `String` does not fail.
    let _ = if !text.is_empty() && text.chars().all(is_word) {
        write!(line, " {name}={text}")
    } else {
        write!(line, " {name}={}", quoted(&text))
    };
}

/// Quotes a text for the log, in the format that the modules of all languages use. The result is a single line, whatever the text
/// contains.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        if char.is_control() || hides(char) || matches!(char, '"' | '\\') {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out.push('"');
    out
}

/// Returns whether a character must be escaped in the log: it ends a line, is invisible, or changes the writing direction of the text after
/// it.
fn hides(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Logs each step, for the author of the code. See [`log`](crate::log) for the syntax.
#[macro_export]
macro_rules! trace { ($($line:tt)+) => { $crate::__log!(Trace, $($line)+) }; }

/// Logs what helps to find a mistake. See [`log`](crate::log) for the syntax.
#[macro_export]
macro_rules! debug { ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) }; }

/// Logs an expected event. See [`log`](crate::log) for the syntax.
#[macro_export]
macro_rules! info { ($($line:tt)+) => { $crate::__log!(Info, $($line)+) }; }

/// Logs a failure that will be retried. See [`log`](crate::log) for the syntax.
#[macro_export]
macro_rules! warn { ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) }; }

/// Logs a failure that an operator must look at. See [`log`](crate::log) for the syntax.
#[macro_export]
macro_rules! error { ($($line:tt)+) => { $crate::__log!(Error, $($line)+) }; }

/// Logs a failure after which the module cannot continue. See [`log`](crate::log) for the syntax.
#[macro_export]
macro_rules! critical { ($($line:tt)+) => { $crate::__log!(Critical, $($line)+) }; }

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, log: $log:expr, context: $context:expr, $($line:tt)+) => {
        $crate::log::Log::log(&$log, $crate::log::Level::$level, $context, &$crate::__line!($($line)+))
    };
    ($level:ident, log: $log:expr, $($line:tt)+) => {
        $crate::__log!($level, log: $log, context: ::core::module_path!(), $($line)+)
    };
    ($level:ident, $($line:tt)+) => { $crate::__log!($level, log: $crate::log::Standard, $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __line {
    ($text:literal $(, $argument:expr)* $(,)? $(; $($name:ident = $value:expr),+ $(,)?)?) => {{
        #[allow(unused_mut)]
        let mut line = ::std::format!($text $(, $argument)*);
        $($( $crate::log::field(&mut line, ::core::stringify!($name), &$value); )+)?
        line
    }};
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Lines(RefCell<Vec<String>>);

    impl Log for Lines {
        fn log(&self, level: Level, context: &str, message: &str) {
            self.0.borrow_mut().push(format!("{level:?} {context}: {message}"));
        }
    }

    #[test]
    fn a_quoted_text_is_one_piece_of_one_line() {
        let cases = [
            ("ada", r#""ada""#),
            ("\"a\\b\"", r#""\"a\\b\"""#),
            ("a\n\t\r\0\u{1b}", r#""a\n\t\r\u{0}\u{1b}""#),
            ("José 日本 'x' e\u{301}", "\"José 日本 'x' e\u{301}\""),
            ("\u{200b}\u{2028}\u{202e}\u{2066}\u{feff}\u{85}", r#""\u{200b}\u{2028}\u{202e}\u{2066}\u{feff}\u{85}""#),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn lines_have_fields() {
        let lines = Lines::default();
        let (order, total) = ("01J", "9.00 EUR");
        info!(log: lines, context: "orders", "placed {} of {order}", 2; order = order, total = total, note = "");
        warn!(log: &lines, "little left");
        critical!("nobody reads this one"; but = "it is written");
        let module = module_path!();
        assert_eq!(
            *lines.0.borrow(),
            [
                r#"Info orders: placed 2 of 01J order=01J total="9.00 EUR" note="""#.to_owned(),
                format!("Warn {module}: little left"),
            ]
        );
    }
}
