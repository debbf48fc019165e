//! The page that shows the OpenAPI document of the generation and tries its operations: Swagger UI, and a script that asks for the admin
//! token.
//!
//! The page's files are open, because a browser can't send the token for them. They are the same for every application. The document and
//! the tries require the token.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::{AdminApi, guard};
use crate::http::details::Failure;
use crate::http::{answer, head, media};
use watertight_openapi::format::OpenApi;

/// What a page may load and do. Scripts and styles are files of the listener. Swagger UI has pictures in its styles as `data:`, and shows
/// pictures of answers as `blob:`.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The content security policy of documents and of answers to tries. A browser that shows one as a page runs nothing of it.
const DATA_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";
/// The header that says which pages may load a response (Fetch standard).
static RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The entity tag of all files. They change only with the binary.
const TAG: &str = env!("WATERTIGHT_PAGE_TAG");

/// A file of the page, compressed by gzip.
struct PageFile {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

/// Makes a [`PageFile`] of a file that the build script compressed.
macro_rules! file {
    ($path:literal, $name:literal, $media_type:literal) => {
        PageFile {
            path: $path,
            media_type: $media_type,
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        }
    };
}

static FILES: [PageFile; 5] = [
    file!("/openapi", "index.html", "text/html; charset=utf-8"),
    file!("/openapi/page.css", "page.css", "text/css; charset=utf-8"),
    file!("/openapi/page.js", "page.js", "text/javascript; charset=utf-8"),
    file!("/openapi/swagger-ui.css", "swagger-ui.css", "text/css; charset=utf-8"),
    file!("/openapi/swagger-ui-bundle.js", "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
];

/// Returns the routes of the page's files.
pub(super) fn files() -> Router<Arc<AdminApi>> {
    let routes = FILES.iter().map(|file| (file.path, file.route()));
    routes
        .fold(Router::new(), |router, (path, route)| router.route(path, route))
        .route_layer(middleware::from_fn(guard::refuse_query))
}

impl PageFile {
    fn route(&'static self) -> MethodRouter<Arc<AdminApi>> {
        get(move |headers: HeaderMap| async move { self.answer(&headers) })
    }

    /// Answers a request that has these headers.
    fn answer(&'static self, asked: &HeaderMap) -> Result<Response, Failure> {
        let mut response = Response::new(Body::empty());
        if answer::is_known(asked, TAG) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if takes_gzip(asked) {
            *response.body_mut() = Body::from(Bytes::from_static(self.bytes));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        } else {
            let detail = "the files of the page are sent compressed; let `Accept-Encoding` allow `gzip`";
            return Err(Failure::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail));
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, HeaderValue::from_static(TAG));
        // A browser asks each time, and the answer is 304 until another binary runs.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        protect(headers, PAGE_POLICY);
        Ok(response)
    }
}

/// Adds the headers that keep a response which is no page from caches, and from being one.
pub(super) fn protect_data(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    protect(headers, DATA_POLICY);
}

/// Adds the headers that keep a response from other pages and from guesses about its type.
fn protect(headers: &mut HeaderMap, policy: &'static str) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(&RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

/// Whether the client takes a response that is compressed by gzip (RFC 9110, section 12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    if !asked.contains_key(ACCEPT_ENCODING) {
        return true;
    }
    let weight = |name: &str| {
        let values = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).find_map(|coding| {
            let (coding, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            coding.trim().eq_ignore_ascii_case(name).then(|| weight.unwrap_or_default())
        })
    };
    weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

/// Answers `GET /openapi/document.json`: the document of the current generation, with the address of the data listener.
pub(super) async fn document(State(admin): State<Arc<AdminApi>>, request: Request) -> Response {
    let generation = admin.control.runtime().current();
    let address = admin.tries.address(request.headers().get(HOST).and_then(|host| head::host_name(host.as_bytes())));
    // A document of many routes takes milliseconds, which would hold up other requests of this thread.
    let text = tokio::task::block_in_place(|| {
        let mut document = OpenApi::new(&generation.graph, &generation.routes);
        document.set_server(&address);
        document.to_json()
    });
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media::JSON));
    protect_data(headers);
    response
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn compressed_files_are_for_clients_that_take_them() {
        for (accepted, expected) in [
            ("gzip", true),
            ("GZip", true),
            ("br, gzip;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("identity", false),
            ("", false),
            ("gzip;q=0", false),
            ("gzip; q=0, *", false),
            ("br, *;q=0", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(takes_gzip(&headers), expected, "{accepted}");
        }
        assert!(takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn files_that_a_client_has_are_not_sent_again() {
        for (known, expected) in [(TAG, true), ("*", true), ("\"other\"", false), ("", false)] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(known).expect("header text"))]);
            assert_eq!(answer::is_known(&headers, TAG), expected, "{known}");
        }
        let several = format!("\"other\", W/{TAG}");
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(&several).expect("header text"))]);
        assert!(answer::is_known(&headers, TAG));
    }
}
