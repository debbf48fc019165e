//! What a module may ask of other hosts: `[modules.NAME.http]`.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ::http::uri::Authority;

use super::tree::Table;

/// Where a module's requests may go, and what each may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Where they may go. Nowhere by default.
    pub allow: Vec<Allowed>,
    /// Whether a name may stand for an address that isn't reachable from everywhere: loopback, private, link-local. It may not by
    /// default; an address that `allow` names itself always may.
    pub private: bool,
    /// How long one may take, from its start to the last byte of its answer. 10 seconds by default; never longer than its call.
    pub timeout: Duration,
    /// Bytes of a request's body. 1 MiB by default.
    pub request: u64,
    /// Bytes of an answer's body. 16 MiB by default.
    pub response: u64,
    /// Requests of the module that are under way at once, until their answers are read. 64 by default.
    pub concurrent: u32,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            private: false,
            timeout: Duration::from_secs(10),
            request: 1 << 20,
            response: 16 << 20,
            concurrent: 64,
        }
    }
}

impl Outbound {
    const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
    const SIZE: RangeInclusive<u64> = 0..=1 << 30;
    const CONCURRENT: RangeInclusive<u32> = 1..=10_000;

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        let allow = table.optional("allow").and_then(|value| value.list()).unwrap_or_default();
        Self {
            allow: allow.iter().filter_map(|value| Some(value.parse()?.value)).collect(),
            private: table.optional("private").and_then(|value| value.truth()).unwrap_or(base.private),
            timeout: table.duration("timeout", Self::TIMEOUT, base.timeout),
            request: table.size("request", Self::SIZE, base.request),
            response: table.size("response", Self::SIZE, base.response),
            concurrent: table.count("concurrent", Self::CONCURRENT, base.concurrent),
        }
    }
}

/// A scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The port that goes without saying.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A host: what a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// An address.
    Address(IpAddr),
    /// A name, in small letters and without a dot at its end.
    Name(String),
}

impl HostName {
    /// A host as a URL has it; an IPv6 address in brackets.
    pub fn new(text: &str) -> Self {
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match address.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Name(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where requests go: `https://api.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// How.
    pub scheme: Scheme,
    /// Where.
    pub host: HostName,
    /// The port, said or not.
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{scheme}://{host}")?;
        if *port == scheme.port() { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// An entry of an allow-list: an origin, or all those below a name, `https://*.example.com:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    origin: Origin,
    /// Whether hosts below the name are meant, rather than the name itself.
    below: bool,
}

impl Allowed {
    /// Whether requests may go there.
    pub fn permits(&self, to: &Origin) -> bool {
        let host = match (&self.origin.host, &to.host) {
            (HostName::Name(name), HostName::Name(host)) if self.below => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (allowed, host) => allowed == host,
        };
        host && self.origin.scheme == to.scheme && self.origin.port == to.port
    }

    /// Whether it is for `https`.
    pub fn is_https(&self) -> bool {
        self.origin.scheme == Scheme::Https
    }
}

/// Why a text is no entry of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scheme, a host and perhaps a port, such as `https://api.example.com` or `https://*.example.com:8443`"
)]
pub struct BadOrigin(String);

impl FromStr for Allowed {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let read = || {
            let (scheme, rest) = match text.split_once("://")? {
                ("http", rest) => (Scheme::Http, rest),
                ("https", rest) => (Scheme::Https, rest),
                _ => return None,
            };
            let (rest, below) = rest.strip_prefix("*.").map_or((rest, false), |rest| (rest, true));
            let authority: Authority = rest.parse().ok()?;
            let name = authority.host();
            if name.is_empty() || name.contains('*') || rest.contains('@') {
                return None;
            }
            // What follows the host is a port or nothing.
            let port = match rest.strip_prefix(name)? {
                "" => scheme.port(),
                port => port.strip_prefix(':')?.parse().ok()?,
            };
            let host = HostName::new(name);
            let is_name = matches!(&host, HostName::Name(name) if !name.is_empty());
            (is_name || !below).then_some(Self { origin: Origin { scheme, host, port }, below })
        };
        read().ok_or_else(|| BadOrigin(text.to_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn origin(scheme: Scheme, host: &str, port: u16) -> Origin {
        Origin { scheme, host: HostName::new(host), port }
    }

    #[test]
    fn an_entry_permits_what_it_says_and_nothing_else() {
        use Scheme::{Http, Https};
        let cases = [
            ("https://api.example.com", origin(Https, "API.example.com.", 443), true),
            ("https://api.example.com:443", origin(Https, "api.example.com", 443), true),
            ("https://api.example.com", origin(Https, "api.example.com", 8443), false),
            ("https://api.example.com", origin(Http, "api.example.com", 443), false),
            ("https://api.example.com", origin(Https, "api.example.com.evil.com", 443), false),
            ("https://api.example.com", origin(Https, "x.api.example.com", 443), false),
            ("https://*.example.com:8443", origin(Https, "a.example.com", 8443), true),
            ("https://*.example.com:8443", origin(Https, "a.b.example.com", 8443), true),
            ("https://*.example.com:8443", origin(Https, "example.com", 8443), false),
            ("https://*.example.com:8443", origin(Https, ".example.com", 8443), false),
            ("https://*.example.com:8443", origin(Https, "evilexample.com", 8443), false),
            ("http://127.0.0.1:8099", origin(Http, "127.0.0.1", 8099), true),
            ("http://127.0.0.1:8099", origin(Http, "localhost", 8099), false),
            ("http://[::1]:8099", origin(Http, "[0:0::1]", 8099), true),
        ];
        for (entry, to, expected) in cases {
            assert_eq!(entry.parse::<Allowed>().unwrap().permits(&to), expected, "{entry} {to}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "http://",
            "http://*",
            "http://*.",
            "https://a.com/",
            "https://a.com/path",
            "https://u@a.com",
            "https://a.com:",
            "https://a.com:x",
            "https://a.com:99999",
            "https://a.*.com",
            "https://*.1.2.3.4",
            "https://a.com?q",
            "HTTPS://a.com",
        ] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
    }
}
