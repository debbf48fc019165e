//! Decodes bare texts to values: segments of paths, fields of queries, headers.

use wasmtime::component::Val;

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

/// Returns `text` if it is a number in JSON's notation, or else `None`. The check is needed because Rust's parser accepts `inf`, `+1` and
/// `.5` too.
fn number(text: &str) -> Option<&str> {
    let mut reader = Reader::new(text);
    let found = reader.peek().is_ok_and(|kind| kind == Kind::Number).then(|| reader.number().ok())??;
    (found.len() == text.len()).then_some(found)
}
