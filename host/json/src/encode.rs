//! Encodes component values as JSON documents: walks a prepared type and writes the JSON text in step with it.
//!
//! A value that isn't of the prepared type is an error with its JSON pointer. Field names are compared as well, so that a record of
//! another type with the same types of fields is refused.

use std::collections::HashSet;
use std::hash::Hash;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use wasmtime::component::Val;

use super::prepare::{Cases, Fields, Node};
use super::push_pointer;
use super::scalar::{Integer, identity};

/// Number of bytes that are encoded to base64 in one step. It is a multiple of 3, so that padding occurs only at the end of the text.
const BASE64_CHUNK: usize = 768;

/// The reason that a value can't be encoded as JSON.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EncodeError {
    #[error("the value takes more than {limit} bytes as JSON")]
    TooLarge { limit: usize },
    #[error("the value at `{pointer}` is {number}, which JSON can't represent")]
    NotFinite { pointer: String, number: f64 },
    #[error("the value at `{pointer}` has the wrong type: expected {expected}")]
    Mismatch { pointer: String, expected: String },
    #[error("{what}: {why}")]
    Unfit { what: String, why: String },
}

/// An encoding error whose JSON pointer is not complete yet. Each caller adds its step while the error is returned, so that only failures
/// pay for pointers.
struct UnlocatedError {
    kind: EncodeErrorKind,
    /// The steps of the JSON pointer, innermost first.
    path: Vec<String>,
}

enum EncodeErrorKind {
    TooLarge,
    NotFinite(f64),
    Mismatch(String),
}

impl From<EncodeErrorKind> for UnlocatedError {
    fn from(kind: EncodeErrorKind) -> Self {
        Self { kind, path: Vec::new() }
    }
}

impl UnlocatedError {
    fn within(mut self, step: &(impl ToString + ?Sized)) -> Self {
        self.path.push(step.to_string());
        self
    }

    fn into_error(self, limit: usize) -> EncodeError {
        let mut pointer = String::new();
        for step in self.path.iter().rev() {
            push_pointer(&mut pointer, step);
        }
        match self.kind {
            EncodeErrorKind::TooLarge => EncodeError::TooLarge { limit },
            EncodeErrorKind::NotFinite(number) => EncodeError::NotFinite { pointer, number },
            EncodeErrorKind::Mismatch(expected) => EncodeError::Mismatch { pointer, expected },
        }
    }
}

/// Appends a value of the type `node` to `out` as JSON of at most `limit` bytes. [`super::Codec::encode`] consists of this function.
pub(super) fn document(node: &Node, value: &Val, out: &mut Vec<u8>, limit: usize) -> Result<(), EncodeError> {
    let start = out.len();
    let mut encoder = Encoder { end: start.saturating_add(limit), out };
    let outcome = encoder.value(node, value).and_then(|()| encoder.check_limit(0));
    outcome.map_err(|fault| {
        out.truncate(start);
        fault.into_error(limit)
    })
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// Greatest length in bytes that `out` may have when encoding ends.
    end: usize,
}

impl Encoder<'_> {
    fn value(&mut self, node: &Node, value: &Val) -> Result<(), UnlocatedError> {
        match (node, value) {
            (Node::Bool, Val::Bool(value)) => self.write_text(if *value { "true" } else { "false" }),
            (Node::Integer(Integer::U8), Val::U8(number)) => self.serialize(number),
            (Node::Integer(Integer::S8), Val::S8(number)) => self.serialize(number),
            (Node::Integer(Integer::U16), Val::U16(number)) => self.serialize(number),
            (Node::Integer(Integer::S16), Val::S16(number)) => self.serialize(number),
            (Node::Integer(Integer::U32), Val::U32(number)) => self.serialize(number),
            (Node::Integer(Integer::S32), Val::S32(number)) => self.serialize(number),
            (Node::Integer(Integer::U64), Val::U64(number)) => self.serialize(number),
            (Node::Integer(Integer::S64), Val::S64(number)) => self.serialize(number),
            (Node::IntegerText(Integer::U64), Val::U64(number)) => self.quoted(number),
            (Node::IntegerText(Integer::S64), Val::S64(number)) => self.quoted(number),
            (Node::F32, Val::Float32(value)) => self.float(*value, f64::from(*value))?,
            (Node::F64, Val::Float64(value)) => self.float(*value, *value)?,
            (Node::Char, Val::Char(value)) => self.string(value.encode_utf8(&mut [0; 4]))?,
            (Node::String, Val::String(value)) => self.string(value)?,
            (Node::Bytes(None), Val::List(bytes)) => self.bytes(node, bytes)?,
            (Node::Bytes(Some(length)), Val::FixedLengthList(bytes)) if bytes.len() == *length => {
                self.bytes(node, bytes)?;
            }
            (Node::List(item), Val::List(items)) => self.list(items, |_| item)?,
            (Node::FixedList(item, length), Val::FixedLengthList(items)) if items.len() == *length => {
                self.list(items, |_| item)?;
            }
            (Node::Tuple(nodes), Val::Tuple(items)) if items.len() == nodes.len() => {
                self.list(items, |index| &nodes[index])?;
            }
            (Node::Object(node), Val::Map(entries)) => self.object(node, entries)?,
            (Node::Pairs(pair), Val::Map(entries)) => self.pairs(&pair.0, &pair.1, entries)?,
            (Node::Option(_), Val::Option(None)) => self.write_text("null"),
            (Node::Option(inner), Val::Option(Some(value))) => self.value(inner, value)?,
            (Node::Result(cases), Val::Result(Ok(payload))) => self.case(node, cases, 0, payload.as_deref())?,
            (Node::Result(cases), Val::Result(Err(payload))) => self.case(node, cases, 1, payload.as_deref())?,
            (Node::Record(fields), Val::Record(values)) => self.record(node, fields, values)?,
            (Node::Variant(cases), Val::Variant(name, payload)) => {
                self.variant(node, cases, name, payload.as_deref())?;
            }
            (Node::Enum(names), Val::Enum(name)) => {
                let index = names.find_wit(name).ok_or_else(|| mismatch(node))?;
                self.string(&names.list[index].json)?;
            }
            (Node::Flags(names), Val::Flags(chosen)) => {
                let item = |name: &String| names.find_wit(name).map(|index| &*names.list[index].json);
                self.sequence(chosen, |encoder, _, name| encoder.string(item(name).ok_or_else(|| mismatch(node))?))?;
            }
            _ => return Err(mismatch(node)),
        }
        Ok(())
    }

    fn record(&mut self, node: &Node, fields: &Fields, values: &[(String, Val)]) -> Result<(), UnlocatedError> {
        if values.len() != fields.nodes.len() {
            return Err(mismatch(node));
        }
        let mut is_first = true;
        for (index, (name, value)) in values.iter().enumerate() {
            let expected = &fields.names.list[index];
            if **name != *expected.wit {
                return Err(mismatch(&format_args!("the field `{}`", expected.json)).within(&expected.json));
            }
            let (node, value) = match (&fields.nodes[index], value) {
                (Node::Absent(_), Val::Option(None)) => continue,
                (Node::Absent(inner), Val::Option(Some(value))) => (&**inner, &**value),
                (node, value) => (node, value),
            };
            let head = &*fields.heads[index];
            if is_first && index > 0 {
                // The fields before it are absent, so this one opens the object.
                self.write_text("{");
                self.write_text(&head[1..]);
            } else {
                self.write_text(head);
            }
            is_first = false;
            self.value(node, value).map_err(|fault| fault.within(&expected.json))?;
        }
        self.write_text(if is_first { "{}" } else { "}" });
        self.check_limit(0)
    }

    fn variant(&mut self, node: &Node, cases: &Cases, name: &str, payload: Option<&Val>) -> Result<(), UnlocatedError> {
        let index = cases.names.find_wit(name).ok_or_else(|| mismatch(node))?;
        match (&cases.payloads[index], payload) {
            (None, None) => self.string(&cases.names.list[index].json),
            (Some(_), Some(_)) => self.case(node, cases, index, payload),
            _ => Err(mismatch(node)),
        }
    }

    /// Writes the case at `index` of a variant or result as an object with one member, whose value is `payload` or null.
    fn case(&mut self, node: &Node, cases: &Cases, index: usize, payload: Option<&Val>) -> Result<(), UnlocatedError> {
        self.write_text(&cases.heads[index]);
        match (&cases.payloads[index], payload) {
            (None, None) => self.write_text("null"),
            (Some(node), Some(value)) => {
                self.value(node, value).map_err(|fault| fault.within(&cases.names.list[index].json))?;
            }
            _ => return Err(mismatch(node)),
        }
        self.write_text("}");
        Ok(())
    }

    fn list<'n>(&mut self, items: &[Val], node: impl Fn(usize) -> &'n Node) -> Result<(), UnlocatedError> {
        self.sequence(items, |encoder, index, item| encoder.value(node(index), item))
    }

    fn pairs(&mut self, key: &Node, value: &Node, entries: &[(Val, Val)]) -> Result<(), UnlocatedError> {
        let entries = last_of_each(entries, identity);
        self.sequence(&entries, |encoder, _, entry| {
            encoder.write_text("[");
            encoder.value(key, &entry.0).map_err(|fault| fault.within(&0))?;
            encoder.write_text(",");
            encoder.value(value, &entry.1).map_err(|fault| fault.within(&1))?;
            encoder.write_text("]");
            Ok(())
        })
    }

    fn object<'v>(&mut self, node: &Node, entries: &'v [(Val, Val)]) -> Result<(), UnlocatedError> {
        let mut opening = "{";
        let text = |key: &'v Val| if let Val::String(key) = key { Some(key.as_str()) } else { None };
        for (key, value) in last_of_each(entries, text) {
            let key = text(key).ok_or_else(|| mismatch("a string for a key"))?;
            self.write_text(opening);
            opening = ",";
            self.string(key)?;
            self.write_text(":");
            self.value(node, value).map_err(|fault| fault.within(key))?;
        }
        self.write_text(if opening == "{" { "{}" } else { "}" });
        Ok(())
    }

    /// Writes a list. `write` writes the item at the given index.
    fn sequence<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, usize, &T) -> Result<(), UnlocatedError>,
    ) -> Result<(), UnlocatedError> {
        self.write_text("[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.write_text(",");
            }
            write(self, index, item).map_err(|fault| fault.within(&index))?;
            self.check_limit(0)?;
        }
        self.write_text("]");
        Ok(())
    }

    fn bytes(&mut self, node: &Node, values: &[Val]) -> Result<(), UnlocatedError> {
        self.check_limit(values.len())?;
        self.write_text("\"");
        let (mut bytes, mut text) = ([0; BASE64_CHUNK], [0; BASE64_CHUNK / 3 * 4]);
        for chunk in values.chunks(BASE64_CHUNK) {
            for (byte, value) in bytes.iter_mut().zip(chunk) {
                let Val::U8(value) = value else { return Err(mismatch(node)) };
                *byte = *value;
            }
            let length =
                STANDARD.encode_slice(&bytes[..chunk.len()], &mut text).expect("four characters hold three bytes");
            self.out.extend_from_slice(&text[..length]);
        }
        self.write_text("\"");
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), UnlocatedError> {
        self.check_limit(text.len())?;
        self.serialize(text);
        Ok(())
    }

    /// Writes a float with the fewest digits that read back as the same float. `wide` is the same number as an `f64`.
    fn float(&mut self, number: impl Serialize, wide: f64) -> Result<(), UnlocatedError> {
        if !wide.is_finite() {
            return Err(EncodeErrorKind::NotFinite(wide).into());
        }
        self.serialize(&number);
        Ok(())
    }

    fn serialize(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut *self.out, value).expect("scalars always serialize, and a Vec takes every write");
    }

    fn quoted(&mut self, number: impl Serialize) {
        self.write_text("\"");
        self.serialize(&number);
        self.write_text("\"");
    }

    fn write_text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Checks that `more` further bytes fit within the limit of the document's size.
    fn check_limit(&self, more: usize) -> Result<(), UnlocatedError> {
        if self.out.len().saturating_add(more) <= self.end { Ok(()) } else { Err(EncodeErrorKind::TooLarge.into()) }
    }
}

fn mismatch(expected: &(impl ToString + ?Sized)) -> UnlocatedError {
    EncodeErrorKind::Mismatch(expected.to_string()).into()
}

/// Returns a map's entries without those that a later entry with the same key replaces. In the component model the last entry counts.
fn last_of_each<'v, K: Eq + Hash>(
    entries: &'v [(Val, Val)],
    key: impl Fn(&'v Val) -> Option<K>,
) -> Vec<&'v (Val, Val)> {
    let mut seen = HashSet::with_capacity(entries.len());
    let is_last = |entry: &&'v (Val, Val)| key(&entry.0).is_none_or(|key| seen.insert(key));
    let mut last: Vec<_> = entries.iter().rev().filter(is_last).collect();
    last.reverse();
    last
}
