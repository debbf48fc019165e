//! What is known of the client of a request, for modules that ask for it.

use std::cmp::Reverse;
use std::net::IpAddr;

/// The greatest number of languages that a module gets.
const MAX_LANGUAGES: usize = 64;

/// How a client sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientScheme {
    /// Without TLS, as far as the host knows.
    #[default]
    Http,
    /// With TLS, which a trusted proxy has ended.
    Https,
}

impl ClientScheme {
    /// Returns the scheme's name in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is known of the client of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The client's address. `None` if a proxy does not tell it.
    pub address: Option<IpAddr>,
    /// How the client sent the request.
    pub scheme: ClientScheme,
    /// The name of the host that the request is for: in lower case, without a port and without a dot at its end. `None` if the request
    /// names none.
    pub host: Option<Box<str>>,
    /// The text of the request's `Accept-Language`. It is empty if the request has none, or if no module asks for it.
    pub accept_language: String,
}

impl ClientInfo {
    /// Returns the languages that the client wants, the most wanted first (RFC 9110, section 12.5.4). Entries that are malformed are passed
    /// over.
    pub fn languages(&self) -> Vec<String> {
        let mut wanted: Vec<(u16, &str)> = self.accept_language.split(',').filter_map(read_language).collect();
        // Languages of the same quality keep the client's order.
        wanted.sort_by_key(|(quality, _)| Reverse(*quality));
        wanted.into_iter().take(MAX_LANGUAGES).map(|(_, language)| language.to_owned()).collect()
    }
}

/// Reads an entry of `Accept-Language`, such as `de-AT;q=0.5`: its quality in thousandths, and the language. `None` for an entry that is
/// malformed, and for a language that the client refuses.
fn read_language(entry: &str) -> Option<(u16, &str)> {
    let mut parts = entry.split(';').map(str::trim);
    let language = parts.next().filter(|language| is_language_range(language))?;
    let quality = match (parts.next(), parts.next()) {
        (None, _) => 1000,
        (Some(weight), None) => read_quality(weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?)?,
        (Some(_), Some(_)) => return None,
    };
    (quality > 0).then_some((quality, language))
}

/// Whether a text is a language range: `*`, or subtags of 1 to 8 letters and digits (RFC 4647, section 2.1).
fn is_language_range(text: &str) -> bool {
    let is_subtag = |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text == "*" || text.split('-').all(is_subtag)
}

/// Reads a weight from `0` to `1` with at most three decimals, in thousandths (RFC 9110, section 12.4.2).
fn read_quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = is_number.then(|| format!("{decimals:0<3}").parse().ok())??;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_ordered_by_quality() {
        for (text, languages) in [
            ("", &[][..]),
            ("de", &["de"]),
            ("da, en-GB;q=0.8, en;q=0.7", &["da", "en-GB", "en"]),
            ("en;q=0.5,de;q=0.501 , fr; q=1.000", &["fr", "de", "en"]),
            ("a,b,c;q=1", &["a", "b", "c"]),
            ("*;q=0.1, zh-Hant-TW;Q=.5, pt;q=0.2", &["pt", "*"]),
            ("en;q=0, de;q=0.000, fr;q=0.001", &["fr"]),
            ("en;q=2, de;q=1.1, fr;q=0.1234, it;q=, es;x=1, nl;q=0.5;x, _;q=1, toolonglanguage, -, sv;q=-1", &[]),
            (",, ,", &[]),
        ] {
            let client = ClientInfo { accept_language: text.to_owned(), ..ClientInfo::default() };
            assert_eq!(client.languages(), languages, "{text}");
        }
        let many = ClientInfo { accept_language: "en,".repeat(1000), ..ClientInfo::default() };
        assert_eq!(many.languages().len(), MAX_LANGUAGES);
    }
}
