//! Decodes the parts of a request into the parameters of a function. All faults of a request are reported at once.

mod body;
mod fields;
mod parts;
mod upload;

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::http::{HeaderValue, Version, header};
use percent_encoding::percent_decode_str;
use wasmtime::component::Val;

use super::answer::HostProblem;
use super::details::RequestFault;
use watertight_graph::routes::{BoundBody, ParameterSource, Route};
use watertight_json::{Codec, UnknownFields};
use watertight_model::config::{RequestPart, UnknownInput};

pub(super) use body::{ReadBody, read_body};
pub(super) use upload::UploadFolder;

use body::Content;
use fields::GivenFields;

/// The byte order mark of UTF-8, which a sender may put before JSON (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Decodes the parameters of a route, in the order of the function's parameters.
///
/// # Errors
///
/// Every fault of the request's path, query, headers and body.
pub(super) fn decode(
    route: &Route,
    path: &[&str],
    head: &Parts,
    body: Option<&mut ReadBody>,
) -> Result<Vec<Val>, HostProblem> {
    let mut faults = Vec::new();
    let query = fields::of_query(route, head.uri.query().unwrap_or_default(), &mut faults);
    let mut from_body = body.map_or_else(Vec::new, |body| body_values(route, body, &mut faults));
    let mut values = Vec::with_capacity(route.parameters.len());
    for parameter in &route.parameters {
        let value = match &parameter.source {
            ParameterSource::Path(place, codec) => path_value(&parameter.name, codec, path[*place]),
            ParameterSource::Query(field) => query.value(field),
            ParameterSource::WholeQuery(fields) => {
                values.extend(query.record(fields, &mut faults));
                continue;
            }
            ParameterSource::Header(name, codec) => header_value(codec, name, head),
            ParameterSource::Cookie(name, codec) => cookie_value(codec, name, head),
            ParameterSource::Constant(value) => Ok(value.clone()),
            ParameterSource::Request(part, codec) => request_value(*part, codec, route, head),
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

fn path_value(name: &str, codec: &Codec, segment: &str) -> Result<Val, RequestFault> {
    let text = percent_decode_str(segment).decode_utf8();
    let text = text.map_err(|_| RequestFault::path(name, "it is not UTF-8"))?;
    codec.decode_text(&text).map_err(|detail| RequestFault::path(name, detail))
}

fn header_value(codec: &Codec, name: &header::HeaderName, head: &Parts) -> Result<Val, RequestFault> {
    let mut given = head.headers.get_all(name).iter();
    let text = match (given.next(), given.next()) {
        (None, _) => return codec.absent_value().ok_or_else(|| RequestFault::header(name, "it is missing")),
        // A client of HTTP/2 may send each cookie in a field of its own (RFC 9113, section 8.2.3).
        (Some(_), Some(_)) if *name == header::COOKIE && head.version == Version::HTTP_2 => {
            let cookies: Vec<&[u8]> = head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            Cow::Owned(cookies.join(&b"; "[..]))
        }
        (Some(_), Some(_)) => return Err(RequestFault::header(name, "it is given twice")),
        (Some(value), None) => Cow::Borrowed(value.as_bytes()),
    };
    let text = std::str::from_utf8(&text).map_err(|_| RequestFault::header(name, "it is not UTF-8"))?;
    codec.decode_text(text).map_err(|detail| RequestFault::header(name, detail))
}

/// The largest number of cookies that are looked at in one request.
const MAX_COOKIES: usize = 256;

/// Decodes the first cookie of a name. Cookies whose name or value is malformed are passed over, as RFC 6265 advises: another application on
/// the same site may have set them.
fn cookie_value(codec: &Codec, name: &str, head: &Parts) -> Result<Val, RequestFault> {
    let fields =
        head.headers.get_all(header::COOKIE).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    let mut cookies = fields.flat_map(cookie::Cookie::split_parse).take(MAX_COOKIES).filter_map(Result::ok);
    match cookies.find(|cookie| cookie.name() == name) {
        Some(cookie) => codec.decode_text(cookie.value_trimmed()).map_err(|detail| RequestFault::cookie(name, detail)),
        None => codec.absent_value().ok_or_else(|| RequestFault::cookie(name, "it is missing")),
    }
}

fn request_value(part: RequestPart, codec: &Codec, route: &Route, head: &Parts) -> Result<Val, RequestFault> {
    let text = match part {
        RequestPart::Method => Some(head.method.as_str()),
        RequestPart::Route => Some(&*route.path),
        RequestPart::ContentType => head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()),
    };
    let fault = |detail| RequestFault::header(&header::CONTENT_TYPE, detail);
    match text {
        Some(text) => codec.decode_text(text).map_err(fault),
        None => codec.absent_value().ok_or_else(|| fault("it is missing".to_owned())),
    }
}

/// Decodes the body into values: one value if the route binds the whole body, or one value for each field that it binds.
fn body_values(route: &Route, body: &mut ReadBody, faults: &mut Vec<RequestFault>) -> Vec<Val> {
    let body = match &mut body.content {
        Content::Document(bytes) => &bytes[..],
        Content::Raw(spool) => return parts::bytes(spool, faults).into_iter().collect(),
        Content::Parts(parts, spool) => {
            let BoundBody::Form(form) = &route.body else { return Vec::new() };
            return parts::values(form, parts, spool, route.unknown_input, faults);
        }
    };
    let without_mark = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let unknown = match route.unknown_input {
        UnknownInput::Refuse => UnknownFields::Refused,
        UnknownInput::Ignore => UnknownFields::Ignored,
    };
    let decoded = match &route.body {
        BoundBody::Unbound => return Vec::new(),
        BoundBody::Parameter(codec) => codec.decode_with(without_mark, unknown).map(|value| vec![value]),
        BoundBody::Spread(fields) => fields.decode_with(without_mark, unknown),
        // No body: its bytes would be a `Content::Raw`.
        BoundBody::Raw(_) => return vec![Val::List(Vec::new())],
        BoundBody::Text => match std::str::from_utf8(without_mark) {
            Ok(text) => return vec![Val::String(text.to_owned())],
            Err(_) => {
                faults.push(RequestFault::body("", "it is not UTF-8"));
                return Vec::new();
            }
        },
        BoundBody::Form(form) => {
            let Ok(text) = std::str::from_utf8(body) else {
                faults.push(RequestFault::body("", "it is not UTF-8"));
                return Vec::new();
            };
            let given = GivenFields::of(text, &form.fields, route.unknown_input, faults);
            return given.bound(form, faults);
        }
    };
    decoded.unwrap_or_else(|violations| {
        faults.extend(violations.into_iter().map(RequestFault::from));
        Vec::new()
    })
}
