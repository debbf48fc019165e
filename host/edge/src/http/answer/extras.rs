//! Writes what an answer says beside its body: headers, cookies, the name of a file, the entity tag.

use axum::http::header::{CONTENT_DISPOSITION, ETAG, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite};
use percent_encoding::utf8_percent_encode;
use sha2::{Digest as _, Sha256};

use watertight_graph::routes::{AnswerExtras, BoundEtag, BoundTemplate};
use watertight_json::EncodeError;
use watertight_model::config::{self, CookieConfig, is_cookie_character, is_tag_character};

use super::template::{Purpose, URL_PART, Values, fill, header, unfit};

/// The number of bytes of a digest that are an entity tag.
const TAG_BYTES: usize = 16;

/// Adds what a success says beside its body, which is `body`, to the headers of the answer.
///
/// # Errors
///
/// [`EncodeError`] if a value can't stand where a template has it.
pub(super) fn add(
    extras: &AnswerExtras,
    values: Values<'_>,
    body: &[u8],
    headers: &mut HeaderMap,
) -> Result<(), EncodeError> {
    for (name, value) in &extras.fixed {
        headers.insert(name, value.clone());
    }
    for (name, template) in &extras.headers {
        if let Some(value) = header(template, values, name.as_str())? {
            headers.insert(name, value);
        }
    }
    if let Some(template) = &extras.filename {
        headers.insert(CONTENT_DISPOSITION, disposition(template, values)?);
    }
    for (cookie, template) in &extras.cookies {
        if let Some(value) = set_cookie(cookie, template, values)? {
            headers.append(SET_COOKIE, value);
        }
    }
    if let Some(etag) = &extras.etag
        && let Some(value) = entity_tag(etag, values, body)?
    {
        headers.insert(ETAG, value);
    }
    Ok(())
}

/// Returns the value of `Content-Disposition` (RFC 6266) for a file that browsers store. What no name of a file has becomes `_`: a client may
/// have sent it. A name beyond ASCII stands there twice: as RFC 8187 says, and with `_` for what old programs can't read.
fn disposition(template: &BoundTemplate, values: Values<'_>) -> Result<HeaderValue, EncodeError> {
    let Some(name) = fill(template, values, Purpose::FileName)? else {
        return Ok(HeaderValue::from_static("attachment"));
    };
    let name = name.replace(|c: char| c.is_control() || ['/', '\\'].contains(&c), "_");
    let is_plain = |c: char| (' '..='~').contains(&c) && !['"', '%'].contains(&c);
    let plain = name.replace(|c| !is_plain(c), "_");
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        text.extend(utf8_percent_encode(&name, URL_PART));
    }
    HeaderValue::from_str(&text).map_err(|_| unfit(Purpose::FileName, template, "no header can hold it"))
}

/// Returns the value of `Set-Cookie`. `None` if the value is absent.
fn set_cookie(
    config: &CookieConfig,
    template: &BoundTemplate,
    values: Values<'_>,
) -> Result<Option<HeaderValue>, EncodeError> {
    let purpose = Purpose::Cookie(&config.name);
    let Some(value) = fill(template, values, purpose)? else { return Ok(None) };
    if !value.chars().all(is_cookie_character) {
        return Err(unfit(purpose, template, "a value has a character that no cookie can hold"));
    }
    let mut cookie = Cookie::build((&*config.name, value))
        .path(&*config.path)
        .http_only(config.http_only)
        .secure(config.secure)
        .same_site(match config.same_site {
            config::SameSite::Strict => SameSite::Strict,
            config::SameSite::Lax => SameSite::Lax,
            config::SameSite::None => SameSite::None,
        });
    if let Some(domain) = &config.domain {
        cookie = cookie.domain(&**domain);
    }
    if let Some(age) = config.max_age {
        cookie = cookie.max_age(cookie::time::Duration::seconds(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
    }
    let text = cookie.build().to_string();
    HeaderValue::from_str(&text).map(Some).map_err(|_| unfit(purpose, template, "no header can hold it"))
}

/// Returns the value of `ETag`. `None` if the value is absent.
fn entity_tag(etag: &BoundEtag, values: Values<'_>, body: &[u8]) -> Result<Option<HeaderValue>, EncodeError> {
    const PURPOSE: Purpose<'_> = Purpose::Header("etag");
    let weak = if etag.is_weak { "W/" } else { "" };
    let Some(template) = &etag.value else {
        let digest = hex::encode(&Sha256::digest(body)[..TAG_BYTES]);
        return Ok(HeaderValue::from_str(&format!("{weak}\"{digest}\"")).ok());
    };
    let Some(text) = fill(template, values, PURPOSE)? else { return Ok(None) };
    let value = HeaderValue::from_str(&format!("{weak}\"{text}\"")).ok().filter(|_| text.chars().all(is_tag_character));
    value.map(Some).ok_or_else(|| unfit(PURPOSE, template, "a value has a character that no entity tag can hold"))
}
