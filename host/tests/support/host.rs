//! A real host for tests: the real binary in a process of its own, on free ports, on a state folder of its own.
//!
//! It is killed when dropped; if that happens in a failing test, what it logged is shown. It knows no application but where the
//! shop is, and speaks no HTTP beyond asking whether the host is ready.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "several test binaries include this file, each uses its part"
)]

mod code;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use watertight::state::HostInfo;

/// How long a host may take to end or to answer: far more than it needs, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a start may take: one that nothing was compiled for may compile an interpreter, beside others that do the same.
const START: Duration = Duration::from_secs(300);
/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(3);
/// What the host takes from the environment; tests say it themselves.
const VARIABLES: [&str; 7] = [
    "WATERTIGHT_LISTEN",
    "WATERTIGHT_ADMIN",
    "WATERTIGHT_PROBE",
    "WATERTIGHT_STATE",
    "WATERTIGHT_ADMIN_TOKEN",
    "WATERTIGHT_LOG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The shop's manifest.
///
/// # Panics
///
/// When its components were not built.
pub fn shop() -> PathBuf {
    for module in ["orders", "payments", notifications()] {
        component(module);
    }
    repository().join("modules/app.toml")
}

/// An empty folder under `target/tmp`, removed when dropped.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("host-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The binary with nothing of this process's own settings.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Says so, if there is no `strace` or it may not trace.
///
/// # Panics
///
/// When it can't be used.
pub fn check_strace() {
    let run = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let output =
        run.unwrap_or_else(|error| panic!("strace is missing ({error}): install it, `apt-get install -y strace`"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    let help = "this test needs ptrace; in a container allow it, `--cap-add=SYS_PTRACE`";
    assert!(output.status.success(), "strace may not trace here: {help}\n{complaint}");
}

/// How applications of several modules are placed that say nothing of compartments. Every test must hold under each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// As the host does it: pure modules together.
    Fused,
    /// Each module alone.
    Apart,
    /// The first module, by name, alone; all others together.
    Mixed,
}

impl Placement {
    /// By the name of the test binary, or what `WATERTIGHT_TEST_PLACEMENT` says: `fused`, `apart`, `mixed`.
    pub fn of_this_run() -> Self {
        let asked = std::env::var("WATERTIGHT_TEST_PLACEMENT").ok();
        let binary = env!("CARGO_CRATE_NAME").rsplit_once('_').map(|(_, placement)| placement);
        match asked.as_deref().or(binary) {
            Some("apart") => Self::Apart,
            Some("mixed") => Self::Mixed,
            _ => Self::Fused,
        }
    }

    /// What a manifest says of compartments, for its modules in order of their names.
    fn compartments(self, modules: &[String]) -> String {
        let (apart, together) = match (self, modules) {
            (Self::Apart, modules) => (modules, &[][..]),
            (Self::Mixed, [_, _, ..]) => modules.split_at(1),
            _ => return String::new(),
        };
        let alone = apart.iter().map(|module| format!("[compartments.{module}-alone]\nmodules = [{module:?}]\n"));
        let others = if together.is_empty() {
            String::new()
        } else {
            format!("[compartments.others]\nmodules = {together:?}\n")
        };
        alone.collect::<String>() + &others
    }

    /// Writes it into the manifest at `app`, or in its folder, unless that speaks of compartments itself.
    fn apply(self, app: &Path) {
        let file = if app.is_dir() { app.join("app.toml") } else { app.to_owned() };
        let Ok(text) = fs::read_to_string(&file) else { return };
        // What can't be read is for the host to refuse.
        let Ok(manifest) = toml::from_str::<toml::Table>(&text) else { return };
        let modules = manifest.get("modules").and_then(toml::Value::as_table);
        if manifest.contains_key("compartments") || modules.is_none_or(|modules| modules.len() < 2) {
            return;
        }
        let mut names: Vec<String> = modules.into_iter().flat_map(|modules| modules.keys().cloned()).collect();
        names.sort();
        fs::write(&file, format!("{text}\n{}", self.compartments(&names))).unwrap();
    }
}

/// The build of notifications that this run is about, by the name of the test binary: in Go, in JavaScript, or the manifest's own.
fn notifications() -> &'static str {
    match env!("CARGO_CRATE_NAME").rsplit_once('_').map(|(_, language)| language) {
        Some("go") => "notifications-go",
        Some("javascript") => "notifications-js",
        _ => "notifications",
    }
}

/// A component of the shop, as `make` leaves it.
///
/// # Panics
///
/// When it was not built.
pub fn component(name: &str) -> PathBuf {
    let component = repository().join("target/components").join(name).with_extension("wasm");
    let missing =
        format!("run `cargo run -p watertight-cli -- build {name} --app .` in the repository, or `make modules`");
    assert!(component.is_file(), "{} is missing: {missing}", component.display());
    component
}

/// A copy of the shop elsewhere, with further lines in its manifest.
pub fn copy_of_shop(settings: &str) -> TempDir {
    let manifest = fs::read_to_string(shop()).unwrap();
    let components = repository().join("target/components");
    // Folders beside the manifest become files elsewhere.
    let manifest: String = manifest
        .lines()
        .map(|line| match line.strip_prefix("component = \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(name) => {
                let name = if name == "notifications" { notifications() } else { name };
                format!("component = \"{}/{name}.wasm\"\n", components.display())
            }
            None => format!("{line}\n"),
        })
        .collect();
    let copy = folder();
    fs::write(copy.path().join("app.toml"), format!("{manifest}\n{settings}\n")).unwrap();
    fs::create_dir(copy.path().join("routes")).unwrap();
    for route in fs::read_dir(shop().with_file_name("routes")).unwrap() {
        let route = route.unwrap();
        fs::copy(route.path(), copy.path().join("routes").join(route.file_name())).unwrap();
    }
    copy
}

/// How a host is to be started.
pub struct Launch {
    app: PathBuf,
    /// Holds the application, where it is a copy.
    _copy: Option<TempDir>,
    state: Option<PathBuf>,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    prefix: Vec<String>,
}

impl Launch {
    /// On the shop.
    pub fn shop() -> Self {
        if Placement::of_this_run() == Placement::Fused && notifications() == "notifications" {
            return Self::new(shop(), None);
        }
        let copy = copy_of_shop("");
        Placement::of_this_run().apply(copy.path());
        Self::new(copy.path().to_owned(), Some(copy))
    }

    /// On the application of that manifest, which may be changed to place its modules.
    pub fn app(app: &Path) -> Self {
        Placement::of_this_run().apply(app);
        Self::new(app.to_owned(), None)
    }

    fn new(app: PathBuf, copy: Option<TempDir>) -> Self {
        Self { app, _copy: copy, state: None, arguments: Vec::new(), variables: Vec::new(), prefix: Vec::new() }
    }

    /// On that state folder, rather than on a new one that goes with the host.
    pub fn state(mut self, folder: &Path) -> Self {
        self.state = Some(folder.to_owned());
        self
    }

    /// With one more argument. What is said of `--listen` and `--admin` here goes before port 0.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a variable in its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Under another program, such as `["strace", "-f"]`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it, and returns once it is ready.
    ///
    /// # Panics
    ///
    /// When it ends or takes too long; says what it logged.
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
        // What a killed host left there must not be taken for this one's word.
        if state.join("lock").exists() {
            fs::write(state.join("lock"), "").unwrap();
        }
        let log = state.with_extension("log");
        let mut command = self.command(&state);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        let info = HostInfo { process: child.id(), listen: placeholder, admin: placeholder, probe: None };
        let mut host = Host { child, info, state, log, _own: own, _copy: self._copy };
        host.wait_until_ready();
        code::keep(&host.state);
        host
    }

    /// Runs it where it is expected to end by itself, and returns how, with what it logged.
    ///
    /// # Panics
    ///
    /// When it goes on.
    pub fn ends(self) -> (ExitStatus, String) {
        self.ends_after(|_, _| ())
    }

    /// The same for one to which something is done while it starts: that is given its process and its state folder.
    ///
    /// # Panics
    ///
    /// When it goes on.
    pub fn ends_after(self, meanwhile: impl FnOnce(Pid, &Path)) -> (ExitStatus, String) {
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
    /// Where its data listener is.
    pub fn listen(&self) -> SocketAddr {
        self.info.listen
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.info.admin
    }

    /// The address of something on the data listener; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.info.listen)
    }

    /// The address of something on the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.info.admin)
    }

    /// The host's own process id, whatever it was started under.
    pub fn process(&self) -> u32 {
        self.info.process
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The admin token in its state folder.
    pub fn token(&self) -> String {
        fs::read_to_string(self.state.join("admin.token")).unwrap()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        // The host writes its log by a thread of its own, an instant later.
        std::thread::sleep(Duration::from_millis(100));
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether it has logged that, or does within five seconds.
    #[allow(dead_code, reason = "not every test binary asks")]
    pub fn has_logged(&self, text: &str) -> bool {
        (0..50).any(|_| self.log().contains(text))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.info.process.try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it goes on.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child).unwrap_or_else(|| panic!("the host goes on"))
    }

    /// Ends it as a power cut would, and returns once it is gone. Its state stays where it is unless it is the host's own.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Gone already is fine. The host first: a program that it runs under would outlive its own end otherwise.
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
            std::thread::sleep(GLANCE);
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
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(GLANCE);
    }
    None
}

fn read_info(state: &Path) -> Option<HostInfo> {
    serde_json::from_str(&fs::read_to_string(state.join("lock")).ok()?).ok()
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: host\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
