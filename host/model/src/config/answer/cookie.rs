//! Reads the cookies that an answer sets. What a route doesn't say is the safer choice.

use std::time::Duration;

use super::super::binding::is_cookie_name;
use super::super::source::LocatedValue;
use super::super::tree::{Table, Value};
use super::super::words::words;
use super::template::{Template, TemplateKind};
use super::{check_number, read_template};

words! {
    /// From which sites browsers send a cookie.
    SameSite {
        /// Only with requests of the site's own pages.
        Strict = "strict",
        /// Also where a page of another site leads to this one.
        Lax = "lax",
        /// With all requests.
        None = "none",
    }
}

/// A cookie that an answer sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieConfig {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Template,
    /// The path below which browsers send the cookie. Default: `/`.
    pub path: String,
    /// The time after which browsers forget the cookie; zero deletes it. `None`: when the browser ends.
    pub max_age: Option<Duration>,
    /// The domain that gets the cookie with all of its subdomains. `None`: only the host that set it.
    pub domain: Option<String>,
    /// Whether scripts of a page can't read the cookie. Default: true.
    pub http_only: bool,
    /// Whether browsers send the cookie over TLS only. Default: true.
    pub secure: bool,
    /// From which sites browsers send the cookie. Default: `lax`.
    pub same_site: SameSite,
}

/// The greatest age of a cookie. Browsers cut longer ones.
const MAX_AGE: Duration = Duration::from_secs(400 * 24 * 3600);

/// Reads a table from the name of a cookie to what it is like.
pub(super) fn read_cookies(value: &Value<'_>) -> Vec<LocatedValue<CookieConfig>> {
    let mut cookies = Vec::new();
    for (name, value) in value.table(Table::entries).unwrap_or_default() {
        if !is_cookie_name(name) {
            value.refuse(format_args!("`{name}` is not the name of a cookie"));
            continue;
        }
        let Some(cookie) = value.table(|table| read_cookie(name, table)).flatten() else { continue };
        if let Some(fault) = fault(&cookie) {
            value.refuse(fault);
        }
        cookies.push(value.at(cookie));
    }
    check_number(value, cookies.len());
    cookies
}

fn read_cookie(name: &str, table: &mut Table<'_>) -> Option<CookieConfig> {
    let value = table.required("value").and_then(|value| read_template(&value, TemplateKind::Cookie));
    let mut flag = |key: &'static str| table.optional(key).and_then(|value| value.boolean()).unwrap_or(true);
    let (http_only, secure) = (flag("http_only"), flag("secure"));
    let path = table.optional("path").and_then(|value| {
        let text = value.string()?;
        let is_path = text.starts_with('/') && text.chars().all(|c| (' '..='~').contains(&c) && c != ';');
        if !is_path {
            value.refuse(format_args!("`{}` is not the path of a cookie", text.escape_debug()));
        }
        Some(text.to_owned())
    });
    let domain = table.optional("domain").and_then(|value| {
        let text = value.string()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !text.split('.').all(|label| !label.is_empty() && label.chars().all(is_name)) {
            value.refuse(format_args!("`{}` is not a domain such as `example.com`", text.escape_debug()));
        }
        Some(text.to_owned())
    });
    let max_age = table.optional("max_age").and_then(|value| {
        if value.is_zero() { Some(Duration::ZERO) } else { value.duration(Duration::ZERO..=MAX_AGE) }
    });
    let same_site = table.word("same_site", SameSite::Lax);
    Some(CookieConfig {
        name: name.to_owned(),
        value: value?.value,
        path: path.unwrap_or_else(|| "/".to_owned()),
        max_age,
        domain,
        http_only,
        secure,
        same_site,
    })
}

/// Returns why browsers would refuse a cookie, whatever its value.
fn fault(cookie: &CookieConfig) -> Option<&'static str> {
    let has = |prefix: &str| cookie.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if !cookie.secure && cookie.same_site == SameSite::None {
        return Some("browsers refuse `same_site = \"none\"` without `secure`");
    }
    if !cookie.secure && (has("__Secure-") || has("__Host-")) {
        return Some("browsers refuse a cookie of this name without `secure`");
    }
    if has("__Host-") && (cookie.domain.is_some() || cookie.path != "/") {
        return Some("browsers refuse a cookie of this name with a `domain` or another `path` than `/`");
    }
    None
}
