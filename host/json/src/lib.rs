//! JSON and component values, converted by WIT types: request bodies, results, and single values out of paths, queries and headers.
//!
//! A [`Codec`] is prepared once from a type and then used for every request. It goes straight from bytes to [`Val`] and back, with
//! no tree of JSON in between. Every violation of a document is reported with its place, not only the first. Nothing in here may
//! panic, recurse without bound or allocate without bound, whatever the input; and nothing here knows HTTP.
//!
//! How types look in JSON:
//!
//! | WIT | JSON |
//! | --- | --- |
//! | `bool`, `string` | the same |
//! | `u8` … `s32` | a number without fraction and exponent, within the type's range |
//! | `u64`, `s64` | the same; a string of such a number is accepted too |
//! | `f32`, `f64` | a finite number |
//! | `char` | a string of one Unicode scalar value |
//! | `list<u8>`, `list<u8, N>` | padded standard base64 |
//! | `list<T>`, `list<T, N>`, `tuple` | a list, of the exact length for the last two |
//! | `map<string, V>`; other maps | an object; a list of `[key, value]` |
//! | `record` | an object; fields of option types may be absent, no others may be there, none twice |
//! | `variant` | `{"case": value}`; a case without payload `"case"` (`{"case": null}` is accepted) |
//! | `enum`; `flags` | `"case"`; a list of names, none twice |
//! | `option` | `null` or the value |
//! | `result` | `{"ok": value}` or `{"err": value}`, with `null` where there is no payload |
//!
//! All names are snake_case in lower case, whatever words in capitals WIT has: `needs-2FA` is `needs_2fa`. Types that JSON can't carry are refused when the codec is made.

mod decode;
mod encode;
mod function;
mod prepare;
mod reader;
mod report;
mod scalar;
mod text;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use wasmtime::component::Val;

pub use self::encode::EncodeError;
pub use self::function::{FunctionCodec, ObjectCodec};
use self::prepare::{Node, Prepare};
use watertight_component::shape::Type;

/// How deeply types may nest. Below WebAssembly's own limit of 100, far above what people write; it bounds recursion, and no value
/// of such a type needs more than [`MAX_DEPTH`] levels of JSON.
pub const MAX_TYPE_DEPTH: usize = 60;

/// How many types a type may be made of, counted where they are used.
pub const MAX_TYPE_SIZE: usize = 10_000;

/// How deeply lists and objects of a document may nest.
pub const MAX_DEPTH: usize = 128;

/// How many violations of one document are listed.
pub const MAX_VIOLATIONS: usize = 64;

/// How many values a document may hold, absent optional fields and single bytes included. A value takes up to a hundred bytes of
/// memory, and `{}` may stand for many: the size of the body alone bounds nothing.
pub const MAX_VALUES: usize = 1 << 21;

/// How many characters of the input a message repeats.
const MAX_ECHO: usize = 40;

/// What becomes of fields of objects that their types don't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Each is a violation.
    Refused,
    /// Their values are read and forgotten.
    Ignored,
}

/// A part of a type that JSON can't carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The way to it, in WIT's names: `a.items[].handle`.
    pub path: String,
    /// Why it can't be carried.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path, self.reason)
    }
}

/// One thing in a document that its type doesn't allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where: a JSON pointer (RFC 6901). A missing field is named by the place that it should have. Keys of the document are cut after
    /// 128 characters.
    pub pointer: String,
    /// What is wrong, for whoever wrote the document.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.detail)
    }
}

/// A WIT type, prepared for conversion. Clones share what was prepared.
#[derive(Debug, Clone)]
pub struct Codec(Arc<Node>);

impl Codec {
    /// Prepares `ty`; `place` is what reports call it, such as the parameter's name.
    ///
    /// # Errors
    /// Every part of the type that JSON can't carry: resources, streams, futures, error contexts, options directly in options; types
    /// beyond [`MAX_TYPE_DEPTH`] or [`MAX_TYPE_SIZE`]; at most [`MAX_VIOLATIONS`] of them.
    pub fn new(place: &str, ty: &Type) -> Result<Self, Vec<Unsupported>> {
        let mut prepare = Prepare::new();
        let node = prepare.root(place, ty);
        prepare.finish(node).map(|node| Self(Arc::new(node)))
    }

    /// The value that a JSON document stands for.
    ///
    /// # Errors
    /// Everything in the document that the type doesn't allow, at most [`MAX_VIOLATIONS`] with a note where there are more; or the one
    /// place where it stops being JSON.
    pub fn decode(&self, document: &[u8]) -> Result<Val, Vec<Violation>> {
        self.decode_with(document, UnknownFields::Refused)
    }

    /// As [`Codec::decode`]; `unknown` says what becomes of fields of objects that their types don't have.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode_with(&self, document: &[u8], unknown: UnknownFields) -> Result<Val, Vec<Violation>> {
        decode::document(document, unknown, |decoder| decoder.root(&self.0))
    }

    /// The value that a bare text stands for: a segment of a path, a field of a query, a header. Strings, characters and names of
    /// enums stand as they are, numbers and booleans as in JSON; a text for an option is its value, never its absence.
    ///
    /// # Errors
    /// What was expected and what was found, for whoever wrote the text; always so if not [`Codec::takes_text`].
    pub fn decode_text(&self, text: &str) -> Result<Val, String> {
        text::decode(&self.0, text)
    }

    /// Whether [`Codec::decode_text`] can work: scalars, enums, and options of those.
    pub fn takes_text(&self) -> bool {
        text::takes(&self.0)
    }

    /// The value where none is given: that of an option, and nothing for all other types.
    pub fn absent(&self) -> Option<Val> {
        self.0.absent()
    }

    /// Appends `value` to `out` as JSON of at most `limit` bytes. On an error, `out` is as it was.
    ///
    /// # Errors
    /// Where the value is too large, has a float that is no number, or isn't of this type.
    pub fn encode(&self, value: &Val, out: &mut Vec<u8>, limit: usize) -> Result<(), EncodeError> {
        encode::document(&self.0, value, out, limit)
    }
}

/// The start of `text`, with `…` for what is left out.
fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Appends one segment to a JSON pointer.
fn push_pointer(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}
