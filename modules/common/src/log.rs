//! The port to the log.

/// Where log lines go.
pub trait Log {
    /// Writes one line. `context` says which part of the module speaks.
    fn log(&self, level: Level, context: &str, message: &str);
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What happened, as expected.
    Info,
    /// What will be tried again.
    Warn,
    /// What somebody must look at.
    Error,
    /// The module is gone.
    Critical,
}

/// A text in quotes, as the log of every language's build has it: one piece of one line, whatever it holds.
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

/// Whether a character ends a line, or hides or turns what stands after it.
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
