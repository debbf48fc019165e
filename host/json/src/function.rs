//! Codecs for several values at once: one JSON object for all parameters, and a whole function for calls from a command line.

use std::sync::Arc;

use wasmtime::component::Val;

use super::prepare::{Fields, TypePreparer};
use super::{Codec, EncodeError, UnknownFields, Unsupported, Violation, decode, push_pointer};
use watertight_component::shape::{Function, Type};
use watertight_model::config::JsonStyle;
use watertight_model::ids::json_name;

/// The JSON text for the result of a function that returns nothing.
const NOTHING: &[u8] = b"null";

/// A codec for named types that one JSON object carries together, such as the parameters of a function in a request's body. Clones
/// share the prepared types.
#[derive(Debug, Clone)]
pub struct ObjectCodec(Arc<Fields>);

impl ObjectCodec {
    /// Prepares a codec for an object. `fields` are its fields: pairs of a name in WIT's kebab-case and a type.
    ///
    /// # Errors
    /// Every part of the types that JSON can't carry, as for [`Codec::new`]; each path starts with a field's name. Two names that are equal
    /// in JSON are an error too.
    pub fn new(fields: &[(&str, &Type)]) -> Result<Self, Vec<Unsupported>> {
        Self::with_style(fields, JsonStyle::default())
    }

    /// Prepares a codec like [`ObjectCodec::new`], for objects in `style`.
    ///
    /// # Errors
    /// As for [`ObjectCodec::new`].
    pub fn with_style(fields: &[(&str, &Type)], style: JsonStyle) -> Result<Self, Vec<Unsupported>> {
        let mut prepare = TypePreparer::new(style);
        let fields = prepare.fields(fields.iter().copied());
        prepare.finish(fields).map(|fields| Self(Arc::new(fields)))
    }

    /// Decodes an object and returns the values of its fields in the order of the types. Fields of option types may be absent. An unknown
    /// field is a violation.
    ///
    /// # Errors
    /// Every violation of the document, as for [`Codec::decode`].
    pub fn decode(&self, document: &[u8]) -> Result<Vec<Val>, Vec<Violation>> {
        self.decode_with(document, UnknownFields::Refused)
    }

    /// Decodes an object like [`ObjectCodec::decode`]. `unknown` says what happens to fields that the types don't have, in this object and
    /// in objects within it.
    ///
    /// # Errors
    /// Every violation of the document, as for [`Codec::decode`].
    pub fn decode_with(&self, document: &[u8], unknown: UnknownFields) -> Result<Vec<Val>, Vec<Violation>> {
        let values = decode::document(document, unknown, |decoder| decoder.fields_only(&self.0))?;
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

/// A codec for the parameters and the result of a function whose arguments are JSON texts. Clones share the prepared types.
#[derive(Debug, Clone)]
pub struct FunctionCodec {
    parameters: Arc<[(String, Codec)]>,
    result: Option<Codec>,
}

impl FunctionCodec {
    /// Prepares a codec for the types of `function`.
    ///
    /// # Errors
    /// Every part of the types that JSON can't carry, as for [`Codec::new`]. Paths start with a parameter's name or with `result`.
    pub fn new(function: &Function) -> Result<Self, Vec<Unsupported>> {
        let mut unsupported = Vec::new();
        let mut prepare = |place: &str, ty| Codec::new(place, ty).map_err(|more| unsupported.extend(more)).ok();
        let parameters = function
            .parameters
            .iter()
            .filter_map(|parameter| Some((json_name(&parameter.name), prepare(&parameter.name, &parameter.ty)?)));
        let parameters = parameters.collect();
        let result = function.result.as_ref().and_then(|ty| prepare("result", ty));
        if unsupported.is_empty() { Ok(Self { parameters, result }) } else { Err(unsupported) }
    }

    /// Decodes the arguments: one JSON document for each parameter, in the order of the parameters. Arguments of option types may be left
    /// out at the end.
    ///
    /// # Errors
    /// The violations of all documents, as for [`Codec::decode`], and those of missing or surplus arguments. The pointer of a parameter's
    /// violation starts with the parameter's name in snake_case.
    pub fn decode<T: AsRef<[u8]>>(&self, documents: &[T]) -> Result<Vec<Val>, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut values = Vec::with_capacity(self.parameters.len());
        for (index, (name, codec)) in self.parameters.iter().enumerate() {
            let mut pointer = String::new();
            push_pointer(&mut pointer, name);
            match documents.get(index).map(|document| codec.decode(document.as_ref())) {
                Some(Ok(value)) => values.push(value),
                Some(Err(more)) => {
                    let outer = |inner: Violation| Violation { pointer: pointer.clone() + &inner.pointer, ..inner };
                    violations.extend(more.into_iter().map(outer));
                }
                None => match codec.absent_value() {
                    Some(value) => values.push(value),
                    None => violations.push(Violation { pointer, detail: format!("missing argument `{name}`") }),
                },
            }
        }
        if documents.len() > self.parameters.len() {
            let (expected, found) = (self.parameters.len(), documents.len());
            let detail = format!("expected at most {expected} arguments, found {found}");
            violations.push(Violation { pointer: String::new(), detail });
        }
        if violations.is_empty() { Ok(values) } else { Err(violations) }
    }

    /// Appends the result of a call to `out` as JSON of at most `limit` bytes. A function without a result gives `null`. An error leaves
    /// `out` unchanged.
    ///
    /// # Errors
    /// The errors of [`Codec::encode`]. A missing or surplus result is [`EncodeError::Mismatch`].
    pub fn encode(&self, result: Option<&Val>, out: &mut Vec<u8>, limit: usize) -> Result<(), EncodeError> {
        match (&self.result, result) {
            (Some(codec), Some(value)) => codec.encode(value, out, limit),
            (None, None) if limit < NOTHING.len() => Err(EncodeError::TooLarge { limit }),
            (None, None) => {
                out.extend_from_slice(NOTHING);
                Ok(())
            }
            (expected, _) => Err(EncodeError::Mismatch {
                pointer: String::new(),
                expected: if expected.is_some() { "a result" } else { "no result" }.to_owned(),
            }),
        }
    }
}
