//! How the result of a routed function becomes an answer: its status, its body, and what it says beside its body.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, StatusCode};

use watertight_json::{Codec, EncodeError, Val};
use watertight_model::config::{CookieConfig, HolePlace};

/// How a function's result becomes the answer to a request.
#[derive(Debug)]
pub struct ResultMapping {
    /// The HTTP status of the answer if the result is no error.
    pub status: StatusMapping,
    /// How the body is made of the result. `None` if the function returns no value.
    pub body: Option<AnswerBody>,
    /// The answers to errors. `None` if the function returns no `result`.
    pub errors: Option<ErrorMappings>,
    /// The values of parameters that templates of the answer use.
    pub parameters: Vec<ParameterValue>,
    /// What a success says beside its body. `None` if it says nothing.
    pub extras: Option<Box<AnswerExtras>>,
    /// What conditions of requests come to.
    pub conditions: Conditions,
}

/// The HTTP status of a result that is no error.
#[derive(Debug)]
pub enum StatusMapping {
    /// Every result has this status.
    One(StatusCode),
    /// The case of the result decides, by its name as WIT spells it.
    ByCase(BTreeMap<String, StatusCode>),
}

/// How the body of an answer is made of a result.
#[derive(Debug)]
pub struct AnswerBody {
    /// The index of the record's field that is the body. `None`: the whole result is.
    pub field: Option<usize>,
    /// How the body is written.
    pub form: BodyForm,
    /// The media type, unless `said_type` gives one.
    pub media_type: HeaderValue,
    /// The template of a media type that fields of the result decide.
    pub said_type: Option<BoundTemplate>,
}

/// How a value is written as a body.
#[derive(Debug)]
pub enum BodyForm {
    /// As JSON.
    Json(Codec),
    /// As it is: a `string`.
    Text,
    /// As it is: a `list<u8>`.
    Bytes,
}

/// The answers to errors.
#[derive(Debug)]
pub enum ErrorMappings {
    /// By the name of the error case, as WIT spells it.
    Cases(BTreeMap<String, ErrorMapping>),
    /// One for every error: the error type has no cases.
    Whole(ErrorMapping),
}

/// How an error becomes the answer to a request.
#[derive(Debug)]
pub struct ErrorMapping {
    /// The HTTP status.
    pub status: StatusCode,
    /// The codec that writes the payload of the error as JSON. `None` if it has no payload.
    pub payload: Option<Codec>,
    /// Headers of the answer, with fields of the payload.
    pub headers: Vec<(HeaderName, BoundTemplate)>,
    /// What the documentation of the error case says. `None` if the component carries none.
    pub docs: Option<CaseDocs>,
}

/// The documentation of an error case.
#[derive(Debug, PartialEq, Eq)]
pub struct CaseDocs {
    /// The first sentence, without its full stop.
    pub title: Arc<str>,
    /// The text after the first sentence. `None` if there is none.
    pub detail: Option<Arc<str>>,
}

/// What an answer says beside its body.
#[derive(Debug, Default)]
pub struct AnswerExtras {
    /// Headers whose values templates make.
    pub headers: Vec<(HeaderName, BoundTemplate)>,
    /// Headers that are the same for every success, and for 304: `Cache-Control` and `Vary`.
    pub fixed: Vec<(HeaderName, HeaderValue)>,
    /// The name of the file for `Content-Disposition`.
    pub filename: Option<BoundTemplate>,
    /// Cookies, each with the template of its value.
    pub cookies: Vec<(CookieConfig, BoundTemplate)>,
    /// The entity tag.
    pub etag: Option<BoundEtag>,
}

/// The entity tag of an answer.
#[derive(Debug)]
pub struct BoundEtag {
    /// The text between the quotes. `None`: a digest of the body.
    pub value: Option<BoundTemplate>,
    /// Whether the tag is weak.
    pub is_weak: bool,
}

/// What the host makes of the conditions of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether a parameter takes `If-Match`.
    pub takes_match: bool,
    /// Whether a parameter takes `If-None-Match`.
    pub takes_none_match: bool,
    /// Whether requests must have `If-Match`.
    pub requires_match: bool,
}

/// A template whose holes are bound to values.
#[derive(Debug)]
pub struct BoundTemplate {
    /// The template as the configuration has it.
    pub text: String,
    /// The parts, in order.
    pub parts: Vec<BoundPart>,
}

/// A part of a bound template.
#[derive(Debug)]
pub enum BoundPart {
    /// Text that stands as it is.
    Text(String),
    /// The value of a parameter, by its index in [`ResultMapping::parameters`].
    Parameter(usize, HolePlace),
    /// A value of the result, or of the payload of an error.
    Value(ValuePath, HolePlace),
}

/// A value of a parameter that templates of an answer use.
#[derive(Debug)]
pub struct ParameterValue {
    /// The index of the parameter.
    pub index: usize,
    /// The way to the value in it.
    pub path: ValuePath,
}

/// The way to a plain value within another value. Options on the way are looked into.
#[derive(Debug)]
pub struct ValuePath {
    /// The steps of the way.
    pub steps: Vec<ValueStep>,
    /// The codec that writes the value at the end as a text.
    pub codec: Codec,
}

/// A step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueStep {
    /// The field of a record at this index.
    Field(usize),
    /// The payload of the case with this name, as WIT spells it.
    Case(String),
}

impl StatusMapping {
    /// Returns the status of a result. `None` if the result is of no case that has one.
    pub fn of(&self, result: Option<&Val>) -> Option<StatusCode> {
        match (self, result) {
            (Self::One(status), _) => Some(*status),
            (Self::ByCase(cases), Some(Val::Variant(case, _) | Val::Enum(case))) => cases.get(case).copied(),
            (Self::ByCase(_), _) => None,
        }
    }

    /// Returns all statuses that a success can have.
    pub fn all(&self) -> Vec<StatusCode> {
        match self {
            Self::One(status) => vec![*status],
            Self::ByCase(cases) => cases.values().copied().collect(),
        }
    }
}

impl ResultMapping {
    /// Returns the HTTP statuses that the answer to a request can have.
    pub fn statuses(&self) -> Vec<u16> {
        let errors: Vec<StatusCode> = match &self.errors {
            Some(ErrorMappings::Cases(cases)) => cases.values().map(|error| error.status).collect(),
            Some(ErrorMappings::Whole(error)) => vec![error.status],
            None => Vec::new(),
        };
        errors.into_iter().chain(self.status.all()).map(|status| status.as_u16()).collect()
    }
}

impl ValuePath {
    /// Returns the text of the value that the way leads to, of at most `limit` bytes. `None` where an option on the way is none, or another
    /// case is there.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the value is not of the type that the way was made for, is no finite number, or is too long.
    pub fn text(&self, value: &Val, limit: usize) -> Result<Option<String>, EncodeError> {
        let wrong = |expected: &str| EncodeError::Mismatch { pointer: String::new(), expected: expected.to_owned() };
        let Some(mut at) = present(value) else { return Ok(None) };
        for step in &self.steps {
            let next = match (step, at) {
                (ValueStep::Field(index), Val::Record(fields)) => {
                    Some(&fields.get(*index).ok_or_else(|| wrong("another field"))?.1)
                }
                (ValueStep::Case(name), Val::Variant(case, payload)) => {
                    if case == name {
                        payload.as_deref()
                    } else {
                        None
                    }
                }
                (ValueStep::Field(_), _) => return Err(wrong("a record")),
                (ValueStep::Case(_), _) => return Err(wrong("a variant")),
            };
            let Some(next) = next.and_then(present) else { return Ok(None) };
            at = next;
        }
        self.codec.encode_text(at, limit)
    }
}

/// Returns what is in an option, or the value itself if it is none.
fn present(mut value: &Val) -> Option<&Val> {
    while let Val::Option(inner) = value {
        value = inner.as_deref()?;
    }
    Some(value)
}
