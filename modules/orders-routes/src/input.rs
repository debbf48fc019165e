//! Reads the parts of a request: query fields, headers and bodies. All faults of a request are collected.

use std::borrow::Cow;

use axum::body::{Body, HttpBody as _};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;

use crate::problem::{Fault, Problem};
use crate::read::{self, Integer};

/// The maximum length of a body, in bytes. An order with the maximum of lines takes less.
const MAX_BODY: usize = 64 << 10;
/// The maximum number of query fields of a request.
const MAX_QUERY_FIELDS: usize = 64;
/// The media type that a body must have, besides types that end in [`JSON_SUFFIX`].
const JSON: &str = "application/json";
/// The end of media types that are JSON (RFC 6839).
const JSON_SUFFIX: &str = "+json";

/// The query fields of a request that its route knows.
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads the query of a request. Fields that are not in `known`, are given twice or are not UTF-8 are faults.
    pub(crate) fn read(head: &'a Parts, known: &[&str], faults: &mut Vec<Fault>) -> Self {
        let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        let query = head.uri.query().unwrap_or_default();
        for (count, field) in query.split('&').filter(|field| !field.is_empty()).enumerate() {
            if count == MAX_QUERY_FIELDS {
                faults.push(Fault::query("", format!("more than {MAX_QUERY_FIELDS} query fields")));
                break;
            }
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (Some(name), Some(value)) = (form_decode(name), form_decode(value)) else {
                faults.push(Fault::query(name, "it is not UTF-8"));
                continue;
            };
            if !known.contains(&&*name) {
                faults.push(Fault::query(&name, "there is no such query field"));
            } else if fields.iter().any(|(field, _)| *field == name) {
                faults.push(Fault::query(&name, "it is given twice"));
            } else {
                fields.push((name, value));
            }
        }
        Self(fields)
    }

    /// Returns a field that may be absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// Returns a field. Its absence is a fault.
    pub(crate) fn required(&self, name: &str, faults: &mut Vec<Fault>) -> &str {
        self.text(name).unwrap_or_else(|| {
            faults.push(Fault::query(name, "it is missing"));
            ""
        })
    }

    /// Returns a field that is an integer and may be absent.
    pub(crate) fn integer<T: Integer>(&self, name: &str, faults: &mut Vec<Fault>) -> Option<T> {
        let text = self.text(name)?;
        let number = read::integer(text);
        if number.is_none() {
            faults.push(Fault::query(name, read::expected(T::NAME, &format!("{:?}", read::clip(text)))));
        }
        number
    }
}

/// Decodes a name or a value of a query (`application/x-www-form-urlencoded`). Returns `None` if it is not UTF-8.
fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned().into())
}

/// Returns a header that may be absent. `name` is in small letters.
pub(crate) fn header(headers: &HeaderMap, name: &'static str, faults: &mut Vec<Fault>) -> Option<String> {
    let mut given = headers.get_all(name).iter();
    let value = given.next()?;
    if given.next().is_some() {
        faults.push(Fault::header(name, "it is given twice"));
        return None;
    }
    let text = std::str::from_utf8(value.as_bytes());
    if text.is_err() {
        faults.push(Fault::header(name, "it is not UTF-8"));
    }
    text.ok().map(str::to_owned)
}

/// Refuses a body that has bytes.
pub(crate) async fn no_body(mut body: Body) -> Result<(), Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::body_cut_off())?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Err(Problem::invalid(vec![Fault::body("", "this route takes no body")]));
        }
    }
    Ok(())
}

/// Refuses query fields and a body, for a route that takes neither.
pub(crate) async fn nothing(head: &Parts, body: Body, mut faults: Vec<Fault>) -> Result<(), Problem> {
    no_body(body).await?;
    let mut found = Vec::new();
    Query::read(head, &[], &mut found);
    found.append(&mut faults);
    Problem::check(found)
}

/// Reads a JSON body. Returns an empty text if there is none.
pub(crate) async fn json(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::body_cut_off())?.into_data() else { continue };
        if bytes.is_empty() && !data.is_empty() {
            check_media(headers)?;
        }
        // The upper bound is the declared length. wasip3 gives no lower one.
        let declared = body.size_hint().upper().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if declared.max(bytes.len() + data.len()) > MAX_BODY {
            return Err(Problem::body_too_large(MAX_BODY));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Refuses a body that is compressed or is not JSON by its media type.
fn check_media(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |value: &HeaderValue| {
        let mut codings = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    };
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Problem::unsupported_coding());
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let (Some(declared), None) = (types.next(), types.next()) else { return Err(Problem::unsupported_type()) };
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let has_suffix = || {
        essence.split_once('/').is_some_and(|(_, subtype)| {
            subtype.strip_suffix(JSON_SUFFIX).is_some_and(|name| !name.is_empty() && !name.contains(['/', ' ', ',']))
        })
    };
    if essence == JSON || has_suffix() { Ok(()) } else { Err(Problem::unsupported_type()) }
}
