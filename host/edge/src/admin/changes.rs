//! Changes of the application over HTTP: `swap`, `apply` and `rollback`. Also `generations`, the list of past changes.
//!
//! An upload is read completely before it enters the queue of changes. So a stalled upload delays no other change.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::extract::multipart::Multipart;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::body::{self, invalid_request};
use super::{AdminApi, not_ready};
use crate::http::details::Failure;
use crate::http::server::Connection;
use watertight_component::artifact::MAX_COMPONENT_BYTES;
use watertight_control::control::{Change, ChangeError, ChangeOutcome, ChangeRequest};
use watertight_control::state::{PublishedGeneration, RefusedChange, Requester};
use watertight_model::config::AppFiles;
use watertight_model::ids::{GenerationNumber, ModuleName};

/// The maximum number of uploads that are read at once. Each takes as much memory as it is long.
pub(super) const MAX_UPLOADS: usize = 2;
/// The maximum size of the upload of a whole application, in bytes.
const MAX_APPLICATION: u64 = 2 * MAX_COMPONENT_BYTES;
/// The maximum size of the body of a request to roll back, in bytes.
const MAX_ROLLBACK: u64 = 1024;
/// The name of the part of a multipart upload that has the manifest and the routes. Every other part is a component and has the name of its
/// module.
pub const FILES_PART: &str = "@files";

/// The query of a request that changes the application.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeQuery {
    /// If true, the host reports what the request would change, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// The body of a request `POST /rollback`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the generation to return to. `None` means the generation before the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<GenerationNumber>,
}

/// The response to `GET /generations`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generations {
    /// The number of the generation that answers new requests.
    pub current: GenerationNumber,
    /// The numbers of the generations that were replaced and still have requests to finish.
    pub draining: Vec<GenerationNumber>,
    /// The published generations in the history, oldest first.
    pub generations: Vec<PublishedGeneration>,
    /// The changes that were refused recently, oldest first.
    pub refused: Vec<RefusedChange>,
}

pub(super) async fn generations(State(admin): State<Arc<AdminApi>>) -> Response {
    let history = admin.control.history();
    let runtime = admin.control.runtime();
    Json(Generations {
        current: runtime.current().number,
        draining: runtime.draining(),
        generations: history.published().to_vec(),
        refused: history.refused().to_vec(),
    })
    .into_response()
}

pub(super) async fn swap(
    State(admin): State<Arc<AdminApi>>,
    module: Result<Path<String>, PathRejection>,
    options: Result<Query<ChangeQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let Query(options) = options.map_err(|error| invalid_request(&error.body_text()))?;
    let Path(module) = module.map_err(|error| invalid_request(&error.body_text()))?;
    let module: ModuleName = module.parse().map_err(|error| invalid_request(&format!("{error}")))?;
    body::check_type(request.headers(), "application/wasm", "the component")?;
    let arrival = record_arrival(&admin, &request)?;
    let component = upload(&admin, request, MAX_COMPONENT_BYTES).await?;
    change(&admin, arrival, Change::Swap { module, component }, &options).await
}

pub(super) async fn apply(
    State(admin): State<Arc<AdminApi>>,
    options: Result<Query<ChangeQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let Query(options) = options.map_err(|error| invalid_request(&error.body_text()))?;
    body::check_type(request.headers(), "multipart/form-data", "the application's parts")?;
    let arrival = record_arrival(&admin, &request)?;
    let headers = request.headers().clone();
    let bytes = upload(&admin, request, MAX_APPLICATION).await?;
    let mut request = Request::new(Body::from(bytes));
    *request.headers_mut() = headers;
    // The upload was bounded above. Without this, axum would refuse more than 2 MB.
    DefaultBodyLimit::disable().apply(&mut request);
    let parts = Multipart::from_request(request, &()).await.map_err(|error| invalid_request(&error.body_text()))?;
    // The whole upload is in memory now. What is left is copying, which would block a thread that serves other requests for too long.
    let runtime = tokio::runtime::Handle::current();
    let application = tokio::task::spawn_blocking(move || runtime.block_on(application(parts)));
    let application = match application.await {
        Ok(Ok(application)) => application,
        Ok(Err(failure)) => return Err(failure),
        Err(_) => return Err(refused(&ChangeError::Aborted)),
    };
    change(&admin, arrival, application, &options).await
}

/// Reads the manifest, the routes and the components from the parts of an upload.
async fn application(mut parts: Multipart) -> Result<Change, Failure> {
    let (mut files, mut components, mut seen) = (None, Vec::new(), BTreeSet::new());
    while let Some(part) = parts.next_field().await.map_err(|error| invalid_request(&error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(|error| invalid_request(&error.body_text()))?;
        if !seen.insert(name.clone()) {
            return Err(invalid_request(&format!("the part `{name}` is sent twice")));
        }
        if name == FILES_PART {
            files = Some(body::parse::<AppFiles>(&bytes, &format!("the part `{FILES_PART}`"))?);
        } else {
            let module: ModuleName = name.parse().map_err(|error| invalid_request(&format!("{error}")))?;
            components.push((module, bytes));
        }
    }
    let files = files
        .ok_or_else(|| invalid_request(&format!("the part `{FILES_PART}` with manifest and routes is missing")))?;
    Ok(Change::Apply { files, components })
}

pub(super) async fn rollback(
    State(admin): State<Arc<AdminApi>>,
    options: Result<Query<ChangeQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let Query(options) = options.map_err(|error| invalid_request(&error.body_text()))?;
    // A rollback does not count as an upload: it must be possible even if other uploads stall.
    let arrival = record_arrival(&admin, &request)?;
    let request: RollbackRequest = body::object_or_default(request, MAX_ROLLBACK).await?;
    change(&admin, arrival, Change::Rollback(request.to), &options).await
}

/// Records which state of the application the client wants to change, and who asks for the change. Call it before the request's body is
/// read, because another change may be made meanwhile.
fn record_arrival(admin: &AdminApi, request: &Request) -> Result<ChangeRequest, Failure> {
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let peer = request.extensions().get::<Arc<Connection>>().map(|connection| connection.peer().ip());
    let command = request.headers().get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    let by = Requester::new(peer, command.as_deref());
    Ok(admin.control.receive(Some(by)))
}

async fn change(
    admin: &AdminApi,
    arrival: ChangeRequest,
    change: Change,
    options: &ChangeQuery,
) -> Result<Response, Failure> {
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let made = admin.control.change_from(arrival, change, options.dry_run).await;
    let outcome: ChangeOutcome = made.map_err(|error| refused(&error))?;
    Ok(Json(outcome).into_response())
}

fn refused(error: &ChangeError) -> Failure {
    match error {
        ChangeError::Refused(problems) => {
            let count = problems.as_slice().len();
            let noun = if count == 1 { "problem" } else { "problems" };
            let detail = format!("{count} {noun}; nothing was changed");
            Failure::new(StatusCode::CONFLICT, "refused", detail).with_problems(problems.as_slice().to_vec())
        }
        ChangeError::Busy(_) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string()),
        ChangeError::Stopping => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", error.to_string()),
        ChangeError::Aborted => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "change-lost", error.to_string()),
    }
}

/// Reads a whole upload of at most `most` bytes. Refuses it if [`MAX_UPLOADS`] others are being read.
async fn upload(admin: &AdminApi, request: Request, most: u64) -> Result<Bytes, Failure> {
    let Ok(_place) = admin.uploads.try_acquire() else {
        let detail = format!("{MAX_UPLOADS} uploads are already in progress; try again when one has ended");
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail));
    };
    let (head, body) = request.into_parts();
    body::read(&head.headers, body, most).await
}
