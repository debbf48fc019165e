//! The admin API: the requests of operators and the command line to a running host.
//!
//! `/healthz`, `/readyz`, `/metrics` and the files of the page `/openapi` are open; every other path requires the admin token. The API has a socket of its own and cannot
//! be reached through the data listener.

mod body;
mod changes;
mod guard;
mod operations;
mod page;
mod probe;
mod tries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::http::answer::HostProblem;
use crate::http::details::Failure;
use crate::http::document;
use crate::http::server::Connection;
use watertight_control::application::ModuleMigrations;
use watertight_control::control::Control;
use watertight_control::invoke::{Caller, InvokeError, invoke};
use watertight_graph::graph::RESUME;
use watertight_graph::graph::render::{GraphView, ModuleView};
use watertight_model::ids::{FunctionPath, InterfaceName};
use watertight_runtime::runtime::{CallStats, InstanceStats};
use watertight_telemetry::log::LogControl;
use watertight_telemetry::logged_path;

pub use changes::{FILES_PART, Generations, RollbackRequest};
pub use operations::{BackupRequest, CompilationEntry, Compilations, LogLevel};
pub use probe::Probe;
pub use tries::Tries;

/// The maximum size of a request's body, in bytes, if the body is not an upload: the arguments of a function call, for instance. Uploads
/// have their own limits.
const MAX_BODY: u64 = 16 << 20;

/// The state of the admin listener.
pub struct AdminApi {
    control: Arc<Control>,
    token: String,
    log: Arc<LogControl>,
    ready: AtomicBool,
    uploads: Semaphore,
    tries: Tries,
    /// The interface `watertight:lifecycle/resume`. The API refuses to call its function, because modules rely on it that the function
    /// never runs twice at once.
    resume: InterfaceName,
}

/// The body of a request `POST /call`, which calls a function of a module.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// The function to call, as `MODULE/INTERFACE.FUNCTION`.
    pub function: String,
    /// The arguments as JSON, one for each parameter, in order.
    pub arguments: Vec<Box<RawValue>>,
}

/// The response to `POST /call`.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallResponse {
    /// The result of the function, as JSON.
    pub result: Box<RawValue>,
}

/// The response to `GET /migrations`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Migrations {
    /// The migrations of every module with a database, ordered by module name.
    pub modules: Vec<ModuleMigrations>,
}

/// One module in the response to `GET /modules`.
#[derive(Debug, Serialize)]
struct ModuleEntry<'a> {
    #[serde(flatten)]
    module: ModuleView<'a>,
    instances: InstanceStats,
    calls: CallStats,
}

impl AdminApi {
    /// Creates the admin API for the application of `control`. Clients must send `token`. `log` lets them change the log level, and `tries`
    /// lets them try operations.
    ///
    /// The API is not ready at first: until [`AdminApi::set_ready`], it refuses calls of functions.
    pub fn new(control: Arc<Control>, token: String, log: Arc<LogControl>, tries: Tries) -> Arc<Self> {
        let resume = RESUME.parse().expect("the host's own interface is well named");
        Arc::new(Self {
            control,
            token,
            log,
            ready: AtomicBool::new(false),
            uploads: Semaphore::new(changes::MAX_UPLOADS),
            tries,
            resume,
        })
    }

    /// Sets whether `/readyz` reports that the host is ready for requests.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.control.state().loss().is_none()
    }

    /// Returns the router of the admin API.
    pub fn router(self: Arc<Self>) -> Router {
        let changes = Router::new()
            .route("/generations", get(changes::generations))
            .route("/modules/{name}/swap", post(changes::swap))
            .route("/apply", post(changes::apply))
            .route("/rollback", post(changes::rollback));
        let tried = Router::new()
            .route("/openapi/document.json", get(page::document).route_layer(middleware::from_fn(guard::refuse_query)))
            .route(tries::ROOT, any(tries::answer))
            .route(tries::BELOW, any(tries::answer))
            .route_layer(middleware::from_fn(guard::refuse_foreign));
        let closed = Router::new()
            .route("/modules", get(modules))
            .route("/graph", get(graph))
            .route("/openapi.json", get(openapi))
            .route("/migrations", get(migrations))
            .route("/call", post(call))
            .route("/backup", post(operations::backup))
            .route("/compiling", get(operations::compiling))
            .route("/log", get(operations::log).put(operations::set_log))
            .route_layer(middleware::from_fn(guard::refuse_query))
            .merge(changes)
            .merge(tried)
            .route_layer(middleware::from_fn_with_state(self.clone(), authorize));
        let all = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .merge(page::files())
            .merge(closed)
            .fallback(|| async { Failure::from(HostProblem::NoSuchPath) })
            .method_not_allowed_fallback(|| async { Failure::from(HostProblem::MethodNotAllowed) })
            .with_state(self.clone());
        // The layer wraps the whole router, not each route, because it rewrites the path before the router matches it.
        Router::new().fallback_service(all).layer(middleware::from_fn_with_state(self, guard::check_and_finish))
    }
}

/// Passes on only requests with the admin token. The comparison takes constant time, so its duration does not tell how much of a guess is
/// right.
async fn authorize(State(admin): State<Arc<AdminApi>>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let is_right = given.is_some_and(|given| given.ct_eq(admin.token.as_bytes()).into());
    let (is_wrong, connection) = (given.is_some(), request.extensions().get::<Arc<Connection>>().cloned());
    if is_right {
        if let Some(connection) = connection {
            connection.mark_trusted();
            request.extensions_mut().insert(ConnectInfo(connection.peer()));
        }
        return next.run(request).await;
    }
    if let Some(left_out) = admin.control.runtime().current().telemetry().count_refused_token(is_wrong) {
        let peer = connection.map(|connection| tracing::field::display(connection.peer()));
        let path = logged_path(request.uri().path());
        tracing::warn!(target: "admin", peer, path, left_out, "a wrong token was refused");
    }
    let detail =
        "send the admin token as `Authorization: Bearer …`; the file `admin.token` in the state folder contains it";
    let refused = Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    refused.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")).into_response()
}

/// Returns the token in the value of an `Authorization` header. The scheme may be written in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

async fn readyz(State(admin): State<Arc<AdminApi>>) -> Response {
    if admin.is_ready() {
        return "ready\n".into_response();
    }
    match admin.control.state().loss() {
        Some(_) => {
            let detail =
                "the state folder or a database was removed or replaced while the host runs; the host's log says which";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "state-lost", detail).into_response()
        }
        None => starting_or_stopping().into_response(),
    }
}

async fn metrics(State(admin): State<Arc<AdminApi>>) -> Response {
    ([(header::CONTENT_TYPE, watertight_telemetry::CONTENT_TYPE)], admin.control.metrics()).into_response()
}

/// The answer while the host is not ready, for paths other than `/readyz`.
fn not_ready() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        "the host is starting or stopping, or has lost its state; `/readyz` says which",
    )
}

/// The answer of `/readyz` while the host starts or stops, and of the probe listener before the application has started.
fn starting_or_stopping() -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the host is starting or stopping")
}

async fn modules(State(admin): State<Arc<AdminApi>>) -> Response {
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

async fn graph(State(admin): State<Arc<AdminApi>>) -> Response {
    let generation = admin.control.runtime().current();
    Json(generation.routes.add_to(GraphView::new(&generation.graph))).into_response()
}

async fn openapi(State(admin): State<Arc<AdminApi>>) -> Response {
    document::answer(&admin.control.runtime().current())
}

async fn migrations(State(admin): State<Arc<AdminApi>>) -> Result<Response, Failure> {
    match admin.control.migrations().await {
        Ok(modules) => Ok(Json(Migrations { modules }).into_response()),
        Err(problems) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", problems.to_string())),
    }
}

async fn call(
    State(admin): State<Arc<AdminApi>>,
    Extension(guard::RequestId(id)): Extension<guard::RequestId>,
    request: Request,
) -> Result<Response, Failure> {
    let request: CallRequest = body::object(request, MAX_BODY).await?;
    let path: FunctionPath = request.function.parse().map_err(|error| body::invalid_request(&format!("{error}")))?;
    let generation = admin.control.runtime().current();
    if !admin.is_ready() {
        return Err(not_ready());
    }
    if generation.graph.find(&path).is_ok_and(|found| found.interface.can_serve(&admin.resume)) {
        let detail = "only the host calls this function: at its start, and at the interval `resume` of the module";
        return Err(Failure::new(StatusCode::CONFLICT, "reserved", detail));
    }
    let arguments: Vec<&str> = request.arguments.iter().map(|argument| argument.get()).collect();
    match invoke(&generation, &path, &arguments, Caller::concurrent(id)).await {
        Ok(result) => Ok(Json(CallResponse { result }).into_response()),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &InvokeError) -> Failure {
    let (status, name) = match error {
        InvokeError::NotFound(_) => (StatusCode::NOT_FOUND, "no-such-function"),
        InvokeError::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported-type"),
        InvokeError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid-request"),
        InvokeError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "module-failed"),
        InvokeError::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        InvokeError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        InvokeError::Deadline(_) => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
    };
    Failure::new(status, name, error.to_string())
}
