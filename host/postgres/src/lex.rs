//! Reads the tokens of SQL text and writes them again in one plain form.
//!
//! The policy judges the plain form, and the server runs the plain form, so both read the same tokens. It has one space
//! between two tokens, no comments, words in lower case, and strings in single quotes. Forms that are easily misread are
//! refused: Unicode escapes, bit strings, numbers followed by letters.
//!
//! Placeholders are written `?1`, as for SQLite, and become `$1`.

use super::policy::Refusal;

/// The most placeholders of a statement. SQLite has the same limit.
const MAX_PARAMETERS: u16 = 4_096;
/// The most tokens of a statement. The parser nests one level for each element of a list, and [`policy`](super::policy)
/// has a stack for this many levels.
const MAX_TOKENS: usize = 20_000;
/// The deepest nesting of brackets.
const MAX_NESTING: usize = 64;
/// The most bytes of a name. PostgreSQL would cut a longer one, so that two names could become one.
pub(crate) const MAX_NAME: usize = 63;

/// One statement in the plain form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text.
    pub text: String,
    /// The greatest number of a placeholder.
    pub parameters: u16,
    /// The line of the original text on which the statement begins, counted from 1.
    pub line: usize,
}

/// Splits SQL text at its semicolons and returns the statements in the plain form.
///
/// # Errors
/// Returns a [`Refusal`] with its line if a token is malformed or not allowed, or if a statement exceeds a bound.
pub(crate) fn statements(sql: &str) -> Result<Vec<Statement>, (Refusal, usize)> {
    let mut lexer = Lexer { rest: sql, line: 1 };
    let mut found = Vec::new();
    let mut current = Building::default();
    loop {
        let more = lexer.skip_blank().and_then(|()| {
            if lexer.rest.is_empty() {
                return Ok(false);
            }
            if lexer.rest.starts_with(';') {
                lexer.take(1);
                found.extend(std::mem::take(&mut current).finish()?);
            } else {
                let line = lexer.line;
                let token = lexer.token()?;
                current.push(&token, line)?;
            }
            Ok(true)
        });
        match more {
            Ok(true) => {}
            Ok(false) => {
                found.extend(current.finish().map_err(|refusal| (refusal, lexer.line))?);
                return Ok(found);
            }
            Err(refusal) => return Err((refusal, lexer.line)),
        }
    }
}

/// A token in the plain form.
enum Token {
    /// A word, number, string, quoted name or punctuation.
    Text(String),
    /// The placeholder with this number.
    Parameter(u16),
}

/// A statement of which the tokens are being read.
#[derive(Default)]
struct Building {
    text: String,
    tokens: usize,
    nesting: usize,
    parameters: u16,
    line: usize,
}

impl Building {
    fn push(&mut self, token: &Token, line: usize) -> Result<(), Refusal> {
        if self.tokens == 0 {
            self.line = line;
        } else {
            self.text.push(' ');
        }
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            return Err(Refusal::TooLong(MAX_TOKENS));
        }
        match token {
            Token::Text(text) => {
                match text.as_str() {
                    "(" | "[" => self.nesting += 1,
                    ")" | "]" => self.nesting = self.nesting.saturating_sub(1),
                    _ => {}
                }
                if self.nesting > MAX_NESTING {
                    return Err(Refusal::TooDeep(MAX_NESTING));
                }
                self.text.push_str(text);
            }
            Token::Parameter(number) => {
                self.parameters = self.parameters.max(*number);
                self.text.push('$');
                self.text.push_str(&number.to_string());
            }
        }
        Ok(())
    }

    /// Returns the statement. `None` if it has no token.
    fn finish(self) -> Result<Option<Statement>, Refusal> {
        let Self { text, parameters, line, tokens, .. } = self;
        Ok((tokens > 0).then_some(Statement { text, parameters, line }))
    }
}

struct Lexer<'a> {
    rest: &'a str,
    /// The line on which `rest` begins, counted from 1.
    line: usize,
}

impl<'a> Lexer<'a> {
    /// Returns the next `bytes` bytes and goes past them.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.rest.as_bytes().get(at).copied()
    }

    /// Goes past white space and comments.
    fn skip_blank(&mut self) -> Result<(), Refusal> {
        loop {
            let bytes = if self.rest.starts_with("--") {
                self.rest.find(['\n', '\r']).unwrap_or(self.rest.len())
            } else if self.rest.starts_with("/*") {
                comment(self.rest).ok_or(Refusal::Unfinished("comment"))?
            } else {
                let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c);
                self.rest.bytes().take_while(blank).count()
            };
            if bytes == 0 {
                return Ok(());
            }
            self.take(bytes);
        }
    }

    fn token(&mut self) -> Result<Token, Refusal> {
        let first = self.rest.chars().next().unwrap_or_default();
        match first {
            '\'' => self.string().map(Token::Text),
            '"' => self.quoted_name().map(Token::Text),
            '?' if self.byte(1).is_some_and(|byte| byte.is_ascii_digit()) => self.parameter(),
            '$' => self.dollar_quoted().map(Token::Text),
            '0'..='9' => self.number().map(Token::Text),
            '.' if self.byte(1).is_some_and(|byte| byte.is_ascii_digit()) => self.number().map(Token::Text),
            '(' | ')' | '[' | ']' | ',' | '.' => Ok(Token::Text(self.take(1).to_owned())),
            ':' => {
                let bytes = if self.rest.starts_with("::") || self.rest.starts_with(":=") { 2 } else { 1 };
                Ok(Token::Text(self.take(bytes).to_owned()))
            }
            first if is_operator(first) => Ok(Token::Text(self.operator())),
            first if starts_word(first) => self.word().map(Token::Text),
            other => Err(Refusal::Character(other)),
        }
    }

    /// Reads `'text'`. A doubled quote is part of the text.
    fn string(&mut self) -> Result<String, Refusal> {
        let bytes = quoted(self.rest, '\'').ok_or(Refusal::Unfinished("string"))?;
        Ok(self.take(bytes).to_owned())
    }

    /// Reads `e'text'`. Only the simple escapes are allowed, because they can't hide a character.
    fn escaped_string(&mut self) -> Result<String, Refusal> {
        let body = &self.rest[2..];
        let mut chars = body.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n' | 'r' | 't' | 'b' | 'f' | '\\' | '\'')) => {}
                    Some(_) => return Err(Refusal::Form("an escape other than \\n, \\r, \\t, \\b, \\f, \\\\ and \\'")),
                    None => break,
                },
                '\'' if chars.next_if(|(_, next)| *next == '\'').is_none() => {
                    let taken = self.take(2 + at + 1);
                    return Ok(format!("e{}", &taken[1..]));
                }
                _ => {}
            }
        }
        Err(Refusal::Unfinished("string"))
    }

    /// Reads `$tag$text$tag$` and returns it in single quotes.
    fn dollar_quoted(&mut self) -> Result<String, Refusal> {
        let tag = self.rest[1..].find('$').map(|end| &self.rest[..end + 2]).filter(|tag| is_tag(tag));
        let Some(tag) = tag else {
            return Err(Refusal::Form("`$` (write a placeholder as `?1`)"));
        };
        let end = self.rest[tag.len()..].find(tag).ok_or(Refusal::Unfinished("string"))?;
        let text = self.rest[tag.len()..tag.len() + end].replace('\'', "''");
        self.take(tag.len() + end + tag.len());
        Ok(format!("'{text}'"))
    }

    fn quoted_name(&mut self) -> Result<String, Refusal> {
        let bytes = quoted(self.rest, '"').ok_or(Refusal::Unfinished("quoted name"))?;
        let text = self.take(bytes);
        match text.len() - 2 {
            0 => Err(Refusal::Form("an empty name")),
            // A doubled quote counts twice here, which only refuses more.
            length if length > MAX_NAME => Err(Refusal::LongName(text[1..text.len() - 1].to_owned())),
            _ => Ok(text.to_owned()),
        }
    }

    fn parameter(&mut self) -> Result<Token, Refusal> {
        let digits = self.rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        let text = self.take(1 + digits);
        let number = text[1..].parse().ok().filter(|number| (1..=MAX_PARAMETERS).contains(number));
        match (number, self.rest.chars().next()) {
            (_, Some(next)) if continues_word(next) => Err(Refusal::Form("a placeholder followed by letters")),
            (Some(number), _) => Ok(Token::Parameter(number)),
            (None, _) => Err(Refusal::Placeholder(MAX_PARAMETERS)),
        }
    }

    fn number(&mut self) -> Result<String, Refusal> {
        let bytes = self.rest.as_bytes();
        let digits =
            |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut length = digits(0);
        if bytes.get(length) == Some(&b'.') {
            length += 1 + digits(length + 1);
        }
        if matches!(bytes.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            match digits(length + 1 + sign) {
                0 => return Err(Refusal::Form("a number followed by letters")),
                exponent => length += 1 + sign + exponent,
            }
        }
        let text = self.take(length).to_owned();
        match self.rest.chars().next() {
            Some('.') => Err(Refusal::Form("a number with two points")),
            Some(next) if continues_word(next) => Err(Refusal::Form("a number followed by letters")),
            _ => Ok(text),
        }
    }

    fn word(&mut self) -> Result<String, Refusal> {
        let bytes = self.rest.find(|c: char| !continues_word(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..bytes];
        if self.byte(bytes) == Some(b'\'') {
            // These letters change the meaning of the string that follows them without a space.
            match word.to_ascii_lowercase().as_str() {
                "e" => return self.escaped_string(),
                "b" | "x" => return Err(Refusal::Form("a bit string (pass bytes as a parameter)")),
                "n" => return Err(Refusal::Form("a string that begins with `n'`")),
                _ => {}
            }
        }
        if word.eq_ignore_ascii_case("u") && self.rest[bytes..].starts_with("&'") {
            return Err(Refusal::Form("a string with Unicode escapes"));
        }
        if word.eq_ignore_ascii_case("u") && self.rest[bytes..].starts_with("&\"") {
            return Err(Refusal::Form("a name with Unicode escapes"));
        }
        if bytes > MAX_NAME {
            return Err(Refusal::LongName(word.to_owned()));
        }
        // PostgreSQL changes only ASCII letters, if the database's encoding is UTF-8.
        Ok(self.take(bytes).to_ascii_lowercase())
    }

    /// Reads an operator by PostgreSQL's rules: as many characters as possible, up to a comment, and without trailing signs
    /// unless a character shows that the operator isn't a standard one.
    fn operator(&mut self) -> String {
        let run = self.rest.find(|c: char| !is_operator(c)).unwrap_or(self.rest.len());
        let mut run = &self.rest[..run];
        for comment in ["--", "/*"] {
            run = run.find(comment).map_or(run, |at| &run[..at]);
        }
        // A placeholder may follow without a space: `a=?1`.
        if run.len() > 1 && run.ends_with('?') && self.byte(run.len()).is_some_and(|byte| byte.is_ascii_digit()) {
            run = &run[..run.len() - 1];
        }
        if !run.contains(['~', '!', '@', '#', '^', '&', '|', '`', '?', '%']) {
            while run.len() > 1 && run.ends_with(['+', '-']) {
                run = &run[..run.len() - 1];
            }
        }
        self.take(run.len()).to_owned()
    }
}

fn is_operator(c: char) -> bool {
    "~!@#^&|`?+-*/%<>=".contains(c)
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_word(c: char) -> bool {
    starts_word(c) || c.is_ascii_digit() || c == '$'
}

/// Whether `tag` (`$…$`) may begin a dollar-quoted string.
fn is_tag(tag: &str) -> bool {
    let name = &tag[1..tag.len() - 1];
    let rest = |c: char| starts_word(c) || c.is_ascii_digit();
    name.is_empty() || (name.starts_with(starts_word) && name.chars().all(rest))
}

/// The length of the quoted text at the beginning of `text`, in bytes. A doubled quote is part of the text.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut places = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = places.next() {
        if c == quote && places.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// The length of the comment at the beginning of `text`, in bytes. Comments nest.
fn comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
