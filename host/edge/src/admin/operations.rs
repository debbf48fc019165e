//! Operation of a running host over HTTP: backups and the log level.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::body::{self, invalid_request};
use super::{AdminApi, MAX_BODY, not_ready};
use crate::http::details::{Failure, RequestFault};
use watertight_control::backup::BackupError;
use watertight_control::control::Compilation;

/// The maximum length of the path of a backup's folder, in bytes: the kernel's limit, less room for the names of the files in the folder.
const MAX_PATH: usize = 3_072;
/// The maximum length of a name within that path, in bytes. The kernel's limit is higher, but the folder of an unfinished backup has a
/// longer name.
const MAX_NAME: usize = 240;

/// The body of a request `POST /backup`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The folder to create on the host's machine: an absolute path that does not exist yet.
    pub to: PathBuf,
}

/// The response to `GET /compiling`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compilations {
    /// The compilations that run, in the order of their begin.
    pub compiling: Vec<CompilationEntry>,
}

/// One compilation in the response to `GET /compiling`.
#[derive(Debug, Serialize, Deserialize)]
pub struct CompilationEntry {
    /// What is compiled, such as ``module `greeter` ``.
    pub what: String,
    /// The size of the component, in bytes.
    pub bytes: usize,
    /// How long the compilation has run, in milliseconds.
    pub millis: u64,
}

/// The body of a request `PUT /log`, and the response to it and to `GET /log`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A log level, or directives in the syntax of `WATERTIGHT_LOG`.
    pub level: String,
}

pub(super) async fn backup(State(admin): State<Arc<AdminApi>>, request: Request) -> Result<Response, Failure> {
    let BackupRequest { to } = body::object(request, MAX_BODY).await?;
    check_path(&to).map_err(|detail| invalid_request(&detail).with_faults(vec![RequestFault::body("/to", detail)]))?;
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let asked = admin.clone();
    let written = admin.control.back_up(to, move || !asked.is_ready()).await;
    written.map(|manifest| Json(manifest).into_response()).map_err(|error| refused(&error))
}

/// Refuses a path that no folder can have on this machine, or that could forge a log line.
///
/// # Errors
///
/// A sentence that says what is wrong with the path.
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
        BackupError::Busy | BackupError::KeptChanging => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        BackupError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
        BackupError::Target { .. } => (StatusCode::CONFLICT, "refused"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "backup-failed"),
    };
    // Clients with the admin token are trusted, so the message may name paths.
    let detail = watertight_model::problem::with_causes(error);
    tracing::warn!(target: "change", error = detail, "the backup failed");
    Failure::new(status, name, detail)
}

pub(super) async fn compiling(State(admin): State<Arc<AdminApi>>) -> Response {
    let entry = |one: Compilation| {
        let millis = u64::try_from(one.elapsed().as_millis()).unwrap_or(u64::MAX);
        CompilationEntry { what: one.what.to_string(), bytes: one.bytes, millis }
    };
    let compiling = admin.control.compiling().into_iter().map(entry).collect();
    Json(Compilations { compiling }).into_response()
}

pub(super) async fn log(State(admin): State<Arc<AdminApi>>) -> Response {
    Json(LogLevel { level: admin.log.current() }).into_response()
}

pub(super) async fn set_log(State(admin): State<Arc<AdminApi>>, request: Request) -> Result<Response, Failure> {
    let LogLevel { level } = body::object(request, MAX_BODY).await?;
    admin.log.set(&level).map_err(|error| invalid_request(&format!("the log level can't be set: {error}")))?;
    tracing::info!(target: "change", level, "the log level was changed until the host ends");
    Ok(log(State(admin)).await)
}
