//! From a request's parts to a function's parameters. Everything that is wrong with a request is reported at once.

use std::borrow::Cow;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use percent_encoding::percent_decode_str;
use wasmtime::component::Val;

use super::answer::HostProblem;
use super::details::{Failure, Fault};
use super::media::{self, Declared};
use super::server::{BodyError, HeldBytes, RequestBody};
use watertight_graph::routes::{Body, Parameter, Route, Source};
use watertight_json::UnknownFields;
use watertight_model::config::UnknownInput;

/// Query fields that one request may have.
const MAX_QUERY_FIELDS: usize = 64;

/// The byte order mark of UTF-8, which a sender may put before JSON (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A body that was read. Its bytes are held for the client as long as this lives.
pub(super) struct ReadBody {
    bytes: Bytes,
    _held: Option<HeldBytes>,
}

impl std::ops::Deref for ReadBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads what the route wants of a request's body: a JSON document of at most `limit` bytes that is here by `deadline`; none where the
/// route binds none.
///
/// # Errors
///
/// A body that isn't JSON, too large, or too late; any body where the route binds none and refuses unknown input.
pub(super) async fn read_body(
    route: &Route,
    headers: &HeaderMap,
    mut body: RequestBody,
    limit: u64,
    deadline: Instant,
) -> Result<Option<ReadBody>, Failure> {
    let is_empty = body.is_end_stream();
    if matches!(route.body, Body::Unbound) {
        let is_refused = route.unknown_input == UnknownInput::Refuse && !is_empty && has_bytes(body, deadline).await?;
        return if is_refused { Err(invalid(Fault::at("", "nothing takes a body here"))) } else { Ok(None) };
    }
    let absent = || {
        let bytes = Bytes::from_static(route.absent_body.unwrap_or_default());
        Ok(Some(ReadBody { bytes, _held: None }))
    };
    if is_empty {
        return absent();
    }
    media::check_coding(headers)?;
    let declared = media::declared(headers);
    if !declared.is_json() {
        // Of a body without a length it isn't known before its end that there is none.
        let may_be_none = declared == Declared::Nothing && body.size_hint().lower() == 0;
        return if may_be_none && !has_bytes(body, deadline).await? {
            absent()
        } else {
            Err(HostProblem::UnsupportedMediaType.into())
        };
    }
    if body.size_hint().lower() > limit {
        return Err(HostProblem::BodyTooLarge { limit }.into());
    }
    let limited = Limited::new(&mut body, usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout_at(deadline.into(), limited.collect()).await {
        Ok(Ok(read)) => {
            let bytes = read.to_bytes();
            if bytes.is_empty() { absent() } else { Ok(Some(ReadBody { bytes, _held: body.held() })) }
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HostProblem::BodyTooLarge { limit }.into()),
        Ok(Err(error)) => Err(error.downcast_ref().map_or(HostProblem::BodyCutOff, problem).into()),
        Err(_) => Err(HostProblem::BodyTooSlow.into()),
    }
}

/// What is answered where a body can't be read.
fn problem(error: &BodyError) -> HostProblem {
    match error {
        BodyError::Stalled => HostProblem::BodyTooSlow,
        BodyError::NoRoom(_) => HostProblem::Overloaded,
        BodyError::Http1(_) | BodyError::Http2(_) => HostProblem::BodyCutOff,
    }
}

/// Whether there is anything in a body: known from its length, or once a first byte or its end is here.
async fn has_bytes(mut body: RequestBody, deadline: Instant) -> Result<bool, Failure> {
    if body.size_hint().lower() > 0 {
        return Ok(true);
    }
    loop {
        match tokio::time::timeout_at(deadline.into(), body.frame()).await {
            Ok(None) => return Ok(false),
            Ok(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| !data.is_empty()) => return Ok(true),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(problem(&error).into()),
            Err(_) => return Err(HostProblem::BodyTooSlow.into()),
        }
    }
}

fn invalid(fault: Fault) -> Failure {
    HostProblem::Invalid(vec![fault]).into()
}

/// The values of a route's parameters, in order.
pub(super) fn decode(route: &Route, path: &[&str], head: &Parts, body: Option<&[u8]>) -> Result<Vec<Val>, HostProblem> {
    let mut faults = Vec::new();
    let query = query_fields(route, head.uri.query().unwrap_or_default(), &mut faults);
    let mut from_body = body_values(route, body.unwrap_or_default(), &mut faults);
    let mut values = Vec::with_capacity(route.parameters.len());
    for parameter in &route.parameters {
        let value = match &parameter.source {
            Source::Path(place) => path_value(parameter, path[*place]),
            Source::Query(name) => match query.iter().find(|(field, _)| field == name) {
                Some((_, text)) => parameter.codec.decode_text(text).map_err(|detail| Fault::query(name, detail)),
                None => parameter.codec.absent().ok_or_else(|| Fault::query(name, "it is missing")),
            },
            Source::Header(name) => header_value(parameter, name, head),
            Source::Body(place) => match from_body.get_mut(*place) {
                Some(value) => Ok(std::mem::replace(value, Val::Bool(false))),
                // The body's own faults are reported.
                None => continue,
            },
        };
        match value {
            Ok(value) => values.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(HostProblem::Invalid(faults)) }
}

/// The fields of a query, each once and known.
fn query_fields<'a>(route: &Route, query: &'a str, faults: &mut Vec<Fault>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    if query.is_empty() {
        return fields;
    }
    let known =
        |name: &str| route.parameters.iter().any(|p| matches!(&p.source, Source::Query(field) if field == name));
    let is_lenient = route.unknown_input == UnknownInput::Ignore;
    for (count, field) in query.split('&').filter(|field| !field.is_empty()).enumerate() {
        if count == MAX_QUERY_FIELDS {
            faults.push(Fault::query("", format!("more than {MAX_QUERY_FIELDS} query fields")));
            break;
        }
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let (Some(name), Some(value)) = (form_decode(name), form_decode(value)) else {
            // What is no text is no known field's name.
            if !is_lenient || form_decode(name).is_some_and(|name| known(&name)) {
                faults.push(Fault::query(name, "it is not UTF-8"));
            }
            continue;
        };
        if !known(&name) {
            if is_lenient {
                continue;
            }
            faults.push(Fault::query(&name, "there is no such query field"));
        } else if fields.iter().any(|(field, _)| *field == name) {
            faults.push(Fault::query(&name, "it is given twice"));
        } else {
            fields.push((name, value));
        }
    }
    fields
}

/// A name or value of a query (`application/x-www-form-urlencoded`), unless it is not UTF-8.
fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned().into())
}

fn path_value(parameter: &Parameter, segment: &str) -> Result<Val, Fault> {
    let text = percent_decode_str(segment).decode_utf8();
    let text = text.map_err(|_| Fault::path(&parameter.name, "it is not UTF-8"))?;
    parameter.codec.decode_text(&text).map_err(|detail| Fault::path(&parameter.name, detail))
}

fn header_value(parameter: &Parameter, name: &header::HeaderName, head: &Parts) -> Result<Val, Fault> {
    let mut given = head.headers.get_all(name).iter();
    let text = match (given.next(), given.next()) {
        (None, _) => return parameter.codec.absent().ok_or_else(|| Fault::header(name, "it is missing")),
        // A client of HTTP/2 may send each cookie in a field of its own (RFC 9113, section 8.2.3).
        (Some(_), Some(_)) if *name == header::COOKIE && head.version == Version::HTTP_2 => {
            let cookies: Vec<&[u8]> = head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            Cow::Owned(cookies.join(&b"; "[..]))
        }
        (Some(_), Some(_)) => return Err(Fault::header(name, "it is given twice")),
        (Some(value), None) => Cow::Borrowed(value.as_bytes()),
    };
    let text = std::str::from_utf8(&text).map_err(|_| Fault::header(name, "it is not UTF-8"))?;
    parameter.codec.decode_text(text).map_err(|detail| Fault::header(name, detail))
}

/// The values that the body stands for: one, or a field's each.
fn body_values(route: &Route, body: &[u8], faults: &mut Vec<Fault>) -> Vec<Val> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let unknown = match route.unknown_input {
        UnknownInput::Refuse => UnknownFields::Refused,
        UnknownInput::Ignore => UnknownFields::Ignored,
    };
    let decoded = match &route.body {
        Body::Unbound => return Vec::new(),
        Body::Parameter => {
            let whole = route.parameters.iter().find(|parameter| matches!(parameter.source, Source::Body(_)));
            let codec = &whole.expect("a route that binds its body has that parameter").codec;
            codec.decode_with(body, unknown).map(|value| vec![value])
        }
        Body::Spread(fields) => fields.decode_with(body, unknown),
    };
    decoded.unwrap_or_else(|violations| {
        faults.extend(violations.into_iter().map(Fault::from));
        Vec::new()
    })
}
