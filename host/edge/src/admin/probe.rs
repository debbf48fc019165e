//! The listener for probes: `/livez`, `/readyz` and `/metrics`, and nothing else. It answers from the start of the process on.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::guard::finish;
use super::{Admin, metrics, not_ready, ready};
use crate::http::answer::HostProblem;
use crate::http::details::Failure;
use crate::http::panics::caught;
use crate::http::{head, request_id};

/// What the listener for probes knows of the host.
#[derive(Default)]
pub struct Probe {
    /// Nothing before the application has started.
    admin: OnceLock<Arc<Admin>>,
}

impl Probe {
    /// The application has started.
    pub fn set(&self, admin: Arc<Admin>) {
        // Once; there is one start in a process.
        let _ = self.admin.set(admin);
    }

    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(is_ready))
            .route("/metrics", get(all_metrics))
            .fallback(|| async { Failure::from(HostProblem::NoSuchPath) })
            .method_not_allowed_fallback(|| async { Failure::from(HostProblem::MethodNotAllowed) })
            .layer(middleware::from_fn_with_state(self.clone(), complete))
            .with_state(self)
    }
}

/// Checks the request's head, and gives the answer the request's id, and problem details where it isn't what was asked for.
async fn complete(State(probe): State<Arc<Probe>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let answered = match head::check(&request) {
        Ok(()) => caught(next.run(request)).await.unwrap_or_else(|panic| {
            if let Some(admin) = probe.admin.get() {
                admin.control.runtime().current().telemetry().panicked("probe");
            }
            tracing::error!(target: "request", request = &*id, %panic, "the host failed to answer a probe");
            Failure::from(HostProblem::HostFailed).into_response()
        }),
        Err(failure) => failure.into_response(),
    };
    finish(answered, &id)
}

async fn is_ready(State(probe): State<Arc<Probe>>) -> Response {
    match probe.admin.get() {
        Some(admin) => ready(State(admin.clone())).await,
        None => not_ready().into_response(),
    }
}

async fn all_metrics(State(probe): State<Arc<Probe>>) -> Response {
    match probe.admin.get() {
        Some(admin) => metrics(State(admin.clone())).await,
        None => not_ready().into_response(),
    }
}
