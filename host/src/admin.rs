//! The admin edge: what operators and the command line ask a running host.
//!
//! `/healthz`, `/readyz` and `/metrics` are open, all else wants the token. It listens on a socket of its own and is never reached through the data
//! listener.

mod changes;
mod operate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::application::ModuleMigrations;
use crate::control::Control;
use crate::graph::RESUME;
use crate::graph::render::{GraphView, ModuleView};
use crate::ids::{FunctionPath, InterfaceName};
use crate::invoke::{InvokeError, invoke};
use crate::runtime::{CallStats, InstanceStats};
use crate::telemetry;
use crate::telemetry::log::LogControl;

pub use changes::{FILES_PART, Generations, RollbackRequest};
pub use operate::{BackupRequest, LogLevel};

/// The largest body of a request to the admin listener, in bytes: arguments of a call. Uploads have bounds of their own.
const MAX_BODY: usize = 16 << 20;

/// What the admin listener knows of the host.
pub struct Admin {
    control: Arc<Control>,
    token: String,
    log: Arc<LogControl>,
    ready: AtomicBool,
    uploads: Semaphore,
    /// What modules take for a sign that nothing else runs.
    resume: InterfaceName,
}

/// The body of `POST /call`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// `MODULE/INTERFACE.FUNCTION`.
    pub function: String,
    /// One value for each parameter.
    pub arguments: Vec<Box<RawValue>>,
}

/// The answer to `POST /call`.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallResponse {
    /// The result.
    pub result: Box<RawValue>,
}

/// The answer to `GET /migrations`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Migrations {
    /// Every module with a database, by name.
    pub modules: Vec<ModuleMigrations>,
}

/// An entry of `GET /modules`.
#[derive(Debug, Serialize)]
struct ModuleEntry<'a> {
    #[serde(flatten)]
    module: ModuleView<'a>,
    instances: InstanceStats,
    calls: CallStats,
}

impl Admin {
    /// Answers for the application of `control` to whoever knows `token`, and changes what is logged by `log`. Not ready yet: until then functions are called by nobody but the start.
    pub fn new(control: Arc<Control>, token: String, log: Arc<LogControl>) -> Arc<Self> {
        let resume = RESUME.parse().expect("the host's own interface is well named");
        Arc::new(Self {
            control,
            token,
            log,
            ready: AtomicBool::new(false),
            uploads: Semaphore::new(changes::MAX_UPLOADS),
            resume,
        })
    }

    /// Says whether requests should be sent here.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.control.state().lost().is_none()
    }

    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        // They bound what they read themselves.
        let changes = Router::new()
            .route("/generations", get(changes::generations))
            .route("/modules/{name}/swap", post(changes::swap))
            .route("/apply", post(changes::apply))
            .route("/rollback", post(changes::rollback))
            .layer(DefaultBodyLimit::disable());
        let closed = Router::new()
            .route("/modules", get(modules))
            .route("/graph", get(graph))
            .route("/migrations", get(migrations))
            .route("/call", post(call))
            .route("/backup", post(operate::backup))
            .route("/log", get(operate::log).put(operate::set_log))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .merge(changes)
            .route_layer(middleware::from_fn_with_state(self.clone(), authorize));
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .merge(closed)
            .fallback(|| async { problem(StatusCode::NOT_FOUND, "no-such-path", "nothing is at this path") })
            .method_not_allowed_fallback(|| async {
                problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the path takes other methods")
            })
            .with_state(self)
    }
}

/// Lets only those through who send the token. Compared in constant time: how much of a guess was right is not told.
async fn authorize(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    if given.is_some_and(|given| given.ct_eq(admin.token.as_bytes()).into()) {
        return next.run(request).await;
    }
    let detail = "send the admin token as `Authorization: Bearer …`; it is in the state folder, in `admin.token`";
    let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The token of an `Authorization`; the scheme may be written in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.is_ready() {
        return "ready\n".into_response();
    }
    match admin.control.state().lost() {
        Some(_) => {
            let detail = "the state folder or a database was removed or replaced under the host; its log says which";
            problem(StatusCode::SERVICE_UNAVAILABLE, "state-lost", detail)
        }
        None => not_ready(),
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], admin.control.metrics()).into_response()
}

fn not_ready() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        "the host is starting or stopping, or has lost its state; `/readyz` says which",
    )
}

async fn modules(State(admin): State<Arc<Admin>>) -> Response {
    let generation = admin.control.runtime().current();
    let view = GraphView::new(&generation.graph);
    let entry = |module: ModuleView<'_>| {
        let compartment = generation.compartments().iter().find(|c| c.name() == module.compartment);
        let instances = compartment.map(|compartment| compartment.stats()).unwrap_or_default();
        let calls = generation.calls(module.name).unwrap_or_default();
        json!(ModuleEntry { module, instances, calls })
    };
    let modules: Vec<_> = view.modules.into_iter().map(entry).collect();
    Json(json!({ "generation": generation.number, "modules": modules })).into_response()
}

async fn graph(State(admin): State<Arc<Admin>>) -> Response {
    Json(GraphView::new(&admin.control.runtime().current().graph)).into_response()
}

async fn migrations(State(admin): State<Arc<Admin>>) -> Response {
    match admin.control.migrations().await {
        Ok(modules) => Json(Migrations { modules }).into_response(),
        Err(problems) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", &problems.to_string()),
    }
}

async fn call(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    let request: CallRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid-request", &error.to_string()),
    };
    let path: FunctionPath = match request.function.parse() {
        Ok(path) => path,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid-request", &format!("{error}")),
    };
    let generation = admin.control.runtime().current();
    if !admin.is_ready() {
        return not_ready();
    }
    if generation.graph.find(&path).is_ok_and(|found| found.interface.serves(&admin.resume)) {
        let detail = "only a start of the host calls this, while nothing else runs";
        return problem(StatusCode::CONFLICT, "reserved", detail);
    }
    let arguments: Vec<&str> = request.arguments.iter().map(|argument| argument.get()).collect();
    let id: Arc<str> = ulid::Ulid::generate().to_string().into();
    match invoke(&generation, &path, &arguments, id).await {
        Ok(result) => Json(CallResponse { result }).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &InvokeError) -> Response {
    let (status, name) = match error {
        InvokeError::NotFound(_) => (StatusCode::NOT_FOUND, "no-such-function"),
        InvokeError::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported-type"),
        InvokeError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid-request"),
        InvokeError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "module-failed"),
        InvokeError::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        InvokeError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        InvokeError::Deadline(_) => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
    };
    problem(status, name, &error.to_string())
}

/// Problem details, as the data edge writes them.
fn problem(status: StatusCode, name: &str, detail: &str) -> Response {
    answer(status, &details(status, name, detail))
}

fn details(status: StatusCode, name: &str, detail: &str) -> serde_json::Value {
    json!({
        "type": format!("/problems/{name}"),
        "title": name.replace('-', " "),
        "status": status.as_u16(),
        "detail": detail,
    })
}

fn answer(status: StatusCode, details: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(details.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
