//! Reads `[modules.NAME.http]`: which requests a module may send to other hosts.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ::http::uri::Authority;

use super::capability::ReadSettings;
use super::tree::Table;

/// The destinations and limits of a module's requests to other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundConfig {
    /// The other hosts that the module may send requests to: the key `allow`. Default: none.
    pub allow: Vec<AllowedOrigin>,
    /// Whether a name in `allow` may resolve to an address that is not public: loopback, private or link-local. Default: false. An address
    /// that `allow` contains itself is always permitted.
    pub private: bool,
    /// Greatest time of one request, from its start to the last byte of the answer. Default: 10 seconds. A request also ends at the
    /// deadline of the call that sends it.
    pub timeout: Duration,
    /// Greatest size of a request's body, in bytes. Default: 1 MiB.
    pub request: u64,
    /// Greatest size of an answer's body, in bytes. Default: 16 MiB.
    pub response: u64,
    /// Greatest number of the module's requests at once. A request counts until its answer is read. Default: 64.
    pub concurrent: u32,
}

impl Default for OutboundConfig {
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

impl OutboundConfig {
    /// The largest number of connections that the host keeps open for further requests of one module, in each generation.
    pub const MAX_POOLED: u32 = 64;

    const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
    const SIZE: RangeInclusive<u64> = 0..=1 << 30;
    const CONCURRENT: RangeInclusive<u32> = 1..=10_000;
}

impl ReadSettings for OutboundConfig {
    fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        let allow = table.optional("allow").and_then(|value| value.list()).unwrap_or_default();
        Self {
            allow: allow.iter().filter_map(|value| Some(value.parse()?.value)).collect(),
            private: table.optional("private").and_then(|value| value.boolean()).unwrap_or(base.private),
            timeout: table.duration("timeout", Self::TIMEOUT, base.timeout),
            request: table.size("request", Self::SIZE, base.request),
            response: table.size("response", Self::SIZE, base.response),
            concurrent: table.count("concurrent", Self::CONCURRENT, base.concurrent),
        }
    }
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP without encryption.
    Http,
    /// HTTP with TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme's default port.
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

/// The host to which a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// A host that is given as an IP address.
    Address(IpAddr),
    /// A host that is given as a domain name, in lower case and without a dot at its end.
    Name(String),
}

impl HostName {
    /// Reads the host part of a URL, where an IPv6 address stands in brackets.
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

/// The destination of a request: `https://api.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The scheme: `http` or `https`.
    pub scheme: Scheme,
    /// The host to which requests go.
    pub host: HostName,
    /// The port: the given one, or the scheme's default.
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{scheme}://{host}")?;
        if *port == scheme.port() { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// An entry of `allow`: one origin, or all hosts below a name, as in `https://*.example.com:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin {
    origin: Origin,
    /// Whether the entry permits the hosts below the name instead of the name itself.
    subdomains_only: bool,
}

impl AllowedOrigin {
    /// Whether the entry permits requests to the destination `to`.
    pub fn permits(&self, to: &Origin) -> bool {
        let host = match (&self.origin.host, &to.host) {
            (HostName::Name(name), HostName::Name(host)) if self.subdomains_only => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (allowed, host) => allowed == host,
        };
        host && self.origin.scheme == to.scheme && self.origin.port == to.port
    }

    /// Whether the entry's scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.origin.scheme == Scheme::Https
    }
}

/// The error that a text is not a valid entry of `allow`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scheme, a host and perhaps a port, such as `https://api.example.com` or `https://*.example.com:8443`"
)]
pub struct BadOrigin(String);

impl FromStr for AllowedOrigin {
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
            // Only a port may follow the host.
            let port = match rest.strip_prefix(name)? {
                "" => scheme.port(),
                port => port.strip_prefix(':')?.parse().ok()?,
            };
            let host = HostName::new(name);
            let is_name = matches!(&host, HostName::Name(name) if !name.is_empty());
            (is_name || !below).then_some(Self { origin: Origin { scheme, host, port }, subdomains_only: below })
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
            assert_eq!(entry.parse::<AllowedOrigin>().unwrap().permits(&to), expected, "{entry} {to}");
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
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }
}
