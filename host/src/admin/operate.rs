//! What keeps a host in order, over HTTP: `backup`.

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

fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "invalid-request", detail)
}
