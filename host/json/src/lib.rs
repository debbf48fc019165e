//! Converts JSON to component values and back, directed by WIT types: request bodies, results, and single values from paths, queries
//! and headers.
//!
//! A [`Codec`] is prepared once from a type and then used for every request. It converts bytes to [`Val`] and back directly, without a
//! tree of JSON in between. It reports every violation of a document with its place, not only the first. Whatever the input, nothing
//! here may panic, recurse without bound or allocate without bound. Nothing here knows HTTP.
//!
//! Types look like this in JSON:
//!
//! | WIT | JSON |
//! | --- | --- |
//! | `bool`, `string` | the same |
//! | `u8` … `s32` | a number without fraction and exponent, within the type's range |
//! | `u64`, `s64` | a number without fraction and exponent, within the type's range; a string of such a number is accepted too |
//! | `f32`, `f64` | a finite number |
//! | `char` | a string of one Unicode scalar value |
//! | `list<u8>`, `list<u8, N>` | padded standard base64 |
//! | `list<T>`, `list<T, N>`, `tuple` | a list, of the exact length for the last two |
//! | `map<string, V>`; other maps | an object; a list of `[key, value]` |
//! | `record` | an object; fields of option types may be absent, no others may be there, none twice |
//! | `variant` | `{"case": value}`; a case without payload `"case"` (`{"case": null}` is accepted) |
//! | `enum`; `flags` | `"case"`; a list of names, none twice |
//! | `option` | `null` or the value; `option<option<T>>` as a field: absent, `null` or the value |
//! | `result` | `{"ok": value}` or `{"err": value}`, with `null` where there is no payload |
//!
//! JSON names are snake_case in lower case, even where a WIT name has words in capitals: `needs-2FA` becomes `needs_2fa`. With the style
//! `camel` they are camelCase. With the style `string` 64-bit integers are written as strings. A codec can't be prepared for a type that JSON can't carry.

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
/// A value of a component, which codecs read and write.
pub use wasmtime::component::Val;

pub use self::encode::EncodeError;
pub use self::function::{FunctionCodec, ObjectCodec};
use self::prepare::{Node, TypePreparer};
use watertight_component::shape::Type;
use watertight_model::config::JsonStyle;

/// Greatest depth to which types may nest. It is below WebAssembly's own limit of 100 and far above what people write. It bounds
/// recursion, and no value of such a type needs more than [`MAX_DEPTH`] levels of JSON.
pub const MAX_TYPE_DEPTH: usize = 60;

/// Greatest number of types that one type may consist of. A type that is used in several places counts each time.
pub const MAX_TYPE_SIZE: usize = 10_000;

/// Greatest depth to which lists and objects of a document may nest.
pub const MAX_DEPTH: usize = 128;

/// Greatest number of violations that are listed for one document, or of parts that are listed for one type.
pub const MAX_VIOLATIONS: usize = 64;

/// Greatest number of values in one document; absent optional fields and single bytes count. The size of a body alone doesn't bound
/// memory: a value takes up to a hundred bytes, and a text as short as `{}` may stand for many values.
pub const MAX_VALUES: usize = 1 << 21;

/// Greatest number of characters of the input that a message repeats.
const MAX_ECHO: usize = 40;

/// What happens to object fields that the type doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Each such field is a violation.
    Refused,
    /// The field's value is read and dropped.
    Ignored,
}

/// A part of a type that JSON can't carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The path to that part, in WIT's names: `a.items[].handle`.
    pub path: String,
    /// Why JSON can't carry that part.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path, self.reason)
    }
}

/// One place in a document that its type doesn't allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The JSON pointer (RFC 6901) to the place. A missing field has the pointer that it would have if it were there. Keys are cut after
    /// 128 characters.
    pub pointer: String,
    /// What is wrong, for the author of the document.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.detail)
    }
}

/// A WIT type, prepared for conversion to and from JSON. Clones share the prepared type.
#[derive(Debug, Clone)]
pub struct Codec(Arc<Node>);

impl Codec {
    /// Prepares the type `ty` for conversion. The paths of parts that JSON can't carry start with `place`, for example a parameter's name.
    ///
    /// # Errors
    /// Every part of the type that JSON can't carry: resources, streams, futures, error contexts, options directly in options that are no fields, and types
    /// beyond [`MAX_TYPE_DEPTH`] or [`MAX_TYPE_SIZE`]. At most [`MAX_VIOLATIONS`] parts are listed.
    pub fn new(place: &str, ty: &Type) -> Result<Self, Vec<Unsupported>> {
        Self::with_style(place, ty, JsonStyle::default())
    }

    /// Prepares the type `ty` like [`Codec::new`], to be written in `style`.
    ///
    /// # Errors
    /// As for [`Codec::new`].
    pub fn with_style(place: &str, ty: &Type, style: JsonStyle) -> Result<Self, Vec<Unsupported>> {
        let mut prepare = TypePreparer::new(style);
        let node = prepare.root(place, ty);
        prepare.finish(node).map(|node| Self(Arc::new(node)))
    }

    /// Prepares the type of an object's field like [`Codec::with_style`]. Only a field may be an option of an option.
    ///
    /// # Errors
    /// As for [`Codec::new`].
    pub fn of_field(name: &str, ty: &Type, style: JsonStyle) -> Result<Self, Vec<Unsupported>> {
        let mut prepare = TypePreparer::new(style);
        let node = prepare.root_field(name, ty);
        prepare.finish(node).map(|node| Self(Arc::new(node)))
    }

    /// Decodes a JSON document to a value. A field that the type doesn't have is a violation.
    ///
    /// # Errors
    /// Every place in the document that the type doesn't allow. At most [`MAX_VIOLATIONS`] places are listed; one more entry says that
    /// there are others. A text that is not JSON gives one violation: the place of the syntax error.
    pub fn decode(&self, document: &[u8]) -> Result<Val, Vec<Violation>> {
        self.decode_with(document, UnknownFields::Refused)
    }

    /// Decodes a JSON document like [`Codec::decode`]. `unknown` says what happens to object fields that the type doesn't have.
    ///
    /// # Errors
    /// Every violation of the document, as for [`Codec::decode`].
    pub fn decode_with(&self, document: &[u8], unknown: UnknownFields) -> Result<Val, Vec<Violation>> {
        decode::document(document, unknown, |decoder| decoder.root(&self.0))
    }

    /// Decodes a bare text to a value: a segment of a path, a field of a query, or a header. Strings, characters and enum names stand as
    /// they are; numbers and booleans are written as in JSON. For an option type, the text is the option's value, never its absence.
    ///
    /// # Errors
    /// A message for the author of the text that says what was expected and what was found. A type for which [`Codec::accepts_text`] is false
    /// always gives an error.
    pub fn decode_text(&self, text: &str) -> Result<Val, String> {
        text::decode(&self.0, text)
    }

    /// Whether a bare text can stand for a value of this type: true for scalars, enums, and options of those.
    pub fn accepts_text(&self) -> bool {
        text::accepts_text(&self.0)
    }

    /// Returns the bare text of a value, as [`Codec::decode_text`] reads it. `None` for an absent option.
    ///
    /// # Errors
    /// [`EncodeError`] where `value` is not of this type, is a float that is not finite, or takes more than `limit` bytes. A type for which
    /// [`Codec::accepts_text`] is false always gives an error.
    pub fn encode_text(&self, value: &Val, limit: usize) -> Result<Option<String>, EncodeError> {
        text::encode(&self.0, value, limit)
    }

    /// Returns the value that an absent field of this type has: `none` for an option type. Other types have no such value, and give `None`.
    pub fn absent_value(&self) -> Option<Val> {
        self.0.absent_value()
    }

    /// Appends `value` to `out` as JSON of at most `limit` bytes. An error leaves `out` unchanged.
    ///
    /// # Errors
    /// [`EncodeError`] where `value` is not of this type, has a float that is not finite, or takes more than `limit` bytes.
    pub fn encode(&self, value: &Val, out: &mut Vec<u8>, limit: usize) -> Result<(), EncodeError> {
        encode::document(&self.0, value, out, limit)
    }
}

/// Cuts `text` after `limit` characters. A text that was cut ends with `…`.
fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Appends one segment to a JSON pointer, escaped as RFC 6901 wants it.
pub fn push_pointer(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}
