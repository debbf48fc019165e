//! A real PostgreSQL server for tests, with its data in a temporary folder.
//!
//! The server listens on a free port of 127.0.0.1 and on a socket in its folder. Where the tests run as root it runs as the
//! user `postgres` or `nobody`, because PostgreSQL refuses root. Dropping a [`Server`] ends it, also when a test panics.
//!
//! Failures panic with what the program said: this crate is for tests only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Uid};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long the server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many ports are tried.
const TRIES: usize = 5;
/// The interval between two looks at a server that starts or ends.
const INTERVAL: Duration = Duration::from_millis(20);
/// The server's administrator, who may log in without a password.
pub const ADMINISTRATOR: &str = "postgres";

/// The server that tests of one process share.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// A running server.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    user: Option<User>,
    port: u16,
    settings: Vec<String>,
    /// `None` while the server is down.
    child: Mutex<Option<Child>>,
}

/// The user whose rights the server has.
#[derive(Debug, Clone, Copy)]
struct User {
    user: u32,
    group: u32,
}

impl Server {
    /// Starts a server with an empty database `postgres`. `settings` are lines of `postgresql.conf` without spaces, such as
    /// `max_connections=20`.
    pub fn start(settings: &[&str]) -> Self {
        let programs = programs();
        let user = rustix::process::getuid().is_root().then(unprivileged);
        let folder = tempfile::Builder::new().prefix("watertight-postgres-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(User { user, group }) = user {
            rustix::fs::chown(folder.path(), Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).unwrap();
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { folder, programs, user, port: 0, settings, child: Mutex::new(None) };
        let mut initdb = server.command("initdb");
        initdb.arg("--pgdata").arg(server.data()).args(["--username", ADMINISTRATOR, "--auth=trust", "--no-sync"]);
        output(initdb.args(["--encoding=UTF8", "--locale=C.UTF-8"]));
        // Another process may take a free port before the server does.
        for _ in 0..TRIES {
            server.port = free_port();
            if server.run() {
                return server;
            }
        }
        panic!("PostgreSQL does not start:\n{}", server.said());
    }

    /// Returns the server that all tests of this process share. It ends when the last one drops it.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&["fsync=off", "max_connections=100"]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of `database` for the role `role`, which needs no password.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as the administrator and returns the rows: one a line, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(ADMINISTRATOR, database, sql).unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    /// Runs SQL as `role`. Returns the rows as [`sql`](Self::sql) does.
    ///
    /// # Errors
    /// Returns what the server said if a statement fails. The later statements do not run.
    pub fn try_sql(&self, role: &str, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql]);
        let result = psql.arg(self.url(role, database)).output().unwrap();
        if result.status.success() {
            Ok(String::from_utf8(result.stdout).unwrap().trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&result.stderr).trim_end().to_owned())
        }
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
    }

    /// Kills the server at once, as a crash would. Processes of its sessions notice that and end by themselves a moment later.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    /// Ends the server and its sessions in an orderly way.
    pub fn stop(&self) {
        self.end(Signal::INT);
    }

    /// Starts the server again on the same port after [`kill`](Self::kill) or [`stop`](Self::stop).
    pub fn restart(&self) {
        assert!(self.run(), "PostgreSQL does not start again:\n{}", self.said());
    }

    /// Starts the server and waits until it answers. Returns false if it ended instead.
    fn run(&self) -> bool {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "log_min_messages=warning",
        ]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        *self.child.lock().unwrap() = Some(child);
        let begun = Instant::now();
        while !self.is_ready() {
            if self.child.lock().unwrap().as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL does not answer:\n{}", self.said());
            thread::sleep(INTERVAL);
        }
        true
    }

    /// Whether the server answers. It is asked by the socket in its own folder, because another server may have its port.
    fn is_ready(&self) -> bool {
        let mut ask = Command::new(self.programs.join("pg_isready"));
        let ask = ask.args(["--quiet", &format!("--port={}", self.port), "--host"]).arg(self.folder.path());
        ask.status().unwrap().success()
    }

    fn end(&self, signal: Signal) {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let process = Pid::from_child(&child);
        let _ = kill_process(process, signal);
        let begun = Instant::now();
        while child.try_wait().is_ok_and(|gone| gone.is_none()) {
            if begun.elapsed() > PATIENCE {
                let _ = kill_process(process, Signal::KILL);
            }
            thread::sleep(INTERVAL);
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the server has written to its log.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// A command of one of PostgreSQL's programs, under the server's user.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = match self.user {
            None => Command::new(path),
            Some(User { user, group }) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
                command.arg(path);
                command
            }
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Signal::INT);
    }
}

/// The folder of PostgreSQL's programs: Debian's newest, or that of `postgres` in `PATH`.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists()).max_by_key(version);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    newest
        .map(|path| path.join("bin"))
        .or_else(|| std::env::split_paths(&paths).find(|path| path.join("initdb").exists()))
        .expect("PostgreSQL is missing: `make tools-test` installs it")
}

/// The user `postgres`, which Debian's package makes, or `nobody`.
fn unprivileged() -> User {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
        Some(User { user: numbers.next()??, group: numbers.next()?? })
    };
    find("postgres").or_else(|| find("nobody")).expect("there is the user `postgres` or `nobody`")
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn output(command: &mut Command) {
    let result = command.output().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
    assert!(result.status.success(), "{command:?}: {}", said());
}

/// The folder with the server's socket, data and log.
impl AsRef<Path> for Server {
    fn as_ref(&self) -> &Path {
        self.folder.path()
    }
}
