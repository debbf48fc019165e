//! What changes the application, over HTTP: `swap`, `apply`, `rollback`; and what was changed, `generations`.
//!
//! An upload is read whole before anything waits for it: one that stalls holds up nobody's change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::Multipart;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, details, not_ready, problem};
use crate::artifact::MAX_COMPONENT_BYTES;
use crate::config::AppFiles;
use crate::control::{Change, ChangeError, Outcome};
use crate::ids::{GenerationNumber, ModuleName};
use crate::state::{Published, Refused};

/// Uploads that are read at once; each may take as much memory as it is long.
pub(super) const MAX_UPLOADS: usize = 2;
/// The largest upload of a whole application, in bytes.
const MAX_APPLICATION: u64 = 2 * MAX_COMPONENT_BYTES;
/// The largest body of a request to go back, in bytes.
const MAX_ROLLBACK: u64 = 1024;
/// So many bytes of an upload are read at once, then others have their turn for [`PACE`]: 256 MiB/s at most. What comes as fast as it can
/// be copied takes a whole core from those who are served, and each transaction waits for it several times.
const PIECE: usize = 256 << 10;
const PACE: Duration = Duration::from_millis(1);
/// How long an upload may pause.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The part of an upload of an application that is its manifest and routes; each other part is named as the module that it is the
/// component of.
pub const FILES_PART: &str = "@files";

/// The query of every change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// The body of `POST /rollback`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The generation to go back to; without it, the one before the current.
    pub to: Option<GenerationNumber>,
}

/// The answer to `GET /generations`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generations {
    /// The one that new requests run on.
    pub current: GenerationNumber,
    /// Those that finish the requests that began on them.
    pub draining: Vec<GenerationNumber>,
    /// What was published and is kept, oldest first.
    pub generations: Vec<Published>,
    /// Changes that were refused of late, oldest first.
    pub refused: Vec<Refused>,
}

pub(super) async fn generations(State(admin): State<Arc<Admin>>) -> Response {
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
    State(admin): State<Arc<Admin>>,
    module: Result<Path<String>, PathRejection>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Response> {
    let Query(options) = options.map_err(|error| invalid(&error.body_text()))?;
    let Path(module) = module.map_err(|error| invalid(&error.body_text()))?;
    let module: ModuleName = module.parse().map_err(|error| invalid(&format!("{error}")))?;
    let kind = request.headers().get(axum::http::header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind.as_bytes() != b"application/wasm") {
        let detail = "send the component as `application/wasm`";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let component = upload(&admin, request.into_body(), MAX_COMPONENT_BYTES).await?;
    change(&admin, Change::Swap { module, component }, &options).await
}

pub(super) async fn apply(
    State(admin): State<Arc<Admin>>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Response> {
    let Query(options) = options.map_err(|error| invalid(&error.body_text()))?;
    let (head, body) = request.into_parts();
    let bytes = upload(&admin, body, MAX_APPLICATION).await?;
    let request = Request::from_parts(head, Body::from(bytes));
    let parts = Multipart::from_request(request, &()).await.map_err(|error| invalid(&error.body_text()))?;
    // All of it is here: what is left is copying, for longer than the thread of others' requests can be held up.
    let runtime = tokio::runtime::Handle::current();
    let application = tokio::task::spawn_blocking(move || runtime.block_on(application(parts)).map_err(Box::new));
    let application = match application.await {
        Ok(Ok(application)) => application,
        Ok(Err(answer)) => return Err(*answer),
        Err(_) => return Err(refused(&ChangeError::Lost)),
    };
    change(&admin, application, &options).await
}

/// The application in an upload's parts.
async fn application(mut parts: Multipart) -> Result<Change, Response> {
    let (mut files, mut components, mut seen) = (None, Vec::new(), BTreeSet::new());
    while let Some(part) = parts.next_field().await.map_err(|error| invalid(&error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(|error| invalid(&error.body_text()))?;
        if !seen.insert(name.clone()) {
            return Err(invalid(&format!("the part `{name}` is there twice")));
        }
        if name == FILES_PART {
            let read: AppFiles = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
            files = Some(read);
        } else {
            let module: ModuleName = name.parse().map_err(|error| invalid(&format!("{error}")))?;
            components.push((module, bytes));
        }
    }
    let files = files.ok_or_else(|| invalid(&format!("the part `{FILES_PART}` is missing: manifest and routes")))?;
    Ok(Change::Apply { files, components })
}

pub(super) async fn rollback(
    State(admin): State<Arc<Admin>>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Response> {
    let Query(options) = options.map_err(|error| invalid(&error.body_text()))?;
    // Takes no place among the uploads: going back must be possible however many of them stall.
    let body = read(request.into_body(), MAX_ROLLBACK).await?;
    let request: RollbackRequest = match body.is_empty() {
        true => RollbackRequest::default(),
        false => serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?,
    };
    change(&admin, Change::Rollback(request.to), &options).await
}

async fn change(admin: &Admin, change: Change, options: &Options) -> Result<Response, Response> {
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let outcome: Outcome = admin.control.change(change, options.dry_run).await.map_err(|error| refused(&error))?;
    Ok(Json(outcome).into_response())
}

fn refused(error: &ChangeError) -> Response {
    match error {
        ChangeError::Refused(problems) => {
            let count = problems.as_slice().len();
            let noun = if count == 1 { "problem" } else { "problems" };
            let detail = format!("{count} {noun}; nothing was changed");
            let mut body = details(StatusCode::CONFLICT, "refused", &detail);
            body["problems"] = json!(problems);
            super::answer(StatusCode::CONFLICT, &body)
        }
        ChangeError::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", &error.to_string()),
        ChangeError::Stopping => problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", &error.to_string()),
        ChangeError::Lost => problem(StatusCode::INTERNAL_SERVER_ERROR, "change-lost", &error.to_string()),
    }
}

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "invalid-request", detail)
}

/// Reads a whole upload of at most `most` bytes, as one of a few at once.
async fn upload(admin: &Admin, body: Body, most: u64) -> Result<Bytes, Response> {
    let Ok(_place) = admin.uploads.try_acquire() else {
        let detail = format!("{MAX_UPLOADS} uploads are being read already");
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", &detail));
    };
    read(body, most).await
}

/// Reads a whole body of at most `most` bytes.
async fn read(mut body: Body, most: u64) -> Result<Bytes, Response> {
    let too_large =
        || problem(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", &format!("the body has more than {most} bytes"));
    // Where its length is announced it is refused before it comes.
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    // Room only: the kernel gives memory as it is written to. What grew instead could be copied each time.
    let mut bytes = BytesMut::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or_default());
    let mut next = PIECE;
    loop {
        if bytes.len() >= next {
            next = bytes.len() + PIECE;
            tokio::time::sleep(PACE).await;
        }
        let frame = match tokio::time::timeout(MAX_PAUSE, body.frame()).await {
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => {
                return Err(problem(StatusCode::BAD_REQUEST, "body-cut-off", "the body ended too early"));
            }
            Err(_) => {
                let detail = format!("nothing of the body came for {} s", MAX_PAUSE.as_secs());
                return Err(problem(StatusCode::REQUEST_TIMEOUT, "body-too-slow", &detail));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
}
