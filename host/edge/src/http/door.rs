//! What the door says to browsers: answers to preflights and headers for pages of other origins (CORS, as the Fetch standard defines it),
//! and headers that are added to every answer.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN,
};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::details::Failure;
use super::head;
use watertight_graph::routes::{Door, RouteMatch, RouteTable};
use watertight_model::config::{CorsOrigins, CorsRules};

/// The headers of a request that decide what a page of another origin may do.
const DECISIVE: [HeaderName; 3] = [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS];

/// The part of a request that the rules for pages of other origins look at, and these rules.
pub(super) struct CrossOrigin {
    rules: CorsLayer,
    head: Request<()>,
    is_preflight: bool,
}

impl CrossOrigin {
    /// Returns the rules for a request for `host`. `None` if no rules cover it.
    pub(super) fn of<B>(routes: &RouteTable, host: Option<&str>, request: &Request<B>) -> Option<Self> {
        let path = head::normalize_path(request.uri().path());
        let rules = layer(routes.door().cors(host, &path)?);
        let mut head = Request::new(());
        request.method().clone_into(head.method_mut());
        for name in DECISIVE {
            if let Some(value) = request.headers().get(&name) {
                head.headers_mut().insert(name, value.clone());
            }
        }
        let asks = *head.method() == Method::OPTIONS
            && head.headers().contains_key(ORIGIN)
            && head.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        // What answers the path doesn't matter, only that something does.
        let is_routed =
            || !matches!(routes.find(host, head.method(), &path), RouteMatch::Nothing | RouteMatch::Misdirected);
        let is_preflight = asks && is_routed();
        Some(Self { rules, head, is_preflight })
    }

    /// Whether a browser asks in advance whether a page may send a request to a path that something answers. Such a question costs no module
    /// anything.
    pub(super) fn is_preflight(&self) -> bool {
        self.is_preflight
    }

    /// Returns the answer to a preflight.
    pub(super) async fn answer(self) -> Response<Body> {
        let mut response = self.pass(Response::new(Body::empty())).await;
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }

    /// Adds to a response what the page may see of it. What a module says of this is replaced: the rules of the host count.
    pub(super) async fn apply(mut self, mut response: Response<Body>) -> Response<Body> {
        // The layer takes every OPTIONS request for a preflight.
        *self.head.method_mut() = Method::GET;
        for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
            response.headers_mut().remove(name);
        }
        self.pass(response).await
    }

    /// Passes a response through the layer of the rules.
    async fn pass(self, response: Response<Body>) -> Response<Body> {
        let mut response = Some(response);
        let inner = service_fn(|_| ready(Ok::<_, Infallible>(response.take().unwrap_or_default())));
        let Ok(response) = self.rules.layer(inner).oneshot(self.head).await;
        response
    }
}

fn layer(rules: &CorsRules) -> CorsLayer {
    let CorsRules { origins, methods, headers, expose, credentials, max_age } = rules;
    let origins = match origins {
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::These(origins) => {
            let origins = origins.clone();
            AllowOrigin::predicate(move |origin: &HeaderValue, _| {
                origin.to_str().is_ok_and(|origin| origins.iter().any(|allowed| allowed.allows(origin)))
            })
        }
    };
    let methods = methods.clone().map_or_else(AllowMethods::mirror_request, AllowMethods::list);
    let headers = headers.clone().map_or_else(AllowHeaders::mirror_request, AllowHeaders::list);
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(methods)
        .allow_headers(headers)
        .expose_headers(expose.clone())
        .max_age(*max_age);
    if *credentials { layer.allow_credentials(true) } else { layer }
}

/// Builds the response that reports a failure. `id` is the id of the request.
pub(super) fn problem(door: &Door, failure: Failure, id: &str) -> Response<Body> {
    failure.with_type_base(door.config.problems.as_deref()).into_response_for(id)
}

/// Adds headers to a response that doesn't have them.
pub(super) fn add_headers(door: &Door, response: &mut Response<Body>) {
    for (name, value) in &door.config.added_headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
}
