//! The life of a host: configure, check, lock the state folder, start, serve, wait for a signal, drain. `run` and `dev` share it.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use super::inherited::InheritedSockets;
use super::installed::{new_host, overrides};
use super::listeners::{Sockets, serve_router};
use super::manager::ServiceManager;
use super::{Listeners, RunArguments, signals};
use watertight_build::outdated;
use watertight_control::application;
use watertight_control::control::{Control, StartPlan, StartSource};
use watertight_control::state::{HostInfo, StateFolder};
use watertight_disk::failpoint::panic_point;
use watertight_edge::admin::{AdminApi, Probe, Tries};
use watertight_edge::http::DataListener;
use watertight_edge::http::server::Listener;
use watertight_engine::Engines;
use watertight_model::config::{self, AppConfig, LogFormat, Overrides};
use watertight_model::problem::Problem;
use watertight_outbound::reload_certificates;
use watertight_telemetry::log::{LogControl, parse_log_filter};
use watertight_telemetry::{LineRateLimit, Recorder, Telemetry};

/// The maximum number of log lines that wait to be written. Further lines are lost. At 200 bytes a line, the queue takes 2 MB.
const LOG_QUEUE: usize = 10_000;
/// How long a stopping host waits for requests to the admin listener after all calls have ended.
const ADMIN_TIME: Duration = Duration::from_secs(5);
/// How long a stopping host waits for databases to close after all requests have ended.
const CLOSE_TIME: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let start = Instant::now();
    arguments.no_fakes.refuse("run")?;
    // Taken before the runtime starts threads.
    let handed = InheritedSockets::take()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Signals are caught from here on, so that one that comes during the check or the start ends the host in order.
    let signals = runtime.block_on(async { Signals::install(HangupAction::Reload) })?;
    panic_point("start::read");
    let RunArguments { application, listeners, state, published, apply, accept_empty, otlp, .. } = arguments;
    let Listeners { listen, admin, probe, admin_token } = listeners;
    // By OpenTelemetry's specification, an empty variable counts as unset.
    let otlp = otlp.filter(|address| !address.is_empty()).map(|address| address.parse()).transpose()?;
    let overrides = Overrides { listen, admin, probe, state, otlp, ..overrides() };
    let config = application::load(&application.app, &overrides)?;
    let (log, _flush) = start_log(config.log.format, config.log.level.as_str())?;
    let state = StateFolder::open(&config.state)?.accept_empty(accept_empty.into_iter().collect());
    let token = state.token(admin_token).context("the admin token can't be used")?;
    let wanted = match (published, apply) {
        (true, _) => StartSource::Published,
        (_, true) => StartSource::Disk,
        _ => StartSource::Newest,
    };
    // Sources are looked at beside the check. `--published` takes nothing from the disk.
    let look = (!published).then(|| config.clone());
    let look = look.map(|config| std::thread::spawn(move || outdated(&config)));
    let initial = StartPlan::find(config, application.app, &overrides, state, wanted);
    for Problem { message, help, module, .. } in look.and_then(|look| look.join().ok()).unwrap_or_default() {
        let (module, help) = (module.map(tracing::field::display), help.unwrap_or_default());
        tracing::warn!(target: "change", module, help, "{message}");
    }
    let initial = initial?;
    let done = runtime.block_on(serve(initial, token, log, start, signals, handed, |_, _| std::future::pending()));
    // A stopped start may still be compiling. No one waits for it.
    runtime.shutdown_background();
    done
}

/// Starts an application, serves it until a signal comes, and then waits for requests in flight.
///
/// While the host serves, it also runs the future that `beside` returns for the application and the addresses of the listeners. However the
/// host ends, it closes the databases and sends the remaining trace spans.
///
/// # Errors
///
/// Returns [`Problems`](watertight_model::problem::Problems) if the application cannot be started. Returns a text for every other failure.
pub(super) async fn serve<B: Future<Output = std::convert::Infallible>>(
    initial: StartPlan,
    token: String,
    log: Arc<LogControl>,
    start: Instant,
    signals: Signals,
    handed: InheritedSockets,
    beside: impl FnOnce(Arc<Control>, HostInfo) -> B,
) -> anyhow::Result<()> {
    let config = initial.config().clone();
    let mut stop_signal = signals.stop;
    let mut sockets = Sockets::bind(&config, handed)?;
    let mut host = new_host(&config)?;
    host.telemetry = Telemetry::with_recorder(Recorder::start(&config.telemetry, &config.name)?);
    let (telemetry, engines) = (host.telemetry.clone(), host.engines.clone());
    telemetry.set_slow_sql(config.log.slow_sql);
    let probe = RunningProbe::start(sockets.probe.take(), &telemetry)?;
    let manager = ServiceManager::find();
    let mut starting = tokio::task::spawn_blocking(move || initial.start(&host));
    let started = tokio::select! {
        biased;
        () = &mut stop_signal => None,
        started = &mut starting => Some(started.context("the start failed")?),
        never = manager.extend_start(&engines) => match never {},
    };
    let served = match started {
        Some(Ok(control)) => {
            let host = Serving { control: Arc::new(control), engines, config: config.clone(), log, start, manager };
            let served = host.serve(sockets, &probe, token, stop_signal, signals.hangup, beside).await;
            close(&host.control).await;
            served.map(Some)
        }
        Some(Err(problems)) => Err(problems.into()),
        None => {
            engines.stop_compiling();
            // Close what the start has opened, unless that takes too long.
            if let Ok(Ok(Ok(control))) = tokio::time::timeout(CLOSE_TIME, starting).await {
                close(&control).await;
            }
            Ok(None)
        }
    };
    probe.stop().await;
    // Stopping waits for the collector, so it runs on a blocking thread.
    let _ = tokio::task::spawn_blocking(move || telemetry.stop()).await;
    match served? {
        Some(true) => tracing::info!("stopped"),
        Some(false) => {
            let drain = config.http.drain;
            tracing::warn!(?drain, "stopped; some requests did not end in time and were cut off");
        }
        None => tracing::info!("stopped before the start was complete"),
    }
    Ok(())
}

/// The reaction of a host to a hangup (SIGHUP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HangupAction {
    /// Read certificates and the manifest's log level again.
    Reload,
    /// Stop, because the host belongs to an author's terminal.
    Stop,
}

/// The signals that a host has caught.
pub(super) struct Signals {
    pub(super) stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The stream of hangups (SIGHUP). `None` if a hangup stops the host instead of reloading.
    hangup: Option<Signal>,
}

impl Signals {
    /// Catches the signals from now on. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses a signal handler.
    pub(super) fn install(hangup: HangupAction) -> anyhow::Result<Self> {
        signals::ignore_user_signals()?;
        Ok(match hangup {
            HangupAction::Stop => Self { stop: Box::pin(signals::termination_or_hangup()?), hangup: None },
            HangupAction::Reload => Self { stop: Box::pin(signals::termination()?), hangup: Some(signals::hangup()?) },
        })
    }
}

/// A started host.
struct Serving {
    control: Arc<Control>,
    engines: Engines,
    config: AppConfig,
    log: Arc<LogControl>,
    start: Instant,
    manager: ServiceManager,
}

impl Serving {
    /// Serves until `stop_signal`, then waits for requests in flight. Returns whether all of them ended in time.
    async fn serve<B: Future<Output = std::convert::Infallible>>(
        &self,
        sockets: Sockets,
        probe: &RunningProbe,
        token: String,
        mut stop_signal: impl Future<Output = ()> + Unpin,
        hangup: Option<Signal>,
        beside: impl FnOnce(Arc<Control>, HostInfo) -> B,
    ) -> anyhow::Result<bool> {
        let Self { control, config, .. } = self;
        let runtime = control.runtime().clone();
        let (stop, stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let edge = DataListener::new(runtime.clone(), config.http, config.state.clone());
        let tries = Tries::new(edge.clone(), sockets.data.address()?);
        let admin = AdminApi::new(control.clone(), token, self.log.clone(), tries);
        probe.answers.set(admin.clone());
        let info = HostInfo {
            process: std::process::id(),
            listen: sockets.data.address()?,
            admin: sockets.admin.address()?,
            probe: probe.address,
        };
        control.state().write_host_info(&info).context("the state folder can't be written")?;

        let admin_task = {
            let telemetry = runtime.current().telemetry().clone();
            tokio::spawn(serve_router(sockets.admin, admin.clone().router(), telemetry, admin_stopped))
        };
        let was_resumed = tokio::select! {
            // The temporary generation handle must not live longer than this call, so that the generation can be freed later.
            () = async { runtime.current().resume().await } => true,
            () = &mut stop_signal => false,
        };
        let pulse = sockets.data.pulse();
        let data_task = was_resumed.then(|| {
            let (data_edge, telemetry) = (edge.clone(), runtime.current().telemetry().clone());
            let handle = move |request| data_edge.clone().handle(request);
            tokio::spawn(async move { sockets.data.serve(handle, &telemetry, stopped).await })
        });
        if was_resumed {
            admin.set_ready(true);
            let millis = self.start.elapsed().as_millis();
            tracing::info!(listen = %info.listen, admin = %info.admin, millis, "ready");
            self.manager.ready(&format!("serving on {}", info.listen));
            tokio::select! {
                () = &mut stop_signal => {}
                never = beside(control.clone(), info) => match never {},
                never = control.clone().watch() => match never {},
                never = self.reload_on(hangup) => match never {},
                never = self.manager.feed_watchdog(pulse) => match never {},
                never = runtime.clone().recover() => match never {},
            }
        }

        tracing::info!(
            drain = ?config.http.drain,
            "stopping: no new connections are accepted, and requests in flight get the time `drain` to end"
        );
        self.manager.stopping(config.http.drain);
        admin.set_ready(false);
        let drained_by = Instant::now() + config.http.drain;
        stop.send_replace(true);
        // No change can be published any more, so running compilations are useless.
        self.engines.stop_compiling();
        tokio::spawn(async {
            signals::second_termination().await;
            std::process::exit(1);
        });
        let ending = runtime.clone();
        let ending = tokio::spawn(async move {
            tokio::time::sleep_until(drained_by.into()).await;
            // The clients of streams can tell then that these have ended, and connect elsewhere.
            ending.cut_off()
        });
        let all_answered = match data_task {
            Some(task) => task.await.context("the data listener failed")?,
            None => true,
        };
        // Calls whose clients have gone have no connection any more, so the listener did not wait for them.
        let all_ended = edge.wait_idle(drained_by).await && runtime.finish(drained_by).await;
        stop_admin.send_replace(true);
        // Cutting off operators loses nothing: a change counts once it is published, and a backup once it is complete.
        let _ = tokio::time::timeout(ADMIN_TIME, admin_task).await;
        let is_idle = runtime.finish(drained_by).await;
        ending.abort();
        let was_cut_off = ending.await.unwrap_or(false);
        Ok(is_idle && all_ended && all_answered && !was_cut_off)
    }

    /// Reloads the trusted certificates and the log level at each hangup. Without a stream of hangups, waits forever.
    async fn reload_on(&self, hangup: Option<Signal>) -> std::convert::Infallible {
        if let Some(mut hangup) = hangup {
            while hangup.recv().await.is_some() {
                self.manager.reloading();
                self.reload().await;
                self.manager.reloaded();
            }
        }
        std::future::pending().await
    }

    async fn reload(&self) {
        match reload_certificates().await {
            Ok(trusted) => tracing::info!(trusted, "SIGHUP: the certificates that the system trusts were read again"),
            Err(error) => {
                tracing::error!(%error, "SIGHUP: no certificates were found, and the certificates read before stay trusted");
            }
        }
        let manifest = self.config.manifest.clone();
        let read = tokio::task::spawn_blocking(move || config::load(&manifest, &overrides())).await;
        let level = match read {
            Ok(Ok(config)) => log_level(config.log.level.as_str()),
            Ok(Err(problems)) => {
                let problems = problems.to_string();
                return tracing::error!(
                    problems,
                    "SIGHUP: the manifest can't be read, and the log level stays as it is"
                );
            }
            Err(error) => {
                return tracing::error!(%error, "SIGHUP: the host failed to read the manifest, and the log level stays as it is");
            }
        };
        match self.log.set(&level) {
            Ok(()) => tracing::info!(level, "SIGHUP: the configured log level was applied"),
            Err(error) => tracing::error!(%error, level, "SIGHUP: the log level can't be set and stays as it is"),
        }
    }
}

/// The probe listener, if configured. It answers from before the application's start until after its stop.
struct RunningProbe {
    answers: Arc<Probe>,
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl RunningProbe {
    fn start(listener: Option<Listener>, telemetry: &Arc<Telemetry>) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let answers = Arc::new(Probe::default());
        let address = listener.as_ref().map(Listener::address).transpose()?;
        let serve = |listener| serve_router(listener, answers.clone().router(), telemetry.clone(), stopped);
        let task = listener.map(|listener| tokio::spawn(serve(listener)));
        Ok(Self { answers, address, stop, task })
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}

async fn close(control: &Control) {
    if tokio::time::timeout(CLOSE_TIME, control.close()).await.is_err() {
        tracing::warn!("a database was still busy and was not closed in time; every acknowledged write is on the disk");
    }
}

/// Starts to log to standard error. A thread of its own writes the lines, so that a slow reader blocks no request.
///
/// Returns the control of the log level, and a guard that writes the remaining lines when it is dropped. `level` applies unless
/// `WATERTIGHT_LOG` is set. Both may be directives such as `info,request=debug`.
///
/// # Errors
///
/// Fails if `WATERTIGHT_LOG` cannot be parsed.
pub(super) fn start_log(format: LogFormat, level: &str) -> anyhow::Result<(Arc<LogControl>, WorkerGuard)> {
    let text = log_level(level);
    let filter = parse_log_filter(&text).context("WATERTIGHT_LOG can't be parsed")?;
    let (writer, flush) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_QUEUE).finish(std::io::stderr());
    // A line that cannot be written is lost. Reporting that on the same standard error would fail too, with a panic.
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
    log_panics();
    Ok((Arc::new(control), flush))
}

/// Returns the log directives: `WATERTIGHT_LOG` if it is set, else `level`.
fn log_level(level: &str) -> String {
    let asked = std::env::var("WATERTIGHT_LOG").ok().filter(|directives| !directives.is_empty());
    asked.unwrap_or_else(|| level.to_owned())
}

/// Logs each panic as one line. With `RUST_BACKTRACE`, the usual output is printed too.
fn log_panics() {
    let (lines, usual) = (LineRateLimit::default(), std::panic::take_hook());
    let is_traced = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(unwritten) = lines.try_acquire() {
            let (at, reason) = (panic.location().map(ToString::to_string), panic.payload_as_str());
            tracing::error!(target: "panic", at, reason, unwritten, "the host panicked");
        }
        if is_traced {
            usual(panic);
        }
    }));
}
