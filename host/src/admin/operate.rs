//! What keeps a host in order, over HTTP: `backup`, and what it logs.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Admin, not_ready, problem};
use crate::backup::BackupError;

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

pub(super) async fn backup(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Response> {
    let BackupRequest { to } = serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?;
    if !admin.is_ready() {
        return Err(not_ready());
    }
    let asked = admin.clone();
    let written = admin.control.back_up(to, move || !asked.is_ready()).await;
    written.map(|manifest| Json(manifest).into_response()).map_err(|error| refused(&error))
}

fn refused(error: &BackupError) -> Response {
    let (status, name) = match error {
        BackupError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        BackupError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
        BackupError::Target { .. } => (StatusCode::CONFLICT, "refused"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "backup-failed"),
    };
    // Whoever has the token may know what is where.
    let detail = crate::problem::with_causes(error);
    tracing::warn!(target: "change", error = detail, "nothing was backed up");
    problem(status, name, &detail)
}

pub(super) async fn log(State(admin): State<Arc<Admin>>) -> Response {
    Json(LogLevel { level: admin.log.now() }).into_response()
}

pub(super) async fn set_log(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Response> {
    let LogLevel { level } = serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?;
    admin.log.set(&level).map_err(|error| invalid(&format!("the log level can't be set: {error}")))?;
    tracing::info!(target: "change", level, "what is logged was set, until the host ends");
    Ok(log(State(admin)).await)
}

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "invalid-request", detail)
}
