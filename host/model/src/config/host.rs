//! Reads the key `host` of route files: the name of the host for which a table of theirs holds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::tree::Table;

/// Greatest length of a name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
/// Greatest length of a part of a name, in bytes.
const MAX_LABEL: usize = 63;

/// The name of a host, in lower case: `api.example.com`, or `*.example.com` for all names below that one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// Returns the name, with `*.` where it stands for all names below it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the end that all of its names have, such as `.example.com`. `None` if it is one name.
    pub fn suffix(&self) -> Option<&str> {
        self.0.strip_prefix('*')
    }

    /// Whether `host` is this name or one of its names. `host` must be in lower case and have no port.
    pub fn matches(&self, host: &str) -> bool {
        match self.suffix() {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => *host == *self.0,
        }
    }

    /// Whether some host has both names.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.suffix(), other.suffix()) {
            (Some(one), Some(another)) => one.ends_with(another) || another.ends_with(one),
            (_, None) => self.matches(&other.0),
            (None, Some(_)) => other.matches(&self.0),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason that a text is not the name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadHost {
    #[error("`{0}` has letters beyond ASCII: write the name as punycode, such as `xn--bcher-kva.example`")]
    NotAscii(String),
    #[error("`*` stands for every host: leave the key out")]
    Any,
    #[error(
        "`{0}` is not the name of a host, such as `api.example.com` or `*.example.com`, without a scheme, a port and a path"
    )]
    NotAName(String),
}

impl FromStr for HostPattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        if !text.is_ascii() {
            return Err(BadHost::NotAscii(text.to_owned()));
        }
        if text == "*" {
            return Err(BadHost::Any);
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(is_fit);
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return Err(BadHost::NotAName(text.to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

/// Reads the key `host` of a table. A table without it has the host of its file, if that has one. Returns `None` if the value has a fault.
pub(super) fn read_host(table: &mut Table<'_>, of_file: Option<&HostPattern>) -> Option<Option<HostPattern>> {
    match table.optional("host") {
        Some(value) => Some(Some(value.parse()?.value)),
        None => Some(of_file.cloned()),
    }
}

/// A path with the host for which it holds, as messages and plans show it: `api.example.com/items`, or `/items` for every host.
pub(super) struct Located<'a, P>(pub(super) Option<&'a HostPattern>, pub(super) P);

impl<P: fmt::Display> fmt::Display for Located<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.map(HostPattern::as_str).unwrap_or_default();
        write!(f, "{host}{}", self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        text.parse().expect("a name")
    }

    #[test]
    fn a_name_matches_itself_or_what_is_below_it() {
        for (pattern, name, expected) in [
            ("API.example.com", "api.example.com", true),
            ("api.example.com", "v1.api.example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(host(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn names_overlap_if_a_host_can_have_both() {
        for (one, other, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "b", false),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*.b", "*.a.b", true),
            ("*.b", "*.ab", false),
        ] {
            assert_eq!(host(one).overlaps(&host(other)), expected, "{one} {other}");
            assert_eq!(host(other).overlaps(&host(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", ".", "a.", ".a", "a..b", "a b", "a/b", "a:80", "http://a", "*a.b", "a.*", "*.", "*.*.a", "[::1]"]
        {
            assert_eq!(text.parse::<HostPattern>(), Err(BadHost::NotAName(text.to_owned())));
        }
        for long in ["a".repeat(64), ["a"; 128].join(".")] {
            assert!(matches!(long.parse::<HostPattern>(), Err(BadHost::NotAName(_))), "{long}");
        }
        assert!(matches!("bücher.example".parse::<HostPattern>(), Err(BadHost::NotAscii(_))));
        assert_eq!("*".parse::<HostPattern>(), Err(BadHost::Any));
    }
}
