//! Reads what the door says to browsers: the tables `[[cors]]` of route files, and the keys of `[http]` that belong to a generation.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::answer::is_url_character;
use super::examples::Examples;
use super::host::{HostPattern, Located, read_host};
use super::mount::{MountPath, read_path};
use super::outbound::HostName;
use super::proxies::TrustedProxies;
use super::source::{LocatedValue, Source};
use super::tree::{Table, Value};
use crate::problem::{Code, Problem};

/// The table `[[cors]]`: what pages of other origins may do below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsConfig {
    /// The route file that has this table.
    pub file: Arc<Path>,
    /// The line of the table in its file, counted from 1.
    pub line: u32,
    /// The name of the host for which the table holds. `None` means every host that has no table of its own for the path.
    pub host: Option<HostPattern>,
    /// The path below which the table holds. The longest one counts.
    pub path: LocatedValue<MountPath>,
    /// What the pages may do.
    pub rules: CorsRules,
}

/// What pages of other origins may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRules {
    /// The origins of the pages.
    pub origins: CorsOrigins,
    /// The methods that requests may have. `None`: all that the path answers.
    pub methods: Option<Vec<Method>>,
    /// The headers that requests may have beside those that browsers always allow. `None`: all.
    pub headers: Option<Vec<HeaderName>>,
    /// The headers of answers that the pages may read beside those that browsers always show.
    pub expose: Vec<HeaderName>,
    /// Whether requests may carry cookies and other credentials. Default: false.
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight. Default: 10 minutes.
    pub max_age: Duration,
}

/// The origins that a table `[[cors]]` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// `*`: every origin.
    Any,
    /// These origins.
    These(Vec<CorsOrigin>),
}

/// An origin that a table `[[cors]]` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsOrigin {
    /// The scheme with `://`, such as `https://`.
    scheme: String,
    /// The host with its port, in lower case. For subdomains it begins with a dot.
    host: String,
    /// Whether the origin stands for all subdomains of the host, at any depth.
    is_suffix: bool,
}

impl CorsOrigin {
    /// Whether an origin, as browsers send it, is this one or a subdomain of it.
    pub fn allows(&self, origin: &str) -> bool {
        let Some(host) = origin.strip_prefix(&self.scheme) else { return false };
        if self.is_suffix { host.len() > self.host.len() && host.ends_with(&self.host) } else { host == self.host }
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        let (is_suffix, name) = match rest.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, rest),
        };
        let (host, port) = match name.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.contains(']') => (host, Some(port)),
            _ => (name, None),
        };
        let is_port = port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let is_host = !host.is_empty() && !host.contains(['*', '/', '?', '#', '@', ' ']) && host.is_ascii();
        // What a browser would write differently never comes: a default port, or another form of an address.
        let example = format!("{scheme}://{}{name}", if is_suffix { "x." } else { "" }).to_ascii_lowercase();
        let is_as_sent = !["http", "https"].contains(&scheme)
            || Url::parse(&example).is_ok_and(|url| url.origin().ascii_serialization() == example);
        if !is_scheme || !is_port || !is_host || !is_as_sent || HostName::new(host).to_string().is_empty() {
            return None;
        }
        let host = format!("{}{}", if is_suffix { "." } else { "" }, name.to_ascii_lowercase());
        Some(Self { scheme: format!("{scheme}://"), host, is_suffix })
    }
}

const MAX_AGE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

/// Reads a table `[[cors]]`. A part with a fault gets its default value. `host` is that of the file, and `earlier` are the tables that were
/// read before.
pub(super) fn read_cors(
    table: &mut Table<'_>,
    source: &Source,
    host: Option<&HostPattern>,
    earlier: &[CorsConfig],
) -> Option<CorsConfig> {
    let line = table.line();
    let host = read_host(table, host).flatten();
    let path = table
        .optional("path")
        .map_or_else(|| Some(LocatedValue { value: MountPath::root(), line }), |value| read_path(&value, "`[[cors]]`"));
    let origins = table.required("origins").and_then(|value| read_origins(&value));
    let methods = table.optional("methods").and_then(|value| read_list(&value, "a method", read_method));
    let headers = table.optional("headers").and_then(|value| read_list(&value, "the name of a header", read_name));
    let expose = table.optional("expose").and_then(|value| read_list(&value, "the name of a header", read_name));
    let credentials = table.optional("credentials");
    let has_credentials = credentials.as_ref().and_then(Value::boolean).unwrap_or(false);
    if let Some(credentials) = credentials.filter(|_| has_credentials && origins == Some(CorsOrigins::Any)) {
        let message = "`origins = [\"*\"]` with `credentials`: every page of the web could act in the name of a user";
        credentials.report(Problem::new(Code::BadValue, message).help("name the origins that may send credentials"));
    }
    let max_age = table.duration("max_age", MAX_AGE, Duration::from_secs(600));
    let path = path?;
    if let Some(other) = earlier.iter().find(|other| other.path.value == path.value && other.host == host) {
        let message = format!("the path `{}` has two tables `[[cors]]`", Located(host.as_ref(), &*path));
        let help = format!("the other table is at {}:{}", other.file.display(), other.line);
        source.report(line, Problem::new(Code::Duplicate, message).help(help));
    }
    let rules = CorsRules {
        origins: origins?,
        methods,
        headers,
        expose: expose.unwrap_or_default(),
        credentials: has_credentials,
        max_age,
    };
    Some(CorsConfig { file: source.path().clone(), line, host, path, rules })
}

fn read_origins(value: &Value<'_>) -> Option<CorsOrigins> {
    let list = value.list()?;
    if let [one] = &list[..]
        && one.is_word("*")
    {
        return Some(CorsOrigins::Any);
    }
    if list.is_empty() {
        value.refuse("no origin is named: leave the table out, or name one");
        return None;
    }
    let origin = |value: &Value<'_>| {
        let text = value.string()?;
        let origin = CorsOrigin::parse(text);
        if origin.is_none() {
            value.refuse(format_args!(
                "`{text}` is no origin: write it as browsers do, without a default port, such as `https://www.example.com`, \
                 `https://*.example.com` or `http://localhost:5173`; `*` stands alone"
            ));
        }
        origin
    };
    Some(CorsOrigins::These(list.iter().filter_map(origin).collect()))
}

fn read_list<T>(value: &Value<'_>, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let one = |value: &Value<'_>| {
        let text = value.string()?;
        let found = read(text);
        if found.is_none() {
            value.refuse(format_args!("`{text}` is not {what}"));
        }
        found
    };
    Some(value.list()?.iter().filter_map(one).collect())
}

fn read_method(text: &str) -> Option<Method> {
    text.parse::<Method>().ok().filter(|method| !method.as_str().bytes().any(|b| b.is_ascii_lowercase()))
}

fn read_name(text: &str) -> Option<HeaderName> {
    text.parse().ok()
}

/// The headers that `security_headers = true` adds to answers that don't have them. `Strict-Transport-Security` is none of them: a proxy that
/// ends TLS knows whether all of a host is served by it.
const SECURITY_HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", "default-src 'self'; frame-ancestors 'none'; object-src 'none'; base-uri 'self'"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// The keys of `[http]` that belong to a generation, so that they take effect with `apply`, and what else clients learn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoorConfig {
    /// Headers that are added to answers that don't have them: the key `security_headers`.
    pub added_headers: AddedHeaders,
    /// Whether answers are compressed for clients that take it: the key `compression`. Default: false, since a proxy often does it.
    pub compression: bool,
    /// The proxies whose word counts about the clients of requests: the key `trusted_proxies`.
    pub trusted_proxies: TrustedProxies,
    /// Whether the data listener serves the OpenAPI document: the key `openapi`. Default: false, since it is for clients that an operator
    /// chooses.
    pub openapi: bool,
    /// Examples of calls, from the files that `app.examples` names. The OpenAPI document shows them.
    pub examples: Examples,
    /// The start of the `type` of every problem that answers report; the problem's name follows. Default: `/problems/`.
    pub problems: Option<String>,
}

impl DoorConfig {
    /// Reads the keys of the table `[http]`.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let mut flag = |key| table.optional(key).and_then(|value| value.boolean()).unwrap_or(false);
        let (compression, openapi) = (flag("compression"), flag("openapi"));
        let problems = table.optional("problems").and_then(|value| read_problem_base(&value));
        let trusted_proxies = TrustedProxies::read(table);
        Self {
            added_headers: read_security_headers(table),
            compression,
            openapi,
            problems,
            trusted_proxies,
            examples: Examples::default(),
        }
    }
}

/// Reads the key `problems`: the start of a URL, to which names of problems are added.
fn read_problem_base(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let is_start = text.ends_with(['/', '#', '=', ':']) && text.chars().all(is_url_character);
    if !is_start {
        value.refuse(format_args!(
            "`{}` is not the start of a URL, such as `https://example.com/problems/`: it ends with `/`, `#`, `=` or `:`",
            text.escape_debug()
        ));
        return None;
    }
    Some(text.to_owned())
}

/// Headers that are added to answers that don't have them.
pub type AddedHeaders = Vec<(HeaderName, HeaderValue)>;

/// Reads the key `security_headers`: `true`, or a table that changes or leaves out single ones.
fn read_security_headers(table: &mut Table<'_>) -> AddedHeaders {
    let Some(value) = table.optional("security_headers") else { return AddedHeaders::new() };
    let standard = SECURITY_HEADERS
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    if !value.is_table() {
        return if value.boolean() == Some(true) { standard.collect() } else { AddedHeaders::new() };
    }
    let mut headers: AddedHeaders = standard.collect();
    for (key, value) in value.table(Table::entries).unwrap_or_default() {
        let Ok(name) = key.parse::<HeaderName>() else {
            value.refuse(format_args!("`{key}` is not the name of a header"));
            continue;
        };
        headers.retain(|(known, _)| *known != name);
        if value.is_false() {
            continue;
        }
        let Some(text) = value.string() else { continue };
        match text.parse::<HeaderValue>() {
            Ok(text) => headers.push((name, text)),
            Err(_) => value.refuse(format_args!("`{}` is not text that a header can hold", text.escape_debug())),
        }
    }
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    headers
}
