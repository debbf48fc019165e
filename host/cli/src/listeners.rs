//! Binds a host's listeners and raises the limit of open files. The admin and probe listeners have limits of their own, so clients of the
//! data listener cannot use up their connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::inherited::InheritedSockets;
use watertight_edge::http::server::{Listener, ListenerLimits, RequestBody, UnauthenticatedLimits};
use watertight_model::config::{AppConfig, OutboundConfig};
use watertight_model::ids::CapabilityName;
use watertight_telemetry::Telemetry;

/// The maximum number of open requests on one HTTP/2 connection of the data listener.
const DATA_STREAMS: u32 = 256;
/// The maximum number of open requests on one HTTP/2 connection of the admin or probe listener. It is small because requests for metrics
/// need no token, and each response that the client does not read takes memory.
const OPERATOR_STREAMS: u32 = 8;
/// The maximum number of open connections of the admin listener.
const ADMIN_CONNECTIONS: u32 = 256;
/// The maximum number of connections to the admin listener that have sent no token. The remaining connections are reserved for the
/// operator.
const TOKENLESS_CONNECTIONS: u32 = 224;
/// The idle time after which an admin connection without a token is closed.
const TOKENLESS_IDLE: Duration = Duration::from_secs(2);
/// The maximum number of open connections of the probe listener.
const PROBE_CONNECTIONS: u32 = 64;
/// The idle time after which a connection of the probe listener is closed.
const PROBE_IDLE: Duration = Duration::from_secs(2);
/// The idle time after which a full listener may close a connection to make room for another. It gives a client time to send its first
/// request.
const GRACE: Duration = Duration::from_millis(250);
/// The same idle time for the admin and probe listeners. It is shorter because their clients are near.
const OPERATOR_GRACE: Duration = Duration::from_millis(50);
/// The number of open files that a host needs besides connections: sockets, the log, the state folder, backups, the compiler.
const OTHER_FILES: u64 = 128;
/// The number of open files that a module's database needs: each connection to it has three.
const DATABASE_FILES: u64 = 32;
/// The maximum limit of open files that the host asks the operating system for. Some programs that it starts iterate over every possible
/// file number.
const MAX_FILES: u64 = 1 << 20;

/// The bound listeners of a host.
pub(super) struct Sockets {
    pub(super) data: Listener,
    pub(super) admin: Listener,
    pub(super) probe: Option<Listener>,
}

impl Sockets {
    /// Binds the listeners, except those whose sockets were handed over. Must run inside the tokio runtime that will serve them.
    pub(super) fn bind(config: &AppConfig, handed: InheritedSockets) -> anyhow::Result<Self> {
        let http = &config.http;
        let data = ListenerLimits {
            connections: connections(config),
            streams: DATA_STREAMS,
            tokenless: None,
            header_timeout: http.header_timeout,
            min_idle_before_eviction: GRACE,
            progress_timeout: http.stall,
            max_held_bytes: http.held,
            drain_timeout: http.drain,
        };
        // The operator's requests are bounded apart from those of clients.
        let near = ListenerLimits {
            streams: OPERATOR_STREAMS,
            min_idle_before_eviction: OPERATOR_GRACE,
            max_held_bytes: u64::MAX,
            ..data
        };
        let tokenless = UnauthenticatedLimits { connections: TOKENLESS_CONNECTIONS, idle: TOKENLESS_IDLE };
        let admin = ListenerLimits { connections: ADMIN_CONNECTIONS, tokenless: Some(tokenless), ..near };
        let probe = ListenerLimits {
            connections: PROBE_CONNECTIONS,
            header_timeout: PROBE_IDLE.min(http.header_timeout),
            ..near
        };
        let bind = |name, address, flag, bounds| {
            Listener::bind(name, address, bounds)
                .with_context(|| format!("can't listen on {address}; choose another with {flag}"))
        };
        let take = |name, socket, bounds| {
            let listener =
                Listener::inherited(name, socket, bounds).context("a socket that was handed over can't be used")?;
            let address = listener.address()?;
            tracing::info!(%address, "the {name} listener uses a socket that the service manager keeps open");
            Ok::<_, anyhow::Error>(listener)
        };
        Ok(Self {
            data: match handed.data {
                Some(socket) => take("data", socket, data)?,
                None => bind("data", config.listen, "--listen", data)?,
            },
            admin: match handed.admin {
                Some(socket) => take("admin", socket, admin)?,
                None => bind("admin", config.admin, "--admin", admin)?,
            },
            probe: match handed.probe {
                Some(socket) => Some(take("probe", socket, probe)?),
                None => config.probe.map(|address| bind("probe", address, "--probe", probe)).transpose()?,
            },
        })
    }
}

/// Returns the maximum number of connections of the data listener: as configured, or fewer if the limit of open files does not leave as
/// many.
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
        "this process is allowed to open too few files: the data listener has fewer connections than `http.connections` says. Raise the \
         hard limit (`ulimit -Hn`, `LimitNOFILE=` of systemd, `--ulimit nofile=` of Docker), or lower `http.connections`"
    );
    u32::try_from(room).unwrap_or(wanted)
}

/// Returns the number of open files that the host needs besides the data listener's connections.
fn files_beside(config: &AppConfig) -> u64 {
    let outbound: u64 = {
        let ask = config.modules.values().filter(|module| module.uses.contains_key(CapabilityName::HTTP));
        ask.filter_map(|module| module.settings_of::<OutboundConfig>(CapabilityName::HTTP))
            .map(|http| u64::from(http.concurrent + OutboundConfig::MAX_POOLED))
            .sum()
    };
    let databases = DATABASE_FILES * config.modules.len() as u64;
    OTHER_FILES + u64::from(ADMIN_CONNECTIONS + PROBE_CONNECTIONS) + databases + outbound
}

/// Raises this process's soft limit of open files to its hard limit, but at most to [`MAX_FILES`]. Returns the resulting limit, which is the
/// old one if it can't be raised, or `None` if the soft limit is unlimited.
fn raise_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let target = maximum.unwrap_or(MAX_FILES).min(MAX_FILES);
    if target <= current {
        return Some(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum }) {
        Ok(()) => Some(target),
        Err(error) => {
            tracing::warn!(%error, files = current, "the process's limit of open files can't be raised, and stays as it is");
            Some(current)
        }
    }
}

/// Serves `router` on the admin or probe listener until `stop` is true.
pub(super) async fn serve_router(
    listener: Listener,
    router: Router,
    telemetry: Arc<Telemetry>,
    stop: watch::Receiver<bool>,
) {
    let handle = move |request: Request<RequestBody>| {
        let connection = request.body().connection().clone();
        let mut request = request.map(Body::new);
        // The router marks the connection as the operator's when a request shows the token.
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
