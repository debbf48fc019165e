//! Decodes the parts of a request into the parameters of a function. All faults of a request are reported at once.

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
use super::details::{Failure, RequestFault};
use super::media::{self, Declared};
use super::server::{BodyError, HeldBytes, RequestBody};
use watertight_graph::routes::{BoundBody, Parameter, ParameterSource, Route};
use watertight_json::UnknownFields;
use watertight_model::config::UnknownInput;

/// The maximum number of query fields of one request.
const MAX_QUERY_FIELDS: usize = 64;

/// The byte order mark of UTF-8, which a sender may put before JSON (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A request body that was read completely. Its bytes count as held in memory for the client until this value is dropped.
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

/// Reads the body of a request: a JSON document of at most `limit` bytes that arrives before `deadline`. Returns `None` if the route
/// binds no body.
///
/// # Errors
///
/// The body is not JSON, is too large or arrives too late. Or the route binds no body, refuses unknown input, and the request has a body.
pub(super) async fn read_body(
    route: &Route,
    headers: &HeaderMap,
    mut body: RequestBody,
    limit: u64,
    deadline: Instant,
) -> Result<Option<ReadBody>, Failure> {
    let is_empty = body.is_end_stream();
    if matches!(route.body, BoundBody::Unbound) {
        let is_refused = route.unknown_input == UnknownInput::Refuse && !is_empty && has_bytes(body, deadline).await?;
        return if is_refused { Err(invalid(RequestFault::body("", "this route takes no body"))) } else { Ok(None) };
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
        // A body without a declared length may turn out to be empty only at its end.
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

/// Returns the problem to report if a body cannot be read.
fn problem(error: &BodyError) -> HostProblem {
    match error {
        BodyError::Stalled => HostProblem::BodyTooSlow,
        BodyError::NoRoom(_) => HostProblem::Overloaded,
        BodyError::Http1(_) | BodyError::Http2(_) => HostProblem::BodyCutOff,
        BodyError::PassedOn(fault) => (*fault).into(),
    }
}

/// Returns whether a body has at least one byte. If the length is not declared, waits for the first byte or the end of the body.
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

fn invalid(fault: RequestFault) -> Failure {
    HostProblem::Invalid(vec![fault]).into()
}

/// Decodes the parameters of a route, in the order of the function's parameters.
///
/// # Errors
///
/// Every fault of the request's path, query, headers and body.
pub(super) fn decode(route: &Route, path: &[&str], head: &Parts, body: Option<&[u8]>) -> Result<Vec<Val>, HostProblem> {
    let mut faults = Vec::new();
    let query = query_fields(route, head.uri.query().unwrap_or_default(), &mut faults);
    let mut from_body = body_values(route, body.unwrap_or_default(), &mut faults);
    let mut values = Vec::with_capacity(route.parameters.len());
    for parameter in &route.parameters {
        let value = match &parameter.source {
            ParameterSource::Path(place) => path_value(parameter, path[*place]),
            ParameterSource::Query(name) => match query.iter().find(|(field, _)| field == name) {
                Some((_, text)) => {
                    parameter.codec.decode_text(text).map_err(|detail| RequestFault::query(name, detail))
                }
                None => parameter.codec.absent_value().ok_or_else(|| RequestFault::query(name, "it is missing")),
            },
            ParameterSource::Header(name) => header_value(parameter, name, head),
            ParameterSource::Body(place) => match from_body.get_mut(*place) {
                Some(value) => Ok(std::mem::replace(value, Val::Bool(false))),
                // `body_values` has already reported the faults of the body.
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

/// Parses the query into the fields that the route knows. Unknown, repeated and malformed fields become faults; a route that ignores
/// unknown input skips unknown fields.
fn query_fields<'a>(
    route: &Route,
    query: &'a str,
    faults: &mut Vec<RequestFault>,
) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    if query.is_empty() {
        return fields;
    }
    let known = |name: &str| {
        route.parameters.iter().any(|p| matches!(&p.source, ParameterSource::Query(field) if field == name))
    };
    let is_lenient = route.unknown_input == UnknownInput::Ignore;
    for (count, field) in query.split('&').filter(|field| !field.is_empty()).enumerate() {
        if count == MAX_QUERY_FIELDS {
            faults.push(RequestFault::query("", format!("more than {MAX_QUERY_FIELDS} query fields")));
            break;
        }
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let (Some(name), Some(value)) = (form_decode(name), form_decode(value)) else {
            // A name that is not UTF-8 cannot be the name of a known field.
            if !is_lenient || form_decode(name).is_some_and(|name| known(&name)) {
                faults.push(RequestFault::query(name, "it is not UTF-8"));
            }
            continue;
        };
        if !known(&name) {
            if is_lenient {
                continue;
            }
            faults.push(RequestFault::query(&name, "there is no such query field"));
        } else if fields.iter().any(|(field, _)| *field == name) {
            faults.push(RequestFault::query(&name, "it is given twice"));
        } else {
            fields.push((name, value));
        }
    }
    fields
}

/// Decodes a name or a value of a query (`application/x-www-form-urlencoded`). Returns `None` if it is not UTF-8.
fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned().into())
}

fn path_value(parameter: &Parameter, segment: &str) -> Result<Val, RequestFault> {
    let text = percent_decode_str(segment).decode_utf8();
    let text = text.map_err(|_| RequestFault::path(&parameter.name, "it is not UTF-8"))?;
    parameter.codec.decode_text(&text).map_err(|detail| RequestFault::path(&parameter.name, detail))
}

fn header_value(parameter: &Parameter, name: &header::HeaderName, head: &Parts) -> Result<Val, RequestFault> {
    let mut given = head.headers.get_all(name).iter();
    let text = match (given.next(), given.next()) {
        (None, _) => return parameter.codec.absent_value().ok_or_else(|| RequestFault::header(name, "it is missing")),
        // A client of HTTP/2 may send each cookie in a field of its own (RFC 9113, section 8.2.3).
        (Some(_), Some(_)) if *name == header::COOKIE && head.version == Version::HTTP_2 => {
            let cookies: Vec<&[u8]> = head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            Cow::Owned(cookies.join(&b"; "[..]))
        }
        (Some(_), Some(_)) => return Err(RequestFault::header(name, "it is given twice")),
        (Some(value), None) => Cow::Borrowed(value.as_bytes()),
    };
    let text = std::str::from_utf8(&text).map_err(|_| RequestFault::header(name, "it is not UTF-8"))?;
    parameter.codec.decode_text(text).map_err(|detail| RequestFault::header(name, detail))
}

/// Decodes the body into values: one value if the route binds the whole body, or one value for each field that it binds.
fn body_values(route: &Route, body: &[u8], faults: &mut Vec<RequestFault>) -> Vec<Val> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let unknown = match route.unknown_input {
        UnknownInput::Refuse => UnknownFields::Refused,
        UnknownInput::Ignore => UnknownFields::Ignored,
    };
    let decoded = match &route.body {
        BoundBody::Unbound => return Vec::new(),
        BoundBody::Parameter => {
            let whole = route.parameters.iter().find(|parameter| matches!(parameter.source, ParameterSource::Body(_)));
            let codec = &whole.expect("a route that binds its body has that parameter").codec;
            codec.decode_with(body, unknown).map(|value| vec![value])
        }
        BoundBody::Spread(fields) => fields.decode_with(body, unknown),
    };
    decoded.unwrap_or_else(|violations| {
        faults.extend(violations.into_iter().map(RequestFault::from));
        Vec::new()
    })
}
