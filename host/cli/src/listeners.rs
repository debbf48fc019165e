//! The listeners of a host, and the files that they need: those for the operator and for probes get theirs whatever comes by the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tower::ServiceExt as _;

use watertight_edge::http::server::{Bounds, Listener, RequestBody, Tokenless};
use watertight_model::config::{AppConfig, Capability};
use watertight_telemetry::Telemetry;

/// Requests that one HTTP/2 connection may have open: of clients, and of the operator or of probes. Whoever needs no token may ask for
/// metrics, of which each answer that nobody reads takes memory.
const STREAMS: u32 = 256;
const NEAR_STREAMS: u32 = 8;
/// Connections that the admin listener has open at once.
const ADMIN_CONNECTIONS: u32 = 256;
/// How many of them may have sent no token: the rest is for the operator.
const TOKENLESS_CONNECTIONS: u32 = 224;
/// How long one of those may be idle.
const TOKENLESS_IDLE: Duration = Duration::from_secs(2);
/// Connections that the listener for probes has open at once.
const PROBE_CONNECTIONS: u32 = 64;
/// How long one of those may be idle.
const PROBE_IDLE: Duration = Duration::from_secs(2);
/// How long a connection is idle before it may be ended to make room for another: time to send a first request.
const GRACE: Duration = Duration::from_millis(250);
/// The same, on the listeners whose clients are near.
const SHORT_GRACE: Duration = Duration::from_millis(50);
/// Files that a host needs beside connections: sockets, the log, the state folder, backups, what compiles.
const OTHER_FILES: u64 = 128;
/// Files that a module's database needs: each connection to it has three.
const DATABASE_FILES: u64 = 32;
/// More files than that are never asked for: some programs that the host runs look at every number.
const MOST_FILES: u64 = 1 << 20;

/// The sockets of a host.
pub(super) struct Sockets {
    pub(super) data: Listener,
    pub(super) admin: Listener,
    pub(super) probe: Option<Listener>,
}

impl Sockets {
    /// Binds them. To be called within the runtime that will serve.
    pub(super) fn bind(config: &AppConfig) -> anyhow::Result<Self> {
        let http = &config.http;
        let data = Bounds {
            connections: connections(config),
            streams: STREAMS,
            tokenless: None,
            header_timeout: http.header_timeout,
            grace: GRACE,
            stall: http.stall,
            held: http.held,
            drain: http.drain,
        };
        // What the operator sends and asks for has bounds of its own.
        let near = Bounds { streams: NEAR_STREAMS, grace: SHORT_GRACE, held: u64::MAX, ..data };
        let tokenless = Tokenless { connections: TOKENLESS_CONNECTIONS, idle: TOKENLESS_IDLE };
        let admin = Bounds { connections: ADMIN_CONNECTIONS, tokenless: Some(tokenless), ..near };
        let probe =
            Bounds { connections: PROBE_CONNECTIONS, header_timeout: PROBE_IDLE.min(http.header_timeout), ..near };
        let bind = |name, address, flag, bounds| {
            Listener::bind(name, address, bounds)
                .with_context(|| format!("can't listen on {address}; choose another with {flag}"))
        };
        Ok(Self {
            data: bind("data", config.listen, "--listen", data)?,
            admin: bind("admin", config.admin, "--admin", admin)?,
            probe: config.probe.map(|address| bind("probe", address, "--probe", probe)).transpose()?,
        })
    }
}

/// How many connections the data listener may have open: as many as the configuration says, or as the files allow that nothing else needs.
fn connections(config: &AppConfig) -> u32 {
    let wanted = config.http.connections;
    let needed = files_beside(config);
    let Some(files) = raise_files() else { return wanted };
    let room = files.saturating_sub(needed).max(1);
    if room >= u64::from(wanted) {
        return wanted;
    }
    tracing::warn!(
        files,
        needed = needed + u64::from(wanted),
        connections = room,
        configured = wanted,
        "this process may open too few files: the data listener has fewer connections than `http.connections` says. Raise the hard \
         limit (`ulimit -Hn`, `LimitNOFILE=` of systemd, `--ulimit nofile=` of Docker), or lower `http.connections`"
    );
    u32::try_from(room).unwrap_or(wanted)
}

/// The files that are needed beside the data listener's connections.
fn files_beside(config: &AppConfig) -> u64 {
    let outbound: u64 = {
        let ask = config.modules.values().filter(|module| module.uses.contains_key(&Capability::Http));
        ask.map(|module| u64::from(module.http.concurrent)).sum()
    };
    let databases = DATABASE_FILES * config.modules.len() as u64;
    OTHER_FILES + u64::from(ADMIN_CONNECTIONS + PROBE_CONNECTIONS) + databases + outbound
}

/// Raises the soft limit of open files to the hard one; returns what may be open then, where that is bounded.
fn raise_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let target = maximum.unwrap_or(MOST_FILES).min(MOST_FILES);
    if target <= current {
        return Some(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum }) {
        Ok(()) => Some(target),
        Err(error) => {
            tracing::warn!(%error, files = current, "the limit of open files can't be raised");
            Some(current)
        }
    }
}

/// Serves `router` on a listener that isn't the data listener, until `stop` says so.
pub(super) async fn serve_router(
    listener: Listener,
    router: Router,
    telemetry: Arc<Telemetry>,
    stop: watch::Receiver<bool>,
) {
    let handle = move |request: Request<RequestBody>| {
        let connection = request.body().connection().clone();
        let mut request = request.map(Body::new);
        // Who shows the token is told apart there.
        request.extensions_mut().insert(connection);
        let answer = router.clone().oneshot(request);
        async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    listener.serve(handle, &telemetry, stop).await;
}
