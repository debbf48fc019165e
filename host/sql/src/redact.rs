//! The text of a statement as the log shows it: without literal values, on one line, and cut.

/// The most bytes of a statement's text in a log line.
const MOST: usize = 512;

/// The replacement of a literal value.
const VALUE: char = '?';

/// Returns a statement's text without literal values, comments and line breaks, cut to 512 bytes. Quoted names stay.
pub fn redact_statement(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len().min(MOST + 8));
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if out.len() > MOST {
            break;
        }
        let previous = out.chars().next_back();
        let (taken, text) = match first {
            '\'' => (quoted(rest, '\''), Some(VALUE)),
            '"' | '`' => (quoted(rest, first), None),
            '[' => (rest.find(']').map_or(rest.len(), |end| end + 1), None),
            '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), Some(' ')),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), Some(' ')),
            'x' | 'X' if rest[1..].starts_with('\'') && !is_word(previous) => {
                (1 + quoted(&rest[1..], '\''), Some(VALUE))
            }
            '0'..='9' if !is_word(previous) => (number(rest), Some(VALUE)),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) && !is_word(previous) => {
                (number(rest), Some(VALUE))
            }
            // The number of a parameter is not a literal value.
            '?' => (1 + digits(&rest[1..]), None),
            first if first.is_whitespace() || first.is_control() => (first.len_utf8(), Some(' ')),
            first => (first.len_utf8(), None),
        };
        match text {
            Some(' ') if out.is_empty() || out.ends_with(' ') => {}
            Some(text) => out.push(text),
            None => out.extend(rest[..taken].chars().map(|c| if c.is_control() { ' ' } else { c })),
        }
        rest = &rest[taken..];
    }
    let mut out = out.trim_end().to_owned();
    if out.len() > MOST || !rest.is_empty() {
        let end = (0..=MOST.min(out.len())).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
    out
}

/// Whether a letter or digit after the character `previous` belongs to the name or parameter number that ends with it.
fn is_word(previous: Option<char>) -> bool {
    previous.is_some_and(|c| c.is_alphanumeric() || "_$?:@#".contains(c))
}

/// The length of the quoted text at the beginning of `text`, in bytes. A doubled quote is part of the text. Without a
/// closing quote, the length is that of the whole text.
fn quoted(text: &str, quote: char) -> usize {
    let mut places = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = places.next() {
        if c == quote && places.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The length of the number at the beginning of `text`, in bytes, in any notation.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_part = |at: usize| match bytes[at] {
        b'+' | b'-' => at > 0 && matches!(bytes[at - 1], b'e' | b'E') && !text.starts_with("0x"),
        byte => byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_',
    };
    (0..bytes.len()).find(|at| !is_part(*at)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_shown_and_names_and_parameters_are() {
        for (sql, expected) in [
            ("SELECT a FROM t WHERE b = ?1", "SELECT a FROM t WHERE b = ?1"),
            ("SELECT 'it''s secret' || x'C0FFEE', 12, -1.5e-3, 0xFF, .5 FROM t1", "SELECT ? || ?, ?, -?, ?, ? FROM t1"),
            ("select \"col 'x'\", [a 1], `b``2` from t_2", "select \"col 'x'\", [a 1], `b``2` from t_2"),
            ("SELECT 1 -- secret 'x'\n  /* more\n secret */ FROM\tt", "SELECT ? FROM t"),
            ("  SELECT\r\n\r\n a  ", "SELECT a"),
            ("SELECT 'never ends", "SELECT ?"),
            ("SELECT \"never ends\n", "SELECT \"never ends"),
            ("INSERT INTO t VALUES (?10, :name1, @p2, $v3, ?)", "INSERT INTO t VALUES (?10, :name1, @p2, $v3, ?)"),
            ("SELECT täglich, 'größe'", "SELECT täglich, ?"),
            ("SELECT \u{1b}[31m", "SELECT [31m"),
            ("", ""),
        ] {
            assert_eq!(redact_statement(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_long_one_is_cut_between_characters() {
        for sql in ["SELECT ä".repeat(500), "a".repeat(513), format!("{}ä", "a".repeat(511))] {
            let text = redact_statement(&sql);
            assert!(text.ends_with('…') && text.len() <= MOST + '…'.len_utf8(), "{}", text.len());
        }
        assert_eq!(redact_statement(&"a".repeat(512)), "a".repeat(512));
        assert_eq!(redact_statement(&format!("SELECT '{}'", "secret".repeat(10_000))), "SELECT ?");
    }
}
