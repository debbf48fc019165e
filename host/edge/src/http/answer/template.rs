//! Fills the templates of answers with values. Whatever the values are, the text stays one value at its place: it can't end a header, a
//! quoted string or a part of a URL.

use std::borrow::Cow;
use std::fmt;

use axum::http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wasmtime::component::Val;

use watertight_graph::routes::{BoundPart, BoundTemplate};
use watertight_json::EncodeError;
use watertight_model::config::{HolePlace, is_url_character};

/// The greatest length of a text that a template makes, in bytes.
const MAX_TEXT: usize = 8 << 10;
/// What is percent-encoded in a part of a URL: all but the characters that RFC 3986 reserves for nothing.
pub(super) const URL_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The values that holes stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    /// The result of the call, or the payload of an error.
    pub(super) result: Option<&'a Val>,
    /// The texts of parameters, in the order of the route's list.
    pub(super) parameters: &'a [Option<String>],
}

/// What a template is for, as errors name it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    Header(&'a str),
    Cookie(&'a str),
    FileName,
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header `{name}`"),
            Self::Cookie(name) => write!(f, "the cookie `{name}`"),
            Self::FileName => f.write_str("the name of the file"),
        }
    }
}

/// Fills a template. Returns `None` if a value is absent.
///
/// # Errors
///
/// [`EncodeError`] if a value can't stand at its place, or the text is too long.
pub(super) fn fill(
    template: &BoundTemplate,
    values: Values<'_>,
    purpose: Purpose<'_>,
) -> Result<Option<String>, EncodeError> {
    let mut text = String::with_capacity(2 * template.text.len());
    for part in &template.parts {
        let (value, place) = match part {
            BoundPart::Text(plain) => {
                text.push_str(plain);
                continue;
            }
            BoundPart::Parameter(index, place) => {
                (values.parameters.get(*index).and_then(Option::as_deref).map(Cow::Borrowed), *place)
            }
            BoundPart::Value(path, place) => {
                let value = values.result.map_or(Ok(None), |result| path.text(result, MAX_TEXT));
                (value?.map(Cow::Owned), *place)
            }
        };
        let Some(value) = value else { return Ok(None) };
        push(&mut text, &value, place).map_err(|why| unfit(purpose, template, why))?;
        if text.len() > MAX_TEXT {
            return Err(unfit(purpose, template, "it is too long"));
        }
    }
    Ok(Some(text))
}

/// Returns the error that a text can't be made of a template.
pub(super) fn unfit(purpose: Purpose<'_>, template: &BoundTemplate, why: &str) -> EncodeError {
    EncodeError::Unfit { what: format!("{purpose}, which is `{}`", template.text), why: why.to_owned() }
}

/// Appends a value as its place wants it.
fn push(text: &mut String, value: &str, place: HolePlace) -> Result<(), &'static str> {
    match place {
        HolePlace::Plain => text.push_str(value),
        HolePlace::Quoted => {
            for c in value.chars() {
                if c == '"' || c == '\\' {
                    text.push('\\');
                }
                text.push(c);
            }
        }
        HolePlace::Url if value.chars().all(is_url_character) => text.push_str(value),
        HolePlace::Url => return Err("a value is no URL"),
        HolePlace::UrlPart => text.extend(utf8_percent_encode(value, URL_PART)),
    }
    Ok(())
}

/// Fills a template, and returns the value of the header `name`. `None` if a value is absent.
///
/// # Errors
///
/// As for [`fill`], and if the text has a character that no header can hold: one beyond ASCII, or a control character.
pub(super) fn header(
    template: &BoundTemplate,
    values: Values<'_>,
    name: &str,
) -> Result<Option<HeaderValue>, EncodeError> {
    let purpose = Purpose::Header(name);
    let Some(text) = fill(template, values, purpose)? else { return Ok(None) };
    // `HeaderValue` takes bytes beyond ASCII, which clients read in different ways.
    let value = HeaderValue::from_str(text.trim_matches([' ', '\t'])).ok().filter(|_| text.is_ascii());
    value.map(Some).ok_or_else(|| unfit(purpose, template, "a value has a character that no header can hold"))
}
