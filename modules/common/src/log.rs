//! The interface to the log, as a trait.

/// A destination of log lines.
pub trait Log {
    /// Writes one log line. `context` names the part of the module that writes it.
    fn log(&self, level: Level, context: &str, message: &str);
}

/// The severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// An expected event.
    Info,
    /// A failure that will be retried.
    Warn,
    /// A failure that an operator must look at.
    Error,
    /// A failure after which the module cannot continue.
    Critical,
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

#[cfg(test)]
mod tests {
    use super::quoted;

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
}
