//! The whole life of a host: configure, check, take the state, start, serve, wait, drain. `run` is that; `dev` does something beside it.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower::ServiceExt;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use super::{Listeners, RunArguments};
use crate::admin::Admin;
use crate::application::Host;
use crate::config::{self, AppConfig, LogFormat, Overrides};
use crate::control::{Control, Initial, Wanted};
use crate::http::Edge;
use crate::http::server::{Bounds, Listener};
use crate::state::{HostInfo, StateFolder};
use crate::telemetry::log::{LogControl, parse_log_level};
use crate::telemetry::{Recorder, Telemetry};

/// Connections that the admin listener has open at once.
const ADMIN_CONNECTIONS: u32 = 64;
/// Log lines that wait to be written; further ones are lost. At 200 bytes a line that is 2 MB.
const LOG_QUEUE: usize = 10_000;
/// How long after a signal another one means the same.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// How long databases may take to close after everything has drained.
const CLOSE_TIME: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let start = Instant::now();
    let RunArguments { application, listeners: Listeners { listen, admin, admin_token }, state, published, otlp } =
        arguments;
    // By the standard, an empty variable is none.
    let otlp = otlp.filter(|address| !address.is_empty()).map(|address| address.parse()).transpose()?;
    let overrides = Overrides { listen, admin, state, otlp, components: None };
    let config = config::load(&application.app, &overrides)?;
    let (log, _flush) = start_log(config.log.format, config.log.level.as_str())?;
    let state = StateFolder::open(&config.state)?;
    let token = state.token(admin_token).context("the admin token can't be used")?;
    let wanted = if published { Wanted::Published } else { Wanted::Newest };
    let initial = Initial::find(config, application.app, &overrides, state, wanted)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(initial, token, log, start, |_, _| std::future::pending()));
    // A start that was stopped may be compiling still: nobody waits for what nobody wants any more.
    runtime.shutdown_background();
    done
}

/// Starts an application, serves it until a signal, and lets what is in flight finish. As long as it serves, `beside` is done as well;
/// it is given the application and where the host listens.
///
/// # Errors
///
/// [`Problems`](crate::problem::Problems) where the application can't be started.
pub(super) async fn serve<B: Future<Output = std::convert::Infallible>>(
    initial: Initial,
    token: String,
    log: Arc<LogControl>,
    start: Instant,
    beside: impl FnOnce(Arc<Control>, HostInfo) -> B,
) -> anyhow::Result<()> {
    let config = initial.config().clone();
    // Signals are heard from here on: one that comes during the start ends it in order.
    let mut stop_signal = std::pin::pin!(signalled()?);
    let (listener, admin_listener) = bind(&config)?;
    let mut host = Host::new().context("the host can't find its own binary")?;
    host.telemetry = Telemetry::with(Recorder::start(&config.telemetry, &config.name)?);
    let telemetry = host.telemetry.clone();
    telemetry.set_slow_sql(config.log.slow_sql);
    let starting = tokio::task::spawn_blocking(move || initial.start(&host));
    let control = tokio::select! {
        biased;
        () = &mut stop_signal => return Ok(()),
        started = starting => Arc::new(started.context("the start failed")??),
    };
    let runtime = control.runtime().clone();

    let (stop, stopped) = watch::channel(false);
    let (stop_admin, admin_stopped) = watch::channel(false);
    let admin = Admin::new(control.clone(), token, log);
    let edge = Edge::new(runtime.clone(), config.http);
    let info = HostInfo { process: std::process::id(), listen: listener.address()?, admin: admin_listener.address()? };
    control.state().announce(&info).context("the state folder can't be written")?;

    let admin_task = tokio::spawn(serve_admin(admin_listener, admin.clone(), admin_stopped));
    tokio::select! {
        // Nobody holds the generation longer than that.
        () = async { runtime.current().resume().await } => {}
        () = &mut stop_signal => return Ok(()),
    }
    let data_edge = edge.clone();
    let data_task = tokio::spawn(listener.serve(move |request| data_edge.clone().handle(request), stopped));
    admin.set_ready(true);
    tracing::info!(listen = %info.listen, admin = %info.admin, millis = start.elapsed().as_millis(), "ready");

    tokio::select! {
        () = &mut stop_signal => {}
        never = beside(control.clone(), info) => match never {},
        never = control.clone().watch() => match never {},
    }
    tracing::info!(drain = ?config.http.drain, "stopping: no new connections, finishing what is in flight");
    admin.set_ready(false);
    let drained_by = Instant::now() + config.http.drain;
    stop.send_replace(true);
    tokio::spawn(async {
        // Whoever asks twice doesn't want to wait; who sends one signal twice at once (as `timeout` does) asks once.
        tokio::time::sleep(SAME_SIGNAL).await;
        if let Ok(again) = signalled() {
            again.await;
            std::process::exit(1);
        }
    });
    let all_answered = data_task.await.context("the data listener failed")?;
    // Calls whose clients went away have no connection any more.
    let all_ended = edge.finish(drained_by).await && all_answered;
    stop_admin.send_replace(true);
    let _ = admin_task.await;
    close(&control).await;
    // It waits for the collector, by a thread that may block.
    let _ = tokio::task::spawn_blocking(move || telemetry.stop()).await;
    if all_ended {
        tracing::info!("stopped");
    } else {
        tracing::warn!(drain = ?config.http.drain, "stopped; some requests did not end in time and were cut off");
    }
    Ok(())
}

/// To be called within the runtime that will serve.
fn bind(config: &AppConfig) -> anyhow::Result<(Listener, Listener)> {
    let bounds = Bounds {
        connections: config.http.connections,
        header_timeout: config.http.header_timeout,
        drain: config.http.drain,
    };
    let listener = Listener::bind(config.listen, bounds)
        .with_context(|| format!("can't listen on {}; choose another with --listen", config.listen))?;
    let bounds = Bounds { connections: ADMIN_CONNECTIONS, ..bounds };
    let admin = Listener::bind(config.admin, bounds)
        .with_context(|| format!("can't listen on {}; choose another with --admin", config.admin))?;
    Ok((listener, admin))
}

async fn serve_admin(listener: Listener, admin: Arc<Admin>, stop: watch::Receiver<bool>) {
    let router = admin.router();
    let handle = move |request: Request<Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    listener.serve(handle, stop).await;
}

async fn close(control: &Control) {
    if tokio::time::timeout(CLOSE_TIME, control.close()).await.is_err() {
        tracing::warn!("a database is still busy; what was acknowledged is safe");
    }
}

/// Waits for SIGTERM or Ctrl-C. They are heard from the call on, not from the first poll.
pub(super) fn signalled() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be heard")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Logs to standard error, by a thread of its own: whoever reads it may stall or go away, and no request waits for that. What is
/// returned changes what is logged, and writes what is left when it is dropped. `level` is what to log unless `WATERTIGHT_LOG` says; both
/// may say more than a level: `info,request=debug`.
pub(super) fn start_log(format: LogFormat, level: &str) -> anyhow::Result<(Arc<LogControl>, WorkerGuard)> {
    let asked = std::env::var("WATERTIGHT_LOG").ok().filter(|directives| !directives.is_empty());
    let text = asked.unwrap_or_else(|| level.to_owned());
    let filter = parse_log_level(&text).context("WATERTIGHT_LOG can't be understood")?;
    let (writer, flush) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_QUEUE).finish(std::io::stderr());
    // A line that can't be written is lost: to say so on the same standard error would fail as well, by a panic.
    let lines = tracing_subscriber::fmt().with_writer(writer).log_internal_errors(false);
    let control = match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            LogControl::new(text, move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        LogFormat::Human => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            LogControl::new(text, move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
    };
    Ok((Arc::new(control), flush))
}
