//! Checks of a request's head that do not depend on the route. Both listeners run them before anything else (RFC 9110, 9112, 9113).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Method, Request, Uri, Version};
use percent_encoding::percent_decode_str;

use super::answer::HostProblem;
use super::details::{Failure, RequestFault};
use watertight_model::config::is_path_character;

/// The methods that a route can have. A method that is neither here nor in [`KNOWN`] is answered 501 (RFC 9110, section 9.1), unless a mount
/// takes it.
const IMPLEMENTED: [Method; 7] =
    [Method::GET, Method::POST, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Further methods that the listeners know: no route can have them, so a path is answered 405 with its methods. TRACE would show a client
/// what proxies added to its request.
const KNOWN: [&str; 2] = ["TRACE", "QUERY"];

/// Returns whether the listeners know a method: they tell for each path whether it takes the method.
pub fn is_known(method: &Method) -> bool {
    IMPLEMENTED.contains(method) || KNOWN.contains(&method.as_str())
}

/// Checks the method, the target, `Host` and the transfer codings of a request.
///
/// # Errors
///
/// 501 for a method or a transfer coding that is not known. 400, with every fault, for anything else.
pub fn check<B>(request: &Request<B>) -> Result<(), Failure> {
    check_for(request, |_| false)
}

/// Checks a request as [`check`] does. A method that is not known is no fault if `takes_method` says so for the normalized path. It
/// is never asked about CONNECT, which would make the connection a tunnel.
///
/// # Errors
///
/// See [`check`].
pub(super) fn check_for<B>(request: &Request<B>, takes_method: impl FnOnce(&str) -> bool) -> Result<(), Failure> {
    let method = request.method();
    let is_taken = || *method != Method::CONNECT && takes_method(&normalize_path(request.uri().path()));
    if !is_known(method) && !is_taken() {
        return Err(HostProblem::UnknownMethod.into());
    }
    // An empty `Vec` does not allocate, so a correct request costs nothing here.
    let mut faults = Vec::new();
    check_transfer_codings(request.headers(), &mut faults)?;
    check_host(request, &mut faults);
    check_target(request.method(), request.uri(), &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(HostProblem::Invalid(faults).into()) }
}

/// Checks that a request uses no transfer coding but `chunked`, and uses it at most once. hyper itself refuses a request whose last
/// coding is not `chunked`. HTTP/2 has no transfer codings.
fn check_transfer_codings(headers: &HeaderMap, faults: &mut Vec<RequestFault>) -> Result<(), Failure> {
    let mut chunked = 0;
    for value in headers.get_all(TRANSFER_ENCODING) {
        let codings = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for coding in codings.filter(|coding| !coding.is_empty()) {
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(HostProblem::UnknownTransferCoding.into());
            }
            chunked += 1;
        }
    }
    if chunked > 1 {
        faults.push(RequestFault::header(&TRANSFER_ENCODING, "`chunked` is given twice"));
    }
    Ok(())
}

/// Checks that a request names exactly one host: by `Host` or by its target. If both name one, the target counts (RFC 9112, sections 3.2
/// and 3.2.2; RFC 9113, section 8.3.1).
fn check_host<B>(request: &Request<B>, faults: &mut Vec<RequestFault>) {
    let mut given = request.headers().get_all(HOST).iter();
    let (host, another, target) = (given.next(), given.next(), request.uri().authority());
    let mut fault = |detail: &str| faults.push(RequestFault::header(&HOST, detail));
    if another.is_some() {
        return fault("it is given twice");
    }
    if target.is_some_and(|target| !is_authority(target.as_str().as_bytes())) {
        return fault("the host in the request target is not a valid host with an optional port");
    }
    match (host.map(axum::http::HeaderValue::as_bytes), target) {
        (Some(b""), Some(_)) if request.version() != Version::HTTP_2 => {}
        (Some(b""), _) => fault("it is empty"),
        (Some(host), _) if !is_authority(host) => fault("it is not a valid host with an optional port"),
        (Some(host), Some(target)) if request.version() == Version::HTTP_2 => {
            let port = default_port(request.uri());
            if !without_port(host, port).eq_ignore_ascii_case(without_port(target.as_str().as_bytes(), port)) {
                fault("it differs from the host in `:authority`");
            }
        }
        (Some(_), _) => {}
        (None, None) if request.version() == Version::HTTP_2 => fault("it is missing, and so is `:authority`"),
        (None, _) if request.version() == Version::HTTP_11 => fault("it is missing"),
        (None, _) => {}
    }
}

fn default_port(uri: &Uri) -> &'static [u8] {
    if uri.scheme_str() == Some("https") { b":443" } else { b":80" }
}

/// Returns an authority without its port, if that port is empty or the default of its scheme. `port` is `:` and the default.
fn without_port<'a>(authority: &'a [u8], port: &[u8]) -> &'a [u8] {
    authority.strip_suffix(port).or_else(|| authority.strip_suffix(b":")).unwrap_or(authority)
}

/// Returns whether a text is a host with or without a port (RFC 3986, sections 3.2.2 and 3.2.3). User information before the host is
/// refused: it is deprecated, because it can mislead people (RFC 9110, section 4.2.4).
fn is_authority(text: &[u8]) -> bool {
    let (is_host, port) = if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        (is_address(&rest[..end]), &rest[end + 1..])
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        (is_name(&text[..end]), &text[end..])
    };
    let is_port = match port.strip_prefix(b":") {
        Some(digits) => digits.iter().all(u8::is_ascii_digit) && digits.len() <= 5 && number(digits) <= 65_535,
        None => port.is_empty(),
    };
    is_host && is_port
}

/// Returns the name of the host in an authority: in lower case, without a port and without a dot at its end. `None` if the text is no
/// authority.
pub(crate) fn host_name(authority: &[u8]) -> Option<Box<str>> {
    if !is_authority(authority) {
        return None;
    }
    let text = std::str::from_utf8(authority).ok()?;
    // The brackets of an IPv6 address hold colons.
    let end = text.rfind(']').map_or_else(|| text.find(':').unwrap_or(text.len()), |bracket| bracket + 1);
    let name = &text[..end];
    Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into())
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Returns whether the text between the brackets of a host is an IPv6 address, or an address of a future version (RFC 3986, `IPvFuture`).
fn is_address(text: &[u8]) -> bool {
    if let Some(future) = text.strip_prefix(b"v").or_else(|| text.strip_prefix(b"V")) {
        let Some(dot) = future.iter().position(|byte| *byte == b'.') else { return false };
        let (version, address) = (&future[..dot], &future[dot + 1..]);
        let fits = |byte: &u8| *byte == b':' || is_name_byte(*byte);
        let are_digits = !version.is_empty() && version.iter().all(u8::is_ascii_hexdigit);
        return are_digits && !address.is_empty() && address.iter().all(fits);
    }
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_name_byte(*byte))
}

/// Returns whether a name of a host may have this byte. The percent sign is none: the name would have to be decoded, and no client sends one.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

fn check_target(method: &Method, uri: &Uri, faults: &mut Vec<RequestFault>) {
    let path = uri.path();
    let is_path = path.starts_with('/') || (path == "*" && *method == Method::OPTIONS);
    let is_http = uri.scheme_str().is_none_or(|scheme| scheme == "http" || scheme == "https");
    if !is_path || !is_http {
        faults.push(RequestFault::path("", "the request target is neither a path nor a URL with a path"));
        return;
    }
    let told = |text: &str, at: usize| {
        let found = &text[at..text.floor_char_boundary(at + 3)];
        format!("`{found}` is not a percent-encoded byte: two hexadecimal digits must follow `%`")
    };
    if let Some(at) = broken_percent(path.as_bytes()) {
        faults.push(RequestFault::path("", told(path, at)));
    }
    let query = uri.query().unwrap_or_default();
    if let Some(at) = broken_percent(query.as_bytes()) {
        let field = query[..at].rfind('&').map_or(query, |before| &query[before + 1..]);
        let name = field.split(['=', '&']).next().unwrap_or_default();
        faults.push(RequestFault::query(name, told(query, at)));
    }
}

/// Returns the position of the first `%` that is not followed by two hexadecimal digits.
fn broken_percent(text: &[u8]) -> Option<usize> {
    let mut percents = text.iter().enumerate().filter(|(_, byte)| **byte == b'%').map(|(at, _)| at);
    percents.find(|at| !text.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// Decodes the characters of a path that need no percent-encoding, so that two spellings of one path become equal (RFC 3986, section
/// 6.2.2.2): `/%62ig` becomes `/big`. A character whose meaning would change stays encoded, such as `%2F`.
pub fn normalize_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let encoded = rest.get(at..at + 3).unwrap_or(&rest[at..]);
        let mut decoded = percent_decode_str(encoded);
        match (decoded.next().map(char::from), decoded.next()) {
            (Some(character), None) if character != '%' && is_path_character(character) => plain.push(character),
            _ => plain.push_str(encoded),
        }
        rest = &rest[at + encoded.len()..];
    }
    plain.push_str(rest);
    plain.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use watertight_model::config;

    #[test]
    fn every_method_of_a_route_is_implemented_and_no_other() {
        let names: std::collections::BTreeSet<&str> = IMPLEMENTED.iter().map(Method::as_str).collect();
        assert_eq!(names, config::Method::ALL.iter().map(|method| method.as_str()).collect());
        for known in KNOWN {
            assert!(!names.contains(known), "{known}");
        }
        for other in ["CONNECT", "BREW", "get", "Get", "PROPFIND", "Trace", "query"] {
            assert!(!is_known(&Method::from_bytes(other.as_bytes()).expect("a token")), "{other}");
        }
    }

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "stock",
            "STOCK.example",
            "a_b",
            "127.0.0.1",
            "127.0.0.1:8080",
            "stock:",
            "stock:0",
            "[::1]",
            "[::1]:80",
            "[v1.a:b]",
            "xn--bcher-kva.example",
            "a.",
            "65536",
        ] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "a:b",
            "a:80:80",
            "a:99999",
            "a:123456",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "::1",
            "a\\b",
            "a%20b",
            "a%",
            "bücher",
            "a\"",
            "[v.a]",
            "[v1.]",
            "a,b:c",
            "<a>",
            "http://a",
        ] {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn the_name_of_a_host_has_no_port() {
        for (authority, name) in [
            ("API.Example.com", Some("api.example.com")),
            ("api.example.com:8080", Some("api.example.com")),
            ("api.example.com.:", Some("api.example.com")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(host_name(authority.as_bytes()).as_deref(), name, "{authority}");
        }
    }

    #[test]
    fn paths_that_mean_the_same_are_the_same() {
        for (path, plain) in [
            ("/big", "/big"),
            ("/%62ig", "/big"),
            ("/%62%69%67", "/big"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb%41", "/a%2fbA"),
            ("/%2541", "/%2541"),
            ("/%C3%A9", "/%C3%A9"),
            ("/a%3Ab%40%20", "/a:b@%20"),
            ("/%00%7f%ff", "/%00%7f%ff"),
            ("/%", "/%"),
            ("/%é", "/%é"),
        ] {
            assert_eq!(normalize_path(path), plain, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_path_decodes_to_the_same_and_is_plain(path in "(/|%2[0-9a-fA-F]|%[2-7][0-9a-f]|%|[a-c:é]){0,12}") {
            let plain = normalize_path(&path);
            let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
            if broken_percent(path.as_bytes()).is_none() {
                prop_assert_eq!(decode(&plain), decode(&path));
            }
            let again = normalize_path(&plain);
            prop_assert_eq!(&*again, &*plain);
        }
    }
}
