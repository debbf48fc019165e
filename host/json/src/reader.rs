//! A pull parser for JSON (RFC 8259): it reads piece by piece, when the caller asks for it, and copies nothing that has no escapes.
//!
//! serde_json can't replace it, for two reasons. It converts numbers before their type is known: `-0` becomes a float as `1.0` does,
//! integers beyond 64 bits lose digits, and `1e400` is an error. And it stops at the first value that doesn't fit. This parser gives
//! the text of a number, and its caller can go on. Both accept the same documents: `tests/json` compares them.
//!
//! This file knows nothing of WIT. It must keep the bound on nesting, because its callers recurse once for each level.

use std::borrow::Cow;

use super::MAX_DEPTH;

/// The kind of a JSON value, as its first character shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    List,
    Object,
}

/// A syntax error: the position where a text stops being JSON, and the reason.
#[derive(Debug, Clone, Copy)]
pub(super) struct SyntaxError {
    pub(super) message: &'static str,
    /// The position of the error, in bytes from the start of the text.
    pub(super) at: usize,
}

/// A JSON text, and the position up to which it was read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Returns the number of bytes of the text that were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the text from the byte `start` to the current position.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Skips white space and returns the kind of the next value, which its first character determines.
    pub(super) fn peek(&mut self) -> Result<Kind, SyntaxError> {
        match self.next_token() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the document ends where a value is expected")),
        }
    }

    /// Reads `null`.
    pub(super) fn null(&mut self) -> Result<(), SyntaxError> {
        self.word("null")
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&mut self) -> Result<bool, SyntaxError> {
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a number and returns its text.
    pub(super) fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    /// Reads a string and returns it without escapes. The result borrows from the text unless the string has escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let clean = self.clean_run();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(clean));
        }
        let mut unescaped = String::from(clean);
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => unescaped.push(self.escape()?),
                Some(_) => return Err(self.error("a control character in a string; it must be escaped")),
                None => return Err(self.error("the document ends within a string")),
            }
            unescaped.push_str(self.clean_run());
        }
    }

    /// Enters a list or an object. [`Reader::next_item`] and [`Reader::key`] then walk through it.
    pub(super) fn enter(&mut self) -> Result<(), SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("lists and objects nest too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Returns whether another item follows; leaves the list or object if none does. `close` is the character that ends the list or object.
    /// The caller sets `first` to true before the first call.
    pub(super) fn next_item(&mut self, close: u8, first: &mut bool) -> Result<bool, SyntaxError> {
        match self.next_token() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(_) if std::mem::take(first) => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if close == b']' => Err(self.error("expected `,` or `]`")),
            Some(_) => Err(self.error("expected `,` or `}`")),
            None if close == b']' => Err(self.error("the document ends within a list")),
            None => Err(self.error("the document ends within an object")),
        }
    }

    /// Reads the key of an object's member and the colon after it.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        if self.next_token() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        let key = self.string()?;
        if self.next_token() != Some(b':') {
            return Err(self.error("expected `:` after a key"));
        }
        self.at += 1;
        Ok(key)
    }

    /// Reads a whole value and drops it. Its syntax is checked like that of any other value.
    pub(super) fn skip(&mut self) -> Result<(), SyntaxError> {
        let kind = self.peek()?;
        match kind {
            Kind::Null => self.null(),
            Kind::Bool => self.boolean().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::String => self.string().map(drop),
            Kind::List | Kind::Object => {
                let close = if kind == Kind::List { b']' } else { b'}' };
                let mut first = true;
                self.enter()?;
                while self.next_item(close, &mut first)? {
                    if kind == Kind::Object {
                        self.key()?;
                    }
                    self.skip()?;
                }
                Ok(())
            }
        }
    }

    /// Checks that nothing but white space follows in the text.
    pub(super) fn end(&mut self) -> Result<(), SyntaxError> {
        match self.next_token() {
            None => Ok(()),
            Some(_) => Err(self.error("unexpected text after the value")),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn error(&self, message: &'static str) -> SyntaxError {
        SyntaxError { message, at: self.at }
    }

    fn word(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        // The next read refuses what directly follows the word, such as the `x` of `nullx`.
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.error("expected a value"))
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    /// Reads up to the next quote, backslash or control character, and returns the text in between.
    fn clean_run(&mut self) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        self.at += rest.iter().position(|&b| b < b' ' || b == b'"' || b == b'\\').unwrap_or(rest.len());
        self.since(start)
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let simple = match self.byte() {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(start);
            }
            _ => return Err(self.error("an unknown escape sequence")),
        };
        self.at += 1;
        Ok(simple)
    }

    /// Reads the rest of a `\uXXXX` escape, and the second escape where two make one character.
    fn unicode_escape(&mut self, start: usize) -> Result<char, SyntaxError> {
        let lone = SyntaxError { message: "an unpaired surrogate", at: start };
        let unit = self.hex4()?;
        if !(0xd800..0xe000).contains(&unit) {
            return char::from_u32(unit).ok_or(lone);
        }
        if unit >= 0xdc00 || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Err(lone);
        }
        self.at += 2;
        let low = self.hex4()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(lone);
        }
        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).ok_or(lone)
    }

    fn hex4(&mut self) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|b| char::from(b).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(unit)
    }
}
