//! Conditions and ranges of requests (RFC 9110, sections 13 and 14): what the host answers by itself, and which part of a body is sent.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE,
    RANGE, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use watertight_graph::routes::Route;

use super::super::details::Failure;
use super::{HostProblem, accept};

/// Whether `If-None-Match` of a request names the entity tag `tag`: its client has the answer already.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    named_tags(headers, IF_NONE_MATCH).like(tag).is_some()
}

/// The headers that an answer with status 304 keeps (RFC 9110, section 15.4.5).
const KEPT: [HeaderName; 4] = [CACHE_CONTROL, CONTENT_LOCATION, ETAG, VARY];

/// Whether requests with this method only read.
fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Checks what can be said of a request before its function is called.
///
/// # Errors
///
/// 406 if the client doesn't take the media type of the answer. 412 if the request has a condition that neither the host nor the function
/// can check, and 428 if it must have one and has none.
pub(in crate::http) fn check(route: &Route, head: &Parts) -> Result<(), HostProblem> {
    let headers = &head.headers;
    if let Some(body) = &route.answer.body
        && body.said_type.is_none()
        && headers.contains_key(ACCEPT)
        && !accept::allows(headers, &body.media_type)
    {
        let offered = body.media_type.to_str().unwrap_or_default().to_owned();
        return Err(HostProblem::NotAcceptable { offered });
    }
    if is_read(&head.method) {
        return Ok(());
    }
    let conditions = route.answer.conditions;
    let has_match = headers.contains_key(IF_MATCH);
    if conditions.requires_match && !has_match {
        return Err(HostProblem::PreconditionRequired);
    }
    let is_unchecked =
        (has_match && !conditions.takes_match) || (headers.contains_key(IF_NONE_MATCH) && !conditions.takes_none_match);
    if is_unchecked { Err(HostProblem::PreconditionFailed) } else { Ok(()) }
}

/// Completes the response of a success with its body, as the conditions and the range of the request want it. `is_bytes` says whether a part
/// of the body can be asked for.
///
/// # Errors
///
/// 412 if the answer isn't the one that the client wants, and 416 if the body doesn't have the part that it wants.
pub(super) fn complete(
    mut response: Response<Body>,
    body: Vec<u8>,
    is_bytes: bool,
    route: &Route,
    head: &Parts,
) -> Result<Response<Body>, Failure> {
    if response.status() != StatusCode::OK || !is_read(&head.method) {
        *response.body_mut() = Body::from(body);
        return Ok(response);
    }
    if let Some(tag) = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(ToOwned::to_owned) {
        let conditions = route.answer.conditions;
        let named = |name: HeaderName| head.headers.contains_key(&name).then(|| named_tags(&head.headers, name));
        if let Some(tags) = named(IF_MATCH).filter(|_| !conditions.takes_match)
            && !tags.has_strong(&tag)
        {
            return Err(HostProblem::PreconditionFailed.into());
        }
        if let Some(known) = named(IF_NONE_MATCH).and_then(|tags| tags.like(&tag)) {
            return Ok(not_modified(response.headers(), &known));
        }
    }
    if is_bytes {
        response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if head.method == Method::GET {
            return part(response, body, &head.headers);
        }
    }
    *response.body_mut() = Body::from(body);
    Ok(response)
}

/// Returns the answer to a client that has the body already. `tag` is the entity tag as the client knows it: weak, if the body was sent
/// compressed.
fn not_modified(headers: &HeaderMap, tag: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let kept = KEPT.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    response.headers_mut().extend(kept);
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The entity tags that a condition names.
enum NamedTags {
    /// `*`: whatever there is.
    Any,
    /// These, as they are written.
    These(Vec<String>),
}

fn named_tags(headers: &HeaderMap, name: HeaderName) -> NamedTags {
    let mut tags = Vec::new();
    for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
        if value.trim() == "*" {
            return NamedTags::Any;
        }
        let mut rest = value;
        // A tag has no quotes within, but may have commas.
        while let Some((before, after)) = rest.split_once('"') {
            let Some((text, after)) = after.split_once('"') else { break };
            let weak = if before.ends_with("W/") { "W/" } else { "" };
            tags.push(format!("{weak}\"{text}\""));
            rest = after;
        }
    }
    NamedTags::These(tags)
}

impl NamedTags {
    /// Whether one of the tags is the strong tag `tag` (RFC 9110, section 8.8.3.2).
    fn has_strong(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => !is_weak(tag) && tags.iter().any(|known| known == tag),
        }
    }

    /// Returns the tag that has the same text as `tag`, weak or not.
    fn like(self, tag: &str) -> Option<String> {
        match self {
            Self::Any => Some(tag.to_owned()),
            Self::These(tags) => tags.into_iter().find(|known| text_of(known) == text_of(tag)),
        }
    }
}

fn is_weak(tag: &str) -> bool {
    tag.starts_with("W/")
}

fn text_of(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The part of a body that a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// All of it: there is no range, or none that counts.
    Whole,
    /// The bytes with these offsets.
    Part(Range<usize>),
    /// A part that the body doesn't have.
    Nothing,
}

/// Completes the response with the part of the body that the request asks for.
fn part(mut response: Response<Body>, body: Vec<u8>, headers: &HeaderMap) -> Result<Response<Body>, Failure> {
    let length = body.len();
    match wanted(headers, response.headers().get(ETAG), length) {
        Wanted::Whole => *response.body_mut() = Body::from(body),
        Wanted::Part(part) => {
            let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            let range = HeaderValue::from_str(&range).expect("digits are header text");
            response.headers_mut().insert(CONTENT_RANGE, range);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.body_mut() = Body::from(Bytes::from(body).slice(part));
        }
        Wanted::Nothing => {
            let range = HeaderValue::from_str(&format!("bytes */{length}")).expect("digits are header text");
            return Err(Failure::from(HostProblem::RangeNotSatisfiable { length }).with_header(CONTENT_RANGE, range));
        }
    }
    Ok(response)
}

/// Returns the part of a body of `length` bytes that a request asks for. Several ranges, and what is no range of bytes, don't count, nor does
/// a range of a body with another entity tag.
fn wanted(headers: &HeaderMap, tag: Option<&HeaderValue>, length: usize) -> Wanted {
    let mut given = headers.get_all(RANGE).iter();
    let (Some(range), None) = (given.next(), given.next()) else { return Wanted::Whole };
    if let Some(condition) = headers.get(IF_RANGE) {
        let is_same = tag.is_some_and(|tag| tag == condition && tag.as_bytes().starts_with(b"\""));
        if !is_same {
            return Wanted::Whole;
        }
    }
    range.to_str().ok().and_then(|range| range_of(range, length)).unwrap_or(Wanted::Whole)
}

/// Parses a range of bytes. Returns `None` for what is none.
fn range_of(text: &str, length: usize) -> Option<Wanted> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<usize>().unwrap_or(usize::MAX))
    };
    let part = match (number(first), number(last)) {
        _ if !unit.trim().eq_ignore_ascii_case("bytes") => return None,
        (Some(first), Some(last)) if first > last => return None,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return None,
    };
    Some(if part.start < part.end { Wanted::Part(part) } else { Wanted::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parts() {
        let part = |part: Range<usize>| Some(Wanted::Part(part));
        for (text, expected) in [
            ("bytes=0-4", part(0..5)),
            ("Bytes=2-", part(2..10)),
            ("bytes=-3", part(7..10)),
            ("bytes=-30", part(0..10)),
            ("bytes=5-99999999999999999999999", part(5..10)),
            ("bytes=10-", Some(Wanted::Nothing)),
            ("bytes=99999999999999999999999-", Some(Wanted::Nothing)),
            ("bytes=-0", Some(Wanted::Nothing)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes", None),
            ("lines=0-4", None),
        ] {
            assert_eq!(range_of(text, 10), expected, "{text}");
        }
        assert_eq!(range_of("bytes=0-", 0), Some(Wanted::Nothing));
    }

    #[test]
    fn tags_are_found_in_lists() {
        let tags = |text: &'static str| {
            named_tags(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(text))]), IF_NONE_MATCH)
        };
        assert_eq!(tags("\"a\", W/\"b,c\" , \"d\"").like("\"b,c\"").as_deref(), Some("W/\"b,c\""));
        assert_eq!(tags("*").like("\"b\"").as_deref(), Some("\"b\""));
        assert_eq!(tags("\"a").like("\"a\""), None);
        assert!(tags("\"a\", \"b\"").has_strong("\"b\""));
        assert!(!tags("W/\"b\"").has_strong("\"b\"") && !tags("W/\"b\"").has_strong("W/\"b\""));
    }
}
