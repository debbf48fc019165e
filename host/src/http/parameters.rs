//! From a request's parts to a function's parameters. Everything that is wrong with a request is reported at once.

use std::borrow::Cow;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use wasmtime::component::Val;

use super::answer::{Fault, HostProblem};
use crate::routes::{Body, Parameter, Route, Source};

/// Query fields that one request may have.
const MAX_QUERY_FIELDS: usize = 64;

/// Reads a JSON body of at most `limit` bytes that is here by `deadline`.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Incoming,
    limit: u64,
    deadline: Instant,
) -> Result<Bytes, HostProblem> {
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !is_json(headers) || !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(HostProblem::UnsupportedMediaType);
    }
    if body.size_hint().lower() > limit {
        return Err(HostProblem::BodyTooLarge { limit });
    }
    let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout_at(deadline.into(), limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HostProblem::BodyTooLarge { limit }),
        Ok(Err(_)) => Err(HostProblem::BodyCutOff),
        Err(_) => Err(HostProblem::BodyTooSlow),
    }
}

/// Whether the body is declared as `application/json`, with or without parameters, and as nothing else.
fn is_json(headers: &HeaderMap) -> bool {
    let json = |value: &HeaderValue| {
        let essence = value.to_str().ok().and_then(|text| text.split(';').next()).map(str::trim);
        essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
    };
    let mut declared = headers.get_all(header::CONTENT_TYPE).iter();
    declared.next().is_some_and(json) && declared.next().is_none()
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
            Source::Header(name) => header_value(parameter, name, &head.headers),
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
        if !known(&name) {
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

fn header_value(parameter: &Parameter, name: &header::HeaderName, headers: &HeaderMap) -> Result<Val, Fault> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (None, _) => parameter.codec.absent().ok_or_else(|| Fault::header(name, "it is missing")),
        (Some(_), Some(_)) => Err(Fault::header(name, "it is given twice")),
        (Some(value), None) => {
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Fault::header(name, "it is not UTF-8"))?;
            parameter.codec.decode_text(text).map_err(|detail| Fault::header(name, detail))
        }
    }
}

/// The values that the body stands for: one, or a field's each.
fn body_values(route: &Route, body: &[u8], faults: &mut Vec<Fault>) -> Vec<Val> {
    let decoded = match &route.body {
        Body::Ignored => return Vec::new(),
        Body::Parameter => {
            let whole = route.parameters.iter().find(|parameter| matches!(parameter.source, Source::Body(_)));
            whole.expect("a route that binds its body has that parameter").codec.decode(body).map(|value| vec![value])
        }
        Body::Spread(fields) => fields.decode(body),
    };
    decoded.unwrap_or_else(|violations| {
        faults.extend(violations.into_iter().map(Fault::from));
        Vec::new()
    })
}
