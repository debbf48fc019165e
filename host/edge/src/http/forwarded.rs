//! Reads what proxies say of the client of a request: `Forwarded` (RFC 7239), or `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! Each proxy appends to what it got, so the lists are read from their ends, and only as far as trusted proxies wrote them. What stands
//! before that may come from the client, and changes nothing.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};

use super::head;
use watertight_model::config::TrustedProxies;
use watertight_store::ClientScheme;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The greatest number of trusted proxies that a request may have passed. A longer list counts as malformed.
const MAX_HOPS: usize = 32;

/// What is known of a client with the help of proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// The address of the client. `None` if a proxy hides it.
    pub(super) address: Option<IpAddr>,
    /// How the client sent the request, if a proxy says it.
    pub(super) scheme: Option<ClientScheme>,
    /// The name of the host that the client asked for, if a proxy says it.
    pub(super) host: Option<Box<str>>,
}

/// The sender of a request, as a proxy names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Address(IpAddr),
    /// `unknown`, or a name that only the proxy understands.
    Hidden,
}

/// Returns what is known of the client of a request with these headers, which `peer` sent to this host.
///
/// The client is the last sender that is no trusted proxy, or the first of all if all are trusted. If the list is malformed as far as it
/// counts, or `peer` is not trusted, the client is `peer`.
pub(super) fn read(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> Forwarded {
    let plain = Forwarded { address: Some(peer), scheme: None, host: None };
    if !trusted.contains(peer) {
        return plain;
    }
    if headers.contains_key(&FORWARDED) {
        return read_forwarded(headers, plain.clone(), trusted).unwrap_or(plain);
    }
    Forwarded {
        address: read_forwarded_for(headers, peer, trusted).unwrap_or(plain.address),
        scheme: last(headers, &X_FORWARDED_PROTO).and_then(read_scheme),
        host: last(headers, &X_FORWARDED_HOST).and_then(|host| head::host_name(host.as_bytes())),
    }
}

/// Reads the fields `Forwarded`. `found` is what is known without them. Returns `None` if they are malformed.
fn read_forwarded(headers: &HeaderMap, mut found: Forwarded, trusted: &TrustedProxies) -> Option<Forwarded> {
    let mut hops = 0;
    for field in headers.get_all(&FORWARDED).iter().rev() {
        let mut rest = Some(field.to_str().ok()?);
        while let Some(list) = rest {
            let (before, element) = split_last(list);
            rest = before;
            if element.trim().is_empty() {
                continue;
            }
            hops += 1;
            if hops > MAX_HOPS {
                return None;
            }
            let Element { node, scheme, host } = read_element(element)?;
            found.scheme = scheme.or(found.scheme);
            found.host = host.or(found.host);
            match node {
                Some(Node::Address(address)) => {
                    found.address = Some(address);
                    if !trusted.contains(address) {
                        return Some(found);
                    }
                }
                Some(Node::Hidden) => return Some(Forwarded { address: None, ..found }),
                None => return Some(found),
            }
        }
    }
    Some(found)
}

/// Reads the fields `X-Forwarded-For`. Returns the address of the client, which may be hidden. Returns `None` if the fields are malformed.
fn read_forwarded_for(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> Option<Option<IpAddr>> {
    let (mut found, mut hops) = (peer, 0);
    for field in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
        let nodes = field.to_str().ok()?.rsplit(',').map(str::trim).filter(|node| !node.is_empty());
        for node in nodes {
            hops += 1;
            if hops > MAX_HOPS {
                return None;
            }
            let node = match node.parse::<Ipv6Addr>() {
                // Without brackets, which only `Forwarded` asks for.
                Ok(address) => Node::Address(IpAddr::V6(address).to_canonical()),
                Err(_) => read_node(node)?,
            };
            match node {
                Node::Address(address) if trusted.contains(address) => found = address,
                Node::Address(address) => return Some(Some(address)),
                Node::Hidden => return Some(None),
            }
        }
    }
    Some(Some(found))
}

/// Returns the last value of a header: what the nearest proxy says.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let field = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(field.rsplit_once(',').map_or(field, |(_, last)| last).trim())
}

/// What one proxy says, in one element of `Forwarded`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    node: Option<Node>,
    scheme: Option<ClientScheme>,
    host: Option<Box<str>>,
}

/// Splits the last element off a list: what stands behind the last comma outside of quotes. The first part is `None` if there is no comma.
///
/// Quotes are counted from the end, so that a quote which the client leaves open does not reach into what a proxy appended.
fn split_last(list: &str) -> (Option<&str>, &str) {
    let bytes = list.as_bytes();
    let is_escaped = |at: usize| bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let mut is_quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' if !is_escaped(at) => is_quoted = !is_quoted,
            b',' if !is_quoted => return (Some(&list[..at]), &list[at + 1..]),
            _ => {}
        }
    }
    (None, list)
}

/// Reads an element: pairs of a name and a value, separated by semicolons. Returns `None` if it is malformed.
fn read_element(text: &str) -> Option<Element> {
    let mut element = Element::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_start();
        let (value, after) = read_value(after)?;
        if !is_token(name) {
            return None;
        }
        // A parameter must not be there twice. Parameters that are not known are passed over.
        if name.eq_ignore_ascii_case("for") {
            set(&mut element.node, read_node(&value)?)?;
        } else if name.eq_ignore_ascii_case("host") {
            set(&mut element.host, head::host_name(value.as_bytes())?)?;
        } else if let Some(scheme) = read_scheme(&value).filter(|_| name.eq_ignore_ascii_case("proto")) {
            set(&mut element.scheme, scheme)?;
        }
        rest = match after.trim_start() {
            "" => "",
            after => after.strip_prefix(';')?.trim_start_matches([';', ' ', '\t']),
        };
    }
    Some(element)
}

/// Sets a value that has none yet.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Reads the value at the beginning of a text: a token, or a text in quotes. Returns it with the rest of the text.
fn read_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return is_token(value).then_some((value.into(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value.into(), &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fit)
}

/// Reads the sender of a request, with or without a port (RFC 7239, section 6). Returns `None` if it is malformed.
fn read_node(text: &str) -> Option<Node> {
    let (name, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(bracketed) => bracketed?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    if text.starts_with('[') {
        return Some(Node::Address(IpAddr::V6(name.parse::<Ipv6Addr>().ok()?).to_canonical()));
    }
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Some(Node::Address(address.into()));
    }
    (name.eq_ignore_ascii_case("unknown") || is_obfuscated(name)).then_some(Node::Hidden)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) || is_obfuscated(text)
}

/// Whether a text is a name that only a proxy understands, such as `_gazonk` (RFC 7239, section 6.3).
fn is_obfuscated(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.strip_prefix('_').is_some_and(|name| !name.is_empty() && name.bytes().all(is_fit))
}

/// Reads the name of a scheme. `None` for any other than `http` and `https`.
fn read_scheme(text: &str) -> Option<ClientScheme> {
    [ClientScheme::Http, ClientScheme::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(text: &str) -> Option<Node> {
        read_node(text)
    }

    #[test]
    fn senders_are_read_as_the_standard_has_them() {
        let address = |text: &str| Some(Node::Address(text.parse().expect("an address")));
        for (text, expected) in [
            ("192.0.2.43", address("192.0.2.43")),
            ("192.0.2.43:47011", address("192.0.2.43")),
            ("192.0.2.43:_port", address("192.0.2.43")),
            ("[2001:db8::17]", address("2001:db8::17")),
            ("[2001:db8::17]:4711", address("2001:db8::17")),
            ("[::ffff:192.0.2.1]", address("192.0.2.1")),
            ("unknown", Some(Node::Hidden)),
            ("Unknown:80", Some(Node::Hidden)),
            ("_SEVKISEK", Some(Node::Hidden)),
            ("_a.b-c:1", Some(Node::Hidden)),
            ("", None),
            ("_", None),
            ("hidden", None),
            ("192.0.2", None),
            ("192.0.2.43:", None),
            ("192.0.2.43:123456", None),
            ("192.0.2.43 ", None),
            ("2001:db8::17", None),
            ("[2001:db8::17", None),
            ("[2001:db8::17]4711", None),
            ("[192.0.2.1]", None),
            ("[fe80::1%eth0]", None),
        ] {
            assert_eq!(node(text), expected, "{text}");
        }
    }

    #[test]
    fn elements_are_read_as_the_standard_has_them() {
        let hidden =
            |scheme, host: Option<&str>| Some(Element { node: Some(Node::Hidden), scheme, host: host.map(Into::into) });
        for (text, expected) in [
            ("for=\"_gazonk\"", hidden(None, None)),
            (
                "For=_a;PROTO=Https;by=203.0.113.43;host=\"A.example:80\"",
                hidden(Some(ClientScheme::Https), Some("a.example")),
            ),
            (" for=_a ; proto=ftp;;x=\"a;b=\\\"c\" ; ", hidden(None, None)),
            ("for=\"\\_\\a\"", hidden(None, None)),
            ("secret=1", Some(Element::default())),
            ("for=_a;for=_b", None),
            ("for=\"_a", None),
            ("for=\"_a\"b", None),
            ("for=_a proto=http", None),
            ("for=", None),
            ("for", None),
            ("=_a", None),
            ("for =_a", None),
            ("for=2001:db8::17", None),
            ("for=_a;host=\"a b\"", None),
            ("for=\"_a\\", None),
        ] {
            assert_eq!(read_element(text), expected, "{text}");
        }
    }

    #[test]
    fn a_list_is_split_from_its_end() {
        for (list, before, last) in [
            ("a", None, "a"),
            ("a,b", Some("a"), "b"),
            ("a,\"b,c\"", Some("a"), "\"b,c\""),
            ("a,\"b\\\",c\"", Some("a"), "\"b\\\",c\""),
            ("a,\"b\\\\\"", Some("a"), "\"b\\\\\""),
            ("x=\",y", Some("x=\""), "y"),
            ("a,\"b", None, "a,\"b"),
            ("a,", Some("a"), ""),
        ] {
            assert_eq!(split_last(list), (before, last), "{list}");
        }
    }

    proptest! {
        /// Whatever a client sends, what a proxy appended counts.
        #[test]
        fn a_client_changes_nothing_of_what_a_proxy_says(own in "[a-z=;,\"\\\\ .0-9\\[\\]:_]{0,40}") {
            let said = format!("{own}, for=\"192.0.2.43:1\";host=\"a.example\"");
            let (_, element) = split_last(&said);
            let read = read_element(element).expect("what the proxy wrote is well-formed");
            prop_assert_eq!(read.node, Some(Node::Address("192.0.2.43".parse().expect("an address"))));
        }

        #[test]
        fn no_text_panics(text in "(for=|[a-z=;,\"\\\\ .0-9\\[\\]:_é]){0,40}") {
            let _ = (split_last(&text), read_element(&text), read_node(&text));
        }
    }
}
