//! Several values at once: one object spread over parameters, and whole functions for a command line.

use std::sync::Arc;

use wasmtime::component::Val;

use super::prepare::{Fields, Prepare};
use super::{Codec, EncodeError, UnknownFields, Unsupported, Violation, decode, push_pointer};
use watertight_component::shape::{Function, Type};
use watertight_model::ids::json_name;

/// What a function without a result returns, in JSON.
const NOTHING: &[u8] = b"null";

/// Some named types that one JSON object carries together, as a request's body does for the parameters of a function. Clones share
/// what was prepared.
#[derive(Debug, Clone)]
pub struct ObjectCodec(Arc<Fields>);

impl ObjectCodec {
    /// Prepares the fields, named in WIT's kebab-case.
    ///
    /// # Errors
    /// As [`Codec::new`], each path starting with a field's name; and names that are the same in JSON.
    pub fn new(fields: &[(&str, &Type)]) -> Result<Self, Vec<Unsupported>> {
        let mut prepare = Prepare::new();
        let fields = prepare.fields(fields.iter().copied());
        prepare.finish(fields).map(|fields| Self(Arc::new(fields)))
    }

    /// The values of an object's fields, in the order of the types. Only options may be absent.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode(&self, document: &[u8]) -> Result<Vec<Val>, Vec<Violation>> {
        self.decode_with(document, UnknownFields::Refused)
    }

    /// As [`ObjectCodec::decode`]; `unknown` says what becomes of fields of objects that their types don't have.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode_with(&self, document: &[u8], unknown: UnknownFields) -> Result<Vec<Val>, Vec<Violation>> {
        let values = decode::document(document, unknown, |decoder| decoder.fields_only(&self.0))?;
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

/// A function's parameters and result, for calls whose arguments are JSON texts. Clones share what was prepared.
#[derive(Debug, Clone)]
pub struct FunctionCodec {
    parameters: Arc<[(String, Codec)]>,
    result: Option<Codec>,
}

impl FunctionCodec {
    /// Prepares the function's types.
    ///
    /// # Errors
    /// As [`Codec::new`]; paths start with a parameter's name or with `result`.
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

    /// The arguments, one JSON document each, in the parameters' order. Options at the end may be left out.
    ///
    /// # Errors
    /// As [`Codec::decode`], of all documents together; pointers start with the parameter's name in snake_case.
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
                None => match codec.absent() {
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

    /// Appends what the function returned to `out` as JSON of at most `limit` bytes; `null` where it returns nothing. On an error,
    /// `out` is as it was.
    ///
    /// # Errors
    /// As [`Codec::encode`].
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
