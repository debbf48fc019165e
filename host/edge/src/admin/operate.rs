//! What keeps a host in order, over HTTP: `backup`, and what it logs.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::body::{self, invalid};
use super::{Admin, MAX_BODY, not_ready};
use crate::http::details::{Failure, Fault};
use watertight_control::backup::BackupError;

/// The longest path that the kernel takes, in bytes, with room for what a backup has below it.
const MAX_PATH: usize = 3_072;
/// The longest name of a file or folder, in bytes; an unfinished backup has a longer one than the backup.
const MAX_NAME: usize = 240;

/// The body of `POST /backup`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The folder to make on the host's machine: an absolute path that nothing has.
    pub to: PathBuf,
}

/// The body of `PUT /log`, and the answer to it and to `GET /log`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A level, or directives as `WATERTIGHT_LOG` takes them.
    pub level: String,
}

pub(super) async fn backup(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, Failure> {
    let BackupRequest { to } = body::object(request, MAX_BODY).await?;
    check_path(&to).map_err(|detail| invalid(&detail).with_faults(vec![Fault::at("/to", detail)]))?;
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let asked = admin.clone();
    let written = admin.control.back_up(to, move || !asked.is_ready()).await;
    written.map(|manifest| Json(manifest).into_response()).map_err(|error| refused(&error))
}

/// Refuses a path that no folder can have here, or that could forge a line of the log.
fn check_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes();
    let longest = path.components().map(|part| part.as_os_str().len()).max().unwrap_or_default();
    match () {
        () if path.to_string_lossy().contains(char::is_control) => Err("the path has a control character".to_owned()),
        () if bytes.len() > MAX_PATH => Err(format!("the path has more than {MAX_PATH} bytes")),
        () if longest > MAX_NAME => Err(format!("a name in the path has more than {MAX_NAME} bytes")),
        () => Ok(()),
    }
}

fn refused(error: &BackupError) -> Failure {
    let (status, name) = match error {
        BackupError::Busy | BackupError::Restless => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        BackupError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
        BackupError::Target { .. } => (StatusCode::CONFLICT, "refused"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "backup-failed"),
    };
    // Whoever has the token may know what is where.
    let detail = watertight_model::problem::with_causes(error);
    tracing::warn!(target: "change", error = detail, "nothing was backed up");
    Failure::new(status, name, detail)
}

pub(super) async fn log(State(admin): State<Arc<Admin>>) -> Response {
    Json(LogLevel { level: admin.log.now() }).into_response()
}

pub(super) async fn set_log(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, Failure> {
    let LogLevel { level } = body::object(request, MAX_BODY).await?;
    admin.log.set(&level).map_err(|error| invalid(&format!("the log level can't be set: {error}")))?;
    tracing::info!(target: "change", level, "what is logged was set, until the host ends");
    Ok(log(State(admin)).await)
}
