//! A host for tests: the real binary in a process of its own, on free ports, with a state folder of its own.
//!
//! Dropping the host's value kills the process. If a failing test drops it, the host's log is printed. This module knows no application
//! except the path of the shop, and uses HTTP only to ask whether the host is ready.

pub mod code;
mod manager;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use watertight_control::state::HostInfo;

use crate::paths::{self, repository, temporary};

pub use manager::Manager;

/// The maximum time for a host to end or to respond. It is far more than a host needs, for busy machines.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit for a start of the host. A start without cached code may compile a whole JavaScript engine, while other tests do the
/// same.
const START: Duration = Duration::from_secs(300);
/// The interval between two checks of whether the host has started or ended.
const POLL_INTERVAL: Duration = Duration::from_millis(3);
/// The environment variables that the host reads. A test's host does not inherit them: a test sets those that it needs.
const VARIABLES: [&str; 7] = [
    "WATERTIGHT_LISTEN",
    "WATERTIGHT_ADMIN",
    "WATERTIGHT_PROBE",
    "WATERTIGHT_STATE",
    "WATERTIGHT_ADMIN_TOKEN",
    "WATERTIGHT_LOG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Returns the path of the shop's manifest.
///
/// # Panics
///
/// If the shop's components were not built.
pub fn shop() -> PathBuf {
    for module in ["orders", "payments", "notifications", "products"] {
        component(module);
    }
    repository().join("modules/app.toml")
}

/// Creates an empty folder under `target/tmp`. Dropping it deletes the folder.
pub fn folder() -> TempDir {
    let parent = temporary();
    fs::create_dir_all(&parent).unwrap();
    tempfile::Builder::new().prefix("host-").tempdir_in(parent).unwrap()
}

/// Copies a folder, with all folders in it, into another, which is created if it is missing.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Returns a command that runs the `watertight` binary, without the environment variables of the test process that the host would read.
pub fn binary() -> Command {
    let mut command = Command::new(paths::binary());
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Checks that the program `strace` is installed and may trace processes.
///
/// # Panics
///
/// If `strace` cannot be used.
pub fn check_strace() {
    let run = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let output =
        run.unwrap_or_else(|error| panic!("strace is missing ({error}): install it, `apt-get install -y strace`"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    let help = "this test needs ptrace; in a container allow it, `--cap-add=SYS_PTRACE`";
    assert!(output.status.success(), "strace may not trace here: {help}\n{complaint}");
}

/// Returns the path of a built component of the shop.
///
/// # Panics
///
/// If the component was not built.
pub fn component(name: &str) -> PathBuf {
    let component = repository().join("target/components").join(name).with_extension("wasm");
    let missing =
        format!("run `cargo run -p watertight-cli -- build {name} --app .` in the repository, or `make modules`");
    assert!(component.is_file(), "{} is missing: {missing}", component.display());
    component
}

/// Copies the shop to a temporary folder. `settings` is appended to the copy's manifest.
pub fn copy_of_shop(settings: &str) -> TempDir {
    copy_with_builds(&[], settings)
}

/// Copies the shop as [`copy_of_shop`] does. `builds` has the modules that are other components than their manifest says, and the names of
/// these components. A component that owns its routes has a file `mount.toml` in its folder: it takes the place of the module's routes.
pub(crate) fn copy_with_builds(builds: &[(&str, &str)], settings: &str) -> TempDir {
    let copy = folder();
    write_copy(&shop(), copy.path(), builds, settings).unwrap();
    for (module, build) in builds {
        let mount = shop().with_file_name(build).join("mount.toml");
        if mount.is_file() {
            fs::copy(mount, copy.path().join("routes").join(module).with_extension("toml")).unwrap();
        }
    }
    copy
}

/// Writes a copy of an application of this repository to `folder`: its manifest `manifest`, whose modules are built, and its route files.
/// `builds` has the modules that are other components than their manifest says. `settings` is appended to the copy's manifest.
pub(crate) fn write_copy(manifest: &Path, folder: &Path, builds: &[(&str, &str)], settings: &str) -> io::Result<()> {
    let components = repository().join("target/components");
    // The manifest of the copy names component files instead of source folders.
    let text: String = fs::read_to_string(manifest)?
        .lines()
        .map(|line| match line.strip_prefix("component = \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(name) => {
                let name = builds.iter().find(|(module, _)| *module == name).map_or(name, |(_, build)| *build);
                format!("component = \"{}/{name}.wasm\"\n", components.display())
            }
            // The copy is no workspace, so it has none of these files.
            None if line.starts_with("examples = ") => String::new(),
            None => format!("{line}\n"),
        })
        .collect();
    fs::create_dir_all(folder.join("routes"))?;
    fs::write(folder.join("app.toml"), format!("{text}\n{settings}\n"))?;
    for route in fs::read_dir(manifest.with_file_name("routes"))? {
        let route = route?;
        fs::copy(route.path(), folder.join("routes").join(route.file_name()))?;
    }
    Ok(())
}

/// The settings for starting a host.
pub struct Launch {
    app: PathBuf,
    /// The folder of a copied application, which is kept until this value is dropped. `None` if the application was not copied.
    _copy: Option<TempDir>,
    state: Option<PathBuf>,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    prefix: Vec<String>,
    /// The sockets that are handed to the host: of the data listener, and of the admin listener.
    sockets: Option<[TcpListener; 2]>,
}

impl Launch {
    /// Creates the settings for a host with the shop.
    pub fn shop() -> Self {
        Self::new(shop(), None)
    }

    /// Creates the settings for a host with the application at `app`.
    pub fn app(app: &Path) -> Self {
        Self::new(app.to_owned(), None)
    }

    /// Creates the settings for a host with the application in `folder`, which is deleted when the host is dropped.
    pub(crate) fn copy(folder: TempDir) -> Self {
        Self::new(folder.path().to_owned(), Some(folder))
    }

    fn new(app: PathBuf, copy: Option<TempDir>) -> Self {
        Self {
            app,
            _copy: copy,
            state: None,
            arguments: Vec::new(),
            variables: Vec::new(),
            prefix: Vec::new(),
            sockets: None,
        }
    }

    /// Sets the state folder. Without this call, the host gets a new state folder, which is deleted when the host is dropped.
    pub fn state(mut self, folder: &Path) -> Self {
        self.state = Some(folder.to_owned());
        self
    }

    /// Adds an argument of `watertight run`. Without the arguments `--listen` and `--admin`, both listeners get free ports.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable of the host.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the host under another program. `prefix` has its name and arguments, such as `["strace", "-f"]`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the host, and returns once it is ready.
    ///
    /// # Panics
    ///
    /// If the host ends or takes too long. The message contains the host's log.
    pub fn start(self) -> Host {
        let (own, state) = match &self.state {
            Some(state) => (None, state.clone()),
            None => {
                let own = folder();
                let state = own.path().join("state");
                (Some(own), state)
            }
        };
        code::lend(&state);
        // Clears the address that a killed host left in the lock file, so that it is not taken for the new host's.
        if state.join("lock").exists() {
            fs::write(state.join("lock"), "").unwrap();
        }
        let log = state.with_extension("log");
        let mut command = self.command(&state);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        if let Some(sockets) = &self.sockets {
            manager::hand_over(&mut command, sockets);
        }
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        let info = HostInfo { process: child.id(), listen: placeholder, admin: placeholder, probe: None };
        let mut host = Host { child, info, state, log, _own: own, _copy: self._copy };
        host.wait_until_ready();
        code::keep(&host.state);
        host
    }

    /// Starts a host that is expected to end by itself. Returns the host's exit status and log.
    ///
    /// # Panics
    ///
    /// If the host does not end.
    pub fn expect_end(self) -> (ExitStatus, String) {
        self.expect_end_after(|_, _| ())
    }

    /// Starts a host that is expected to end by itself, and runs `meanwhile` with the host's process id and state folder during the start.
    /// Returns the host's exit status and log.
    ///
    /// # Panics
    ///
    /// If the host does not end.
    pub fn expect_end_after(self, meanwhile: impl FnOnce(Pid, &Path)) -> (ExitStatus, String) {
        let own = folder();
        let state = self.state.clone().unwrap_or_else(|| own.path().join("state"));
        let log = own.path().join("log");
        let mut command = self.command(&state);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        meanwhile(Pid::from_child(&child), &state);
        let status = wait(&mut child);
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let log = fs::read_to_string(&log).unwrap();
        (status.unwrap_or_else(|| panic!("the host goes on:\n{log}")), log)
    }

    fn command(&self, state: &Path) -> Command {
        let plain = binary();
        let mut command = match self.prefix.split_first() {
            None => plain,
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(plain.get_program());
                VARIABLES.iter().for_each(|name| {
                    command.env_remove(name);
                });
                command
            }
        };
        command.arg("run").arg(&self.app).arg("--state").arg(state).args(&self.arguments);
        for flag in ["--listen", "--admin"] {
            if !self.arguments.iter().any(|argument| argument.to_string_lossy().starts_with(flag)) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running host.
pub struct Host {
    child: Child,
    info: HostInfo,
    state: PathBuf,
    log: PathBuf,
    _own: Option<TempDir>,
    _copy: Option<TempDir>,
}

impl Host {
    /// Returns the address of the data listener.
    pub fn listen(&self) -> SocketAddr {
        self.info.listen
    }

    /// Returns the address of the admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.info.admin
    }

    /// Returns the address of the listener for probes.
    ///
    /// # Panics
    ///
    /// If the host has no listener for probes.
    pub fn probe(&self) -> SocketAddr {
        self.info.probe.unwrap()
    }

    /// Returns a URL on the data listener. `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.info.listen)
    }

    /// Returns a URL on the admin listener. `path` starts with a slash.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.info.admin)
    }

    /// Returns the process id of the host itself, even if it runs under another program.
    pub fn process(&self) -> u32 {
        self.info.process
    }

    /// Returns the path of the state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Returns the admin token from the state folder.
    pub fn token(&self) -> String {
        fs::read_to_string(self.state.join("admin.token")).unwrap()
    }

    /// Returns what the host has logged so far.
    pub fn log(&self) -> String {
        // The host writes its log in a separate thread, a moment later.
        std::thread::sleep(Duration::from_millis(100));
        fs::read_to_string(&self.log).unwrap()
    }

    /// Returns whether the host's log contains `text`, now or within five seconds.
    pub fn has_logged(&self, text: &str) -> bool {
        (0..50).any(|_| self.log().contains(text))
    }

    /// Sends a signal to the host.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.info.process.try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Waits until the host ends.
    ///
    /// # Panics
    ///
    /// If the host does not end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child).unwrap_or_else(|| panic!("the host goes on"))
    }

    /// Kills the host's process at once, and returns when it has ended. The state folder stays, unless it was created for this host.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The process may have ended already. The host is killed first, because killing only the program that it runs under would
        // leave it running.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let process = Pid::from_raw(self.info.process.try_into().unwrap()).unwrap();
            let _ = kill_process(process, Signal::KILL);
            if self.info.process != self.child.id() && wait(&mut self.child).is_some() {
                return;
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn wait_until_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(info) = read_info(&self.state) {
                self.info = info;
                if is_ready(self.info.admin) {
                    return;
                }
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the host ended with {status} before it was ready");
            }
            assert!(start.elapsed() < START, "the host is not ready after {START:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- the host's log\n{}---", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    None
}

fn read_info(state: &Path) -> Option<HostInfo> {
    serde_json::from_str(&fs::read_to_string(state.join("lock")).ok()?).ok()
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: host\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
