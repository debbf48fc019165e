//! Decodes bare texts to values, and back: segments of paths, fields of queries, headers.

use wasmtime::component::Val;

use super::encode::{self, EncodeError};
use super::prepare::Node;
use super::reader::{Kind, Reader};
use super::{MAX_ECHO, clip, scalar};

/// Whether a bare text can stand for values of the type `node`.
pub(super) fn accepts_text(node: &Node) -> bool {
    match node {
        Node::Bool
        | Node::Integer(_)
        | Node::IntegerText(_)
        | Node::F32
        | Node::F64
        | Node::Char
        | Node::String
        | Node::Enum(_) => true,
        Node::Option(inner) => accepts_text(inner),
        _ => false,
    }
}

/// Decodes a bare text to a value of the type `node`. [`super::Codec::decode_text`] consists of this function.
pub(super) fn decode(node: &Node, text: &str) -> Result<Val, String> {
    let value = match node {
        Node::Bool => match text {
            "true" => Some(Val::Bool(true)),
            "false" => Some(Val::Bool(false)),
            _ => None,
        },
        Node::Integer(integer) | Node::IntegerText(integer) => integer.parse(text),
        Node::F32 => number(text).and_then(scalar::parse_f32),
        Node::F64 => number(text).and_then(scalar::parse_f64),
        Node::Char => scalar::parse_char(text),
        Node::String => Some(Val::String(text.to_owned())),
        Node::Enum(names) => names.find_json(text, 0).map(|index| Val::Enum((*names.list[index].wit).to_owned())),
        Node::Option(inner) => return decode(inner, text).map(|value| Val::Option(Some(Box::new(value)))),
        _ => None,
    };
    value.ok_or_else(|| format!("expected {node}, found {:?}", clip(text, MAX_ECHO)))
}

/// Returns the bare text of a value, or `None` for an absent option. [`super::Codec::encode_text`] consists of this function.
pub(super) fn encode(node: &Node, value: &Val, limit: usize) -> Result<Option<String>, EncodeError> {
    let text = match (node, value) {
        (Node::Option(_), Val::Option(None)) => return Ok(None),
        (Node::Option(inner), Val::Option(Some(value))) => return encode(inner, value, limit),
        (Node::String, Val::String(text)) => text.clone(),
        (Node::Char, Val::Char(c)) => c.to_string(),
        (Node::Enum(names), Val::Enum(name)) => match names.find_wit(name) {
            Some(index) => (*names.list[index].json).to_owned(),
            None => return Err(mismatch(node)),
        },
        (Node::Bool | Node::Integer(_) | Node::IntegerText(_) | Node::F32 | Node::F64, value) => {
            let mut json = Vec::new();
            encode::document(node, value, &mut json, limit)?;
            String::from_utf8_lossy(&json).trim_matches('"').to_owned()
        }
        _ => return Err(mismatch(node)),
    };
    if text.len() > limit { Err(EncodeError::TooLarge { limit }) } else { Ok(Some(text)) }
}

fn mismatch(node: &Node) -> EncodeError {
    EncodeError::Mismatch { pointer: String::new(), expected: node.to_string() }
}

/// Returns `text` if it is a number in JSON's notation, or else `None`. The check is needed because Rust's parser accepts `inf`, `+1` and
/// `.5` too.
fn number(text: &str) -> Option<&str> {
    let mut reader = Reader::new(text);
    let found = reader.peek().is_ok_and(|kind| kind == Kind::Number).then(|| reader.number().ok())??;
    (found.len() == text.len()).then_some(found)
}
