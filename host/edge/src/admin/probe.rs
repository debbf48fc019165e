//! The probe listener: it serves `/livez`, `/readyz` and `/metrics` and nothing else. It answers as soon as the process has started,
//! before the application has.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::guard::finish;
use super::{AdminApi, metrics, readyz, starting_or_stopping};
use crate::http::answer::HostProblem;
use crate::http::details::Failure;
use crate::http::panics::catch_panic;
use crate::http::{head, request_id};

/// The state of the probe listener.
#[derive(Default)]
pub struct Probe {
    /// The admin API. It is not set before the application has started.
    admin: OnceLock<Arc<AdminApi>>,
}

impl Probe {
    /// Connects the probe listener to the application, once the application has started. Only the first call has an effect.
    pub fn set(&self, admin: Arc<AdminApi>) {
        // A process has only one start, so there is no second call.
        let _ = self.admin.set(admin);
    }

    /// Returns the router of the probe listener.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(is_ready))
            .route("/metrics", get(all_metrics))
            .fallback(|| async { Failure::from(HostProblem::NoSuchPath) })
            .method_not_allowed_fallback(|| async { Failure::from(HostProblem::MethodNotAllowed) })
            .layer(middleware::from_fn_with_state(self.clone(), check_and_finish))
            .with_state(self)
    }
}

/// Checks a request's head, and completes the response with the request's id and, for an error, problem details.
async fn check_and_finish(State(probe): State<Arc<Probe>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let answered = match head::check(&request) {
        Ok(()) => catch_panic(next.run(request)).await.unwrap_or_else(|panic| {
            if let Some(admin) = probe.admin.get() {
                admin.control.runtime().current().telemetry().count_panic("probe");
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
        Some(admin) => readyz(State(admin.clone())).await,
        None => starting_or_stopping().into_response(),
    }
}

async fn all_metrics(State(probe): State<Arc<Probe>>) -> Response {
    match probe.admin.get() {
        Some(admin) => metrics(State(admin.clone())).await,
        None => starting_or_stopping().into_response(),
    }
}
