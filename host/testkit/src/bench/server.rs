//! Servers under test: separate processes on a processor core of their own.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::cores::Cores;
use super::load::{Requests, once};
use crate::paths;

/// The time within which a server must be ready. It is long because the host compiles modules at its first start.
const START_TIME: Duration = Duration::from_secs(120);
/// The interval at which the server's log is checked for readiness, and so the resolution of [`Server::start_time`].
const POLL_INTERVAL: Duration = Duration::from_micros(200);
/// The time within which another program must be ready, and the interval at which it is asked.
const PROGRAM_START_TIME: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The time within which a server must end.
const STOP_TIME: Duration = Duration::from_secs(10);
/// The environment variable that makes the benchmark's own binary run as a native server. Without it, the binary runs the benchmark.
const ROLE: &str = "WATERTIGHT_BENCH_ROLE";
/// The environment variable that has the path of a native server's data folder.
const STATE: &str = "WATERTIGHT_BENCH_STATE";

/// A running server. Dropping it ends the process.
pub struct Server {
    child: Child,
    /// The address on which the server listens.
    pub address: SocketAddr,
    /// The time from just before the start until the server reported that it is ready.
    pub start_time: Duration,
    log: PathBuf,
}

impl Server {
    /// Starts the host with the application at `app` and the state folder `state`. Without `cores`, it uses all processor cores.
    pub fn host(cores: Option<&Cores>, app: &Path, state: &Path) -> anyhow::Result<Self> {
        Self::host_of(&paths::binary(), cores, app, state)
    }

    /// Starts another build of the host, `binary`, with the application at `app` and the state folder `state`. Without `cores`, it uses all
    /// processor cores.
    pub fn host_of(binary: &Path, cores: Option<&Cores>, app: &Path, state: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.arg("run").arg(app).arg("--state").arg(state);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        for variable in ["WATERTIGHT_LOG", "WATERTIGHT_LISTEN", "WATERTIGHT_ADMIN", "WATERTIGHT_STATE"] {
            command.env_remove(variable);
        }
        Self::start(cores, command, &state.with_extension("log"))
    }

    /// Starts the benchmark's own binary as a native server that keeps its data in `state`.
    pub fn native(cores: &Cores, state: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(ROLE, "native").env(STATE, state);
        Self::start(Some(cores), command, &state.with_extension("log"))
    }

    /// Starts another program as a server that listens on `address`. It is ready once it answers `probe`. `log` is the path of its log.
    pub fn program(
        cores: &Cores,
        command: Command,
        log: &Path,
        address: SocketAddr,
        probe: &Requests,
    ) -> anyhow::Result<Self> {
        Self::start_until(Some(cores), command, log, |child, start| {
            loop {
                let answered = once(address, probe);
                if let Some(ended) = child.try_wait()? {
                    bail!("a server ended with {ended}:\n{}", tail(log));
                }
                match answered {
                    Ok(_) => return Ok(address),
                    Err(error) if start.elapsed() > PROGRAM_START_TIME => {
                        return Err(error.context(format!("a server is not ready:\n{}", tail(log))));
                    }
                    Err(_) => {}
                }
                std::thread::sleep(PROBE_INTERVAL);
            }
        })
    }

    fn start(cores: Option<&Cores>, command: Command, log: &Path) -> anyhow::Result<Self> {
        Self::start_until(cores, command, log, |child, start| wait_until_ready(child, log, start))
    }

    /// Starts a server. `ready` waits until it is ready, and returns the address on which it listens.
    fn start_until(
        cores: Option<&Cores>,
        mut command: Command,
        log: &Path,
        ready: impl FnOnce(&mut Child, Instant) -> anyhow::Result<SocketAddr>,
    ) -> anyhow::Result<Self> {
        // The log goes to a file, as a service's does. A pipe would cost time on the driver's core.
        command.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
        let start = Instant::now();
        // The child process inherits the core of the thread that starts it.
        let child = match cores {
            Some(cores) => cores.pinned(cores.server, || command.spawn())?,
            None => command.spawn(),
        };
        let mut child = child.with_context(|| format!("{:?} can't be started", command.get_program()))?;
        match ready(&mut child, start) {
            Ok(address) => Ok(Self { child, address, start_time: start.elapsed(), log: log.to_owned() }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Returns the process id of the server.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Stops the server gracefully, and returns once it has ended.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let ended = self.end()?;
        if !ended.success() {
            bail!("a server ended with {ended}:\n{}", tail(&self.log));
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        if let Some(ended) = self.child.try_wait()? {
            return Ok(ended);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < STOP_TIME {
            if let Some(ended) = self.child.try_wait()? {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that does not end will be noticed anyway.
        let _ = self.end();
    }
}

/// Waits for a log line such as `… ready listen=127.0.0.1:1234 …`, and returns the address in it.
fn wait_until_ready(child: &mut Child, log: &Path, start: Instant) -> anyhow::Result<SocketAddr> {
    while start.elapsed() < START_TIME {
        let text = std::fs::read_to_string(log)?;
        if let Some((_, rest)) = text.split_once(" ready listen=").filter(|(_, rest)| rest.contains('\n')) {
            let address = rest.split_whitespace().next().unwrap_or_default();
            return address.parse().with_context(|| format!("`{address}` is no address"));
        }
        if let Some(ended) = child.try_wait()? {
            bail!("a server ended with {ended}:\n{}", tail(log));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    bail!("a server is not ready after {START_TIME:?}:\n{}", tail(log))
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Returns whether this process was started by [`Server::native`].
pub fn is_native() -> bool {
    std::env::var_os(ROLE).is_some_and(|role| role == OsStr::new("native"))
}

/// Returns the data folder of this native server.
pub fn native_state() -> anyhow::Result<PathBuf> {
    Ok(std::env::var_os(STATE).context("a native server is told where its data is")?.into())
}

/// Serves `router` until SIGTERM, as a typical native service does: with tokio's default runtime and axum's own accept loop.
pub fn serve_native(router: axum::Router) -> anyhow::Result<()> {
    use axum::serve::ListenerExt;
    use tokio::signal::unix::{SignalKind, signal};

    tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        tracing::info!(listen = %listener.local_addr()?, "ready");
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        tokio::select! {
            served = async { axum::serve(listener, router).await } => served?,
            _ = terminate.recv() => {}
        }
        anyhow::Ok(())
    })
}
