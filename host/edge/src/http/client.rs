//! Finds out what is known of the client of a request: its address, the host that it asks for, the languages that it wants. Trusted
//! proxies are asked for the first two.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Request, header};

use super::forwarded::{self, Forwarded};
use super::head;
use super::server::RequestBody;
use watertight_graph::routes::Door;
use watertight_store::ClientInfo;

/// Returns what is known of the client of a request. `None` if nothing of the application needs it.
pub(super) fn info(request: &Request<RequestBody>, door: &Door) -> Option<Arc<ClientInfo>> {
    let trusted = &door.config.trusted_proxies;
    if !door.needs_client() {
        return None;
    }
    let peer = request.body().connection().peer().ip().to_canonical();
    let headers = request.headers();
    let Forwarded { address, scheme, host } = forwarded::read(headers, peer, trusted);
    Some(Arc::new(ClientInfo {
        address,
        scheme: scheme.unwrap_or_default(),
        host: host.or_else(|| own_host(request)),
        accept_language: if door.has_context { accept_language(headers) } else { String::new() },
    }))
}

/// Returns the name of the host that a request names: by its target, or else by `Host` (RFC 9112, section 3.2.2).
fn own_host<B>(request: &Request<B>) -> Option<Box<str>> {
    let of_header = || request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    let named = request.uri().authority().map(|target| target.as_str().as_bytes()).or_else(of_header)?;
    head::host_name(named)
}

/// Returns the text of `Accept-Language`. Several fields form one list. A field with bytes that are no text counts as absent.
fn accept_language(headers: &HeaderMap) -> String {
    let fields = headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|field| field.to_str().ok());
    fields.collect::<Vec<_>>().join(",")
}
