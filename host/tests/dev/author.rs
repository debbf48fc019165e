//! A simulated author, who edits an application's files while `watertight dev` follows the edits.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use watertight_testkit::host;

/// The maximum time to wait for a line of output on a busy machine, if something must be compiled first.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);
/// The time without output after which no further output is expected. It exceeds the interval at which `dev` looks for changed files.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// An application's files in a temporary folder, and the `watertight dev` that follows them.
pub(crate) struct Author {
    pub(crate) place: TempDir,
    pub(crate) process: Option<Child>,
    /// The length of the output that the test has read, in bytes.
    read: usize,
}

impl Author {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let author = Self { place: host::folder(), process: None, read: 0 };
        // With this folder, no parent folder is taken for the workspace.
        fs::create_dir(author.path("wit")).unwrap();
        files.iter().for_each(|(name, bytes)| author.write(name, bytes));
        author
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no `{from}`");
        self.write(name, text.replacen(from, to, 1));
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("dev.log")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = host::binary();
        command.arg("dev").arg(self.place.path()).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts `dev` with further arguments.
    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        let mut command = self.command(arguments);
        self.process = Some(command.stderr(File::create(self.log()).unwrap()).spawn().unwrap());
        self.read = 0;
    }

    /// Returns the output of `dev` that the test has not read yet.
    pub(crate) fn news(&self) -> String {
        fs::read_to_string(self.log()).unwrap().split_off(self.read)
    }

    /// Waits for a line of output that contains all of these parts. Returns the unread output up to the line's end, and marks it as read.
    pub(crate) fn hears(&mut self, parts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let news = self.news();
            let mut end = 0;
            for line in news.split_inclusive('\n') {
                end += line.len();
                if line.ends_with('\n') && parts.iter().all(|part| line.contains(part)) {
                    self.read += end;
                    return news[..end].to_owned();
                }
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(begun.elapsed() < TIMEOUT && ended.is_none(), "no line with {parts:?} ({ended:?}) in:\n{news}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asserts that `dev` writes no output for the time [`SILENCE`].
    pub(crate) fn stays_silent(&self) {
        std::thread::sleep(SILENCE);
        assert_eq!(self.news(), "");
    }

    /// Waits until `dev` serves the application. Returns the address of the data listener.
    pub(crate) fn serves(&mut self) -> SocketAddr {
        let said = self.hears(&["live", "serves on http://"]);
        let (_, rest) = said.rsplit_once("http://").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Sends SIGINT to `dev`, as Ctrl-C does, and waits until the process ends.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        kill_process(Pid::from_raw(process.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            if process.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // This has no effect if the process has ended.
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.news());
    }
}

impl Drop for Author {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            let said = fs::read_to_string(self.log()).unwrap_or_default();
            // A failed test shows the output.
            eprintln!("{said}");
        }
    }
}
