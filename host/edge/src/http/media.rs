//! Media types and content codings of request bodies, compared by the rules of RFC 9110 (sections 8.3 and 8.4).

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};

use super::answer::HostProblem;
use super::details::Failure;

/// The media type of JSON.
pub const JSON: &str = "application/json";
/// The media type of plain text.
pub const TEXT: &str = "text/plain";
/// The media type of a form that is written like a query.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The media type of a form in parts.
pub const MULTIPART: &str = "multipart/form-data";

/// The media type that a request declares for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared<'a> {
    /// The request has no `Content-Type`.
    Nothing,
    /// The request declares this type and subtype. The text keeps the client's case and has no parameters.
    One(&'a str),
    /// The request has several `Content-Type` headers, or one that cannot be parsed.
    Malformed,
}

/// Returns the media type that a request declares for its body.
pub fn declared(headers: &HeaderMap) -> Declared<'_> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    match (given.next(), given.next()) {
        (None, _) => Declared::Nothing,
        (Some(one), None) => essence(one).map_or(Declared::Malformed, Declared::One),
        (Some(_), Some(_)) => Declared::Malformed,
    }
}

/// Returns the type and subtype of a `Content-Type`, without parameters.
fn essence(value: &HeaderValue) -> Option<&str> {
    let essence = value.to_str().ok()?.split(';').next()?.trim_matches([' ', '\t']);
    let (kind, subtype) = essence.split_once('/')?;
    (is_token(kind) && is_token(subtype)).then_some(essence)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl Declared<'_> {
    /// Returns whether the declared media type equals `media_type`. Case does not count.
    pub fn is(self, media_type: &str) -> bool {
        matches!(self, Self::One(essence) if essence.eq_ignore_ascii_case(media_type))
    }

    /// Returns whether the declared media type is within a range, such as `image/*`, that has no capital letters.
    pub fn is_within(self, range: &str) -> bool {
        let (Self::One(essence), Some((kind, subtype))) = (self, range.split_once('/')) else { return false };
        let Some((declared, declared_subtype)) = essence.split_once('/') else { return false };
        let fits = |wanted: &str, found: &str| wanted == "*" || found.eq_ignore_ascii_case(wanted);
        fits(kind, declared) && fits(subtype, declared_subtype)
    }

    /// Returns whether the declared media type is JSON: `application/json`, or a type with the structured syntax suffix `+json` (RFC
    /// 6839).
    pub fn is_json(self) -> bool {
        const SUFFIX: &str = "+json";
        let Self::One(essence) = self else { return false };
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        let has_suffix = || {
            let (name, suffix) = subtype.split_at_checked(subtype.len().saturating_sub(SUFFIX.len()))?;
            (!name.is_empty() && suffix.eq_ignore_ascii_case(SUFFIX)).then_some(())
        };
        essence.eq_ignore_ascii_case(JSON) || has_suffix().is_some()
    }
}

/// Whether a `Content-Type` declares no charset, or one that is read as UTF-8.
pub fn is_utf8(headers: &HeaderMap) -> bool {
    is_utf8_type(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

/// Whether a media type with its parameters declares no charset, or one that is read as UTF-8.
pub fn is_utf8_type(text: &str) -> bool {
    let charset = text.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    charset.is_none_or(|name| ["utf-8", "utf8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known)))
}

/// Refuses a body with a content coding, such as compression.
///
/// # Errors
///
/// 415. The response's `Accept-Encoding` lists the accepted codings (RFC 9110, section 12.5.3).
pub fn check_coding(headers: &HeaderMap) -> Result<(), Failure> {
    let is_plain = |value: &HeaderValue| {
        let mut codings = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    };
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    let identity = HeaderValue::from_static("identity");
    Err(Failure::from(HostProblem::UnsupportedContentCoding).with_header(ACCEPT_ENCODING, identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_many_names() {
        let is_json = |text: &str| {
            let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header's value");
            declared(&HeaderMap::from_iter([(CONTENT_TYPE, value)])).is_json()
        };
        for text in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json ; a=b",
            "application/problem+json",
            "application/merge-patch+JSON; q=1",
            "application/vnd.api+xml+json",
            "image/x+json",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "",
            "json",
            "text/json",
            "application/jsonp",
            "application/+json",
            "application/json+xml",
            "application/json, text/plain",
            "application /json",
            "application/",
            "+json",
            "text/plain; a=application/json",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }
}
