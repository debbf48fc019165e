//! The parts of a form in `multipart/form-data`, and the values that they become.

use std::borrow::Cow;

use wasmtime::component::Val;

use super::RequestFault;
use super::fields::{self, GivenFields};
use super::upload::{Part, Spool};
use crate::http::media;
use watertight_graph::routes::{BoundForm, FieldValue, FilePart, FileShape, FormField};
use watertight_model::config::UnknownInput;

/// The media type of a file whose sender declares none.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Returns the values that a form in parts gives: that of the record, or of each parameter. The list is empty or incomplete if there are
/// faults.
pub(super) fn values(
    form: &BoundForm,
    parts: &mut [Part],
    spool: &mut Spool,
    unknown: UnknownInput,
    faults: &mut Vec<RequestFault>,
) -> Vec<Val> {
    let mut texts = Vec::new();
    let mut files: Vec<Vec<Val>> = form.fields.iter().map(|_| Vec::new()).collect();
    for part in parts {
        let Some(place) = form.fields.iter().position(|field| field.name == part.name) else {
            if unknown == UnknownInput::Refuse {
                faults.push(RequestFault::field(&part.name, None, "there is no such field"));
            }
            continue;
        };
        let (name, field) = (&form.fields[place].name, &form.fields[place]);
        let mut refuse = |detail: &str| faults.push(RequestFault::field(name, None, detail));
        match &field.value {
            FieldValue::One(_) if texts.iter().any(|(found, _): &(Cow<'_, str>, _)| *found == **name) => {
                refuse("it is given twice");
            }
            FieldValue::One(_) | FieldValue::Many(_) => match text(part, spool) {
                Ok(text) => texts.push((Cow::Borrowed(&**name), Cow::Owned(text))),
                Err(detail) => refuse(detail),
            },
            FieldValue::File(_) | FieldValue::MaybeFile(_) if !files[place].is_empty() => refuse("it is given twice"),
            // Browsers send an empty part for a file that nobody chose.
            _ if part.is_file && part.file_name.is_none() && part.content.length == 0 => {}
            FieldValue::File(shape) | FieldValue::MaybeFile(shape) | FieldValue::Files(shape) => {
                match file(shape, part, spool) {
                    Ok(file) => files[place].push(file),
                    Err(detail) => refuse(detail),
                }
            }
        }
    }
    let given = GivenFields::of_form(texts);
    let values = form.fields.iter().zip(files).map(|(field, files)| value(field, files, &given));
    fields::bound(form, values, faults)
}

fn value(field: &FormField, files: Vec<Val>, texts: &GivenFields<'_>) -> Result<Val, RequestFault> {
    let one = |mut files: Vec<Val>| files.pop();
    match &field.value {
        FieldValue::One(_) | FieldValue::Many(_) => texts.value(field),
        FieldValue::Files(_) => Ok(Val::List(files)),
        FieldValue::MaybeFile(_) => Ok(Val::Option(one(files).map(Box::new))),
        FieldValue::File(_) => one(files).ok_or_else(|| RequestFault::field(&field.name, None, "it is missing")),
    }
}

/// The largest text of a field, in bytes.
const MAX_TEXT: u64 = 1 << 20;

fn text(part: &Part, spool: &mut Spool) -> Result<String, &'static str> {
    if part.file_name.is_some() {
        return Err("it is a file, and a text is expected");
    }
    if part.media_type.as_deref().is_some_and(|kind| !media::is_utf8_type(kind)) {
        return Err("its charset is not UTF-8");
    }
    if part.content.length > MAX_TEXT {
        return Err("the text has more than 1 MiB");
    }
    let bytes = spool.read(part.content).map_err(|_| UNREADABLE)?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

/// What a client learns if a file of the host can't be read back.
const UNREADABLE: &str = "the host can't read what it received: send it again";

fn file(shape: &FileShape, part: &mut Part, spool: &mut Spool) -> Result<Val, &'static str> {
    let text = |value: Option<String>, absent: &str, is_option: bool| match (is_option, value) {
        (true, value) => Val::Option(value.map(|text| Box::new(Val::String(text)))),
        (false, value) => Val::String(value.unwrap_or_else(|| absent.to_owned())),
    };
    let mut field = |kind: FilePart| -> Result<Val, &'static str> {
        Ok(match kind {
            FilePart::Bytes => list(spool.read(part.content).map_err(|_| UNREADABLE)?),
            FilePart::Name { is_option } => text(part.file_name.take(), "", is_option),
            FilePart::MediaType { is_option } => text(part.media_type.take(), UNKNOWN_TYPE, is_option),
        })
    };
    let fields = shape.0.iter().map(|(name, kind)| Ok((name.to_string(), field(*kind)?)));
    fields.collect::<Result<_, &'static str>>().map(Val::Record)
}

/// Returns the bytes of a raw body as a value.
pub(super) fn bytes(spool: &mut Spool, faults: &mut Vec<RequestFault>) -> Option<Val> {
    match spool.read(spool.all()) {
        Ok(bytes) => Some(list(bytes)),
        Err(error) => {
            tracing::error!(%error, "a request's body can't be read from the state folder");
            faults.push(RequestFault::body("", UNREADABLE));
            None
        }
    }
}

fn list(bytes: Vec<u8>) -> Val {
    Val::List(bytes.into_iter().map(Val::U8).collect())
}
