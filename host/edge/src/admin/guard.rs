//! The middleware of the admin listener: it checks each request's head and completes each response.
//!
//! Handlers return a [`Failure`] unchanged. The middleware turns it into problem details, because only here the request's id is known.
//! Errors of the router itself become problem details too.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;

use super::AdminApi;
use crate::http::access::{Line, method_name};
use crate::http::answer::HostProblem;
use crate::http::details::{Failure, MEDIA_TYPE, RequestFault};
use crate::http::panics::{PanicMessage, catch_panic};
use crate::http::{REQUEST_ID, drop_body, head, request_id};
use watertight_disk::failpoint::panic_point;
use watertight_telemetry::logged_path;

/// The header in which browsers say whose page sends a request (Fetch Metadata).
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The id of a request. The middleware adds it to the request's extensions, where handlers find it.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Checks a request's head, calls the handler, completes the response and logs it.
pub(super) async fn check_and_finish(State(admin): State<Arc<AdminApi>>, mut request: Request, next: Next) -> Response {
    let arrival = Instant::now();
    let id = request_id(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    request.extensions_mut().insert(RequestId(id.clone()));
    let checked = head::check(&request);
    let answered = match checked {
        Ok(()) => {
            make_path_plain(request.uri_mut());
            let work = async {
                panic_point("admin::answer");
                next.run(request).await
            };
            catch_panic(work).await.unwrap_or_else(|panic| {
                panicked(&admin, &panic, &method, &uri, &id);
                Failure::from(HostProblem::HostFailed).into_response()
            })
        }
        Err(failure) => failure.into_response(),
    };
    let mut response = finish(answered, &id);
    if method == Method::HEAD {
        drop_body(&mut response);
    }
    let line = Line {
        listener: "admin",
        method: &method,
        route: None,
        path: uri.path(),
        status: response.status().as_u16(),
        bytes: response.body().size_hint().exact(),
        time: arrival.elapsed(),
        request: &id,
        trace: None::<&str>,
        generation: admin.control.runtime().current().number.0,
    };
    line.write();
    response
}

/// Removes needless percent-encoding from the path, because the router matches the path literally.
fn make_path_plain(uri: &mut Uri) {
    let plain = head::normalize_path(uri.path());
    if plain == uri.path() {
        return;
    }
    let text = match uri.query() {
        Some(query) => format!("{plain}?{query}"),
        None => plain.into_owned(),
    };
    if let Ok(target) = text.parse::<PathAndQuery>() {
        *uri = Uri::from(target);
    }
}

fn panicked(admin: &AdminApi, panic: &PanicMessage, method: &Method, uri: &Uri, request: &str) {
    let generation = admin.control.runtime().current();
    generation.telemetry().count_panic("admin");
    let (method, path) = (method_name(method), logged_path(uri.path()));
    tracing::error!(target: "request", method, path, request, %panic, "the host failed to answer a request to the admin listener");
}

/// The mark of a response that is that of a try. It reaches the client as the data listener gave it, errors included.
#[derive(Debug, Clone)]
pub(super) struct TryAnswer;

/// Adds the request's id to a response. Turns an error into problem details.
pub(super) fn finish(mut response: Response, id: &str) -> Response {
    let request_id = HeaderValue::from_str(id).expect("request ids are printable ASCII");
    if response.extensions_mut().remove::<TryAnswer>().is_some() {
        response.headers_mut().insert(&REQUEST_ID, request_id);
        return response;
    }
    let kept = response.headers_mut().remove(ALLOW);
    let mut response = match response.extensions_mut().remove::<Failure>() {
        Some(failure) => failure.into_response_for(id),
        None if response.status().is_client_error() || response.status().is_server_error() => {
            // The router's own error messages are plain text.
            let is_told = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
            if is_told { response } else { of_status(response.status()).into_response_for(id) }
        }
        None => response,
    };
    let headers: &mut HeaderMap = response.headers_mut();
    headers.extend(kept.map(|methods| (ALLOW, methods)));
    headers.insert(&REQUEST_ID, request_id);
    response
}

fn of_status(status: StatusCode) -> Failure {
    let name = if status.is_client_error() { "invalid-request" } else { "host-failed" };
    Failure::new(status, name, status.canonical_reason().unwrap_or("the request can't be answered").to_lowercase())
}

/// Refuses a query on a path that takes none. A query that is ignored, such as `dry_run`, may have mattered to the client.
pub(super) async fn refuse_query(request: Request, next: Next) -> Response {
    match request.uri().query().filter(|query| !query.is_empty()) {
        None => next.run(request).await,
        Some(query) => {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            let fault = RequestFault::query(name, "there is no such query field");
            Failure::from(HostProblem::Invalid(vec![fault])).into_response()
        }
    }
}

/// Refuses a request that a page of another origin sends. Such a page can't know the token; this holds even if it did.
pub(super) async fn refuse_foreign(request: Request, next: Next) -> Response {
    if is_foreign(&request) {
        let detail = "a page of another origin sends this request; open the page `/openapi` of this listener";
        return Failure::new(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response();
    }
    next.run(request).await
}

/// Whether a request comes from a page of another origin, as far as its headers say it. Browsers send `Sec-Fetch-Site` only to addresses
/// that they trust, such as those with TLS and those of the own machine.
fn is_foreign(request: &Request) -> bool {
    if let Some(site) = request.headers().get(&FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = request.headers().get(ORIGIN) else { return false };
    let own = request.uri().authority().map(|own| own.as_str().as_bytes());
    let own = own.or_else(|| request.headers().get(HOST).map(HeaderValue::as_bytes));
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest.as_bytes());
    !own.zip(authority).is_some_and(|(own, authority)| own.eq_ignore_ascii_case(authority))
}
