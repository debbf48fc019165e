//! Writes the body of an answer: a value as JSON, as a text, or as bytes.

use axum::http::HeaderValue;
use wasmtime::component::Val;

use watertight_graph::routes::{AnswerBody, BodyForm};
use watertight_json::EncodeError;
use watertight_model::config::is_media_type;

use super::mismatch;
use super::template::{Purpose, Values, header, unfit};

/// The size of a body for which room is made at first, in bytes.
const FIRST_ROOM: usize = 256;

/// Writes the body of a result to `out`, of at most `limit` bytes, and returns its media type.
///
/// # Errors
///
/// [`EncodeError`] if the value is not of its type or too long, or its media type is none.
pub(super) fn write(
    body: &AnswerBody,
    result: &Val,
    values: Values<'_>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<HeaderValue, EncodeError> {
    let value = match (body.field, result) {
        (None, value) => value,
        (Some(index), Val::Record(fields)) => &fields.get(index).ok_or_else(|| mismatch("another record"))?.1,
        (Some(_), _) => return Err(mismatch("a record")),
    };
    match (&body.form, value) {
        (BodyForm::Json(codec), value) => {
            out.reserve(FIRST_ROOM);
            codec.encode(value, out, limit)?;
        }
        (BodyForm::Text, Val::String(text)) if text.len() <= limit => out.extend_from_slice(text.as_bytes()),
        (BodyForm::Bytes, Val::List(bytes)) if bytes.len() <= limit => {
            let byte = |value: &Val| if let Val::U8(byte) = value { Ok(*byte) } else { Err(mismatch("a byte")) };
            *out = bytes.iter().map(byte).collect::<Result<_, _>>()?;
        }
        (BodyForm::Text, Val::String(_)) | (BodyForm::Bytes, Val::List(_)) => {
            return Err(EncodeError::TooLarge { limit });
        }
        (BodyForm::Text, _) => return Err(mismatch("a string")),
        (BodyForm::Bytes, _) => return Err(mismatch("a list of bytes")),
    }
    let Some(template) = &body.said_type else { return Ok(body.media_type.clone()) };
    let Some(said) = header(template, values, "content-type")? else { return Ok(body.media_type.clone()) };
    let is_type = said.to_str().is_ok_and(is_media_type);
    is_type.then_some(said).ok_or_else(|| unfit(Purpose::Header("content-type"), template, "it is not a media type"))
}
