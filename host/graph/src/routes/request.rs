//! The parts of a request that the parameters of a routed function are.

use std::sync::Arc;

use ::http::HeaderName;
use watertight_json::Val;

use watertight_json::{Codec, ObjectCodec};
use watertight_model::config::RequestPart;

/// A parameter of a routed function.
#[derive(Debug)]
pub struct Parameter {
    /// The parameter's name as WIT spells it.
    pub name: Arc<str>,
    /// The part of the request from which the parameter's value is read.
    pub source: ParameterSource,
}

/// The part of a request that has a parameter's value.
#[derive(Debug)]
pub enum ParameterSource {
    /// The path parameter at this index.
    Path(usize, Codec),
    /// A query field.
    Query(FormField),
    /// The whole query: the fields of a record, in order.
    WholeQuery(Vec<FormField>),
    /// The header of this name.
    Header(HeaderName, Codec),
    /// The cookie of this name.
    Cookie(String, Codec),
    /// A value of the route's own.
    Constant(Val),
    /// What the request is, as a text.
    Request(RequestPart, Codec),
    /// The body: the value at this index of those that the body gives.
    Body(usize),
}

/// A field of a query or of a form.
#[derive(Debug)]
pub struct FormField {
    /// The name of the record's field or of the parameter, as WIT spells it.
    pub wit: Arc<str>,
    /// The name of the field in the query or form.
    pub name: String,
    /// What its values become.
    pub value: FieldValue,
}

/// What the values of a field become.
#[derive(Debug)]
pub enum FieldValue {
    /// One value, from a text.
    One(Codec),
    /// A list with a value for each time that the field is given. Holds the codec of one value.
    Many(Codec),
    /// A file of `multipart/form-data`.
    File(FileShape),
    /// A file, or none.
    MaybeFile(FileShape),
    /// A list of files.
    Files(FileShape),
}

/// The record that a file of `multipart/form-data` becomes: its fields in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileShape(pub Vec<(Arc<str>, FilePart)>);

/// A field of the record that a file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePart {
    /// The bytes: `list<u8>`.
    Bytes,
    /// The name that the client gave it: `string`, or an option, which is none without a name.
    Name {
        /// Whether the field is an option.
        is_option: bool,
    },
    /// The media type that the client declared: `string`, or an option. Without one it is `application/octet-stream`, or none.
    MediaType {
        /// Whether the field is an option.
        is_option: bool,
    },
}

/// How a request's body is bound.
#[derive(Debug)]
pub enum BoundBody {
    /// No parameter takes the body.
    Unbound,
    /// One parameter takes the whole body, as JSON.
    Parameter(Codec),
    /// The body is a JSON object, and several parameters each take one of its fields.
    Spread(ObjectCodec),
    /// One parameter takes the bytes as they are. Holds the media types that it may have; empty: all.
    Raw(Vec<String>),
    /// One parameter takes the body as a text.
    Text,
    /// The body is a form.
    Form(BoundForm),
}

impl BoundBody {
    /// Whether the body may be large: it is raw bytes, or a form in parts.
    pub fn is_upload(&self) -> bool {
        matches!(self, Self::Raw(_) | Self::Form(BoundForm { is_multipart: true, .. }))
    }
}

/// How a form is bound.
#[derive(Debug)]
pub struct BoundForm {
    /// Whether the form is sent as `multipart/form-data`.
    pub is_multipart: bool,
    /// The fields, in the order of the record's fields or of the parameters.
    pub fields: Vec<FormField>,
    /// Whether several parameters each take a field. Else one parameter takes the record of all fields.
    pub is_spread: bool,
}

impl FormField {
    /// Returns the value of the field if it is not given. `None` if it must be given.
    pub fn absent_value(&self) -> Option<Val> {
        match &self.value {
            FieldValue::One(codec) => codec.absent_value(),
            FieldValue::Many(_) | FieldValue::Files(_) => Some(Val::List(Vec::new())),
            FieldValue::MaybeFile(_) => Some(Val::Option(None)),
            FieldValue::File(_) => None,
        }
    }
}
