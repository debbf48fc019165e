//! Benchmark of rollbacks in an emergency: how long an operator waits while a compilation that would take minutes, a backup of 1 GB
//! and a full queue of changes are in progress. The state folder is in memory, so no disk is measured.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use watertight_control::state::{StateFolder, read_token};
use watertight_testkit::bench;
use watertight_testkit::bench::application::copy_of_shop;
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;
use watertight_testkit::refused::{harmless, tangle};

/// The goal for the duration of a rollback, in milliseconds: at most this much.
const GOAL: f64 = 100.0;
/// The module that is swapped. The shop does not use it.
const MODULE: &str = "extra";
const MANIFEST: &str = "[modules.extra]\ncomponent = \"extra.wasm\"\n[compartments.extra]\nmodules = [\"extra\"]\n";
/// The size of the rows that only make the backup larger, in MiB.
const BALLAST: i64 = 1024;
/// The number of changes that wait or are in progress, including the compilation.
const CHANGES: usize = 16;
/// The time limit for each event that the benchmark waits for.
const TIMEOUT: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    let shop = bench::application::shop()?;
    let folder = tempfile::Builder::new().prefix("watertight-rollback-").tempdir_in("/dev/shm")?;
    let app = copy_of_shop(&shop, &folder.path().join("app"), MANIFEST)?;
    std::fs::write(app.with_file_name("extra.wasm"), build(0))?;
    let state = folder.path().join("state");
    Server::host(None, &app, &state)?.stop()?;
    fill(&StateFolder::database_in(&state, &"orders".parse()?))?;

    let server = Server::host(None, &app, &state)?;
    let operator = Operator::new(&state)?;
    let rounds = if bench::is_quick() { 10 } else { 100 };
    let mut times = Vec::new();
    let (mut right, mut under_both) = (0_u32, 0_u32);
    for round in 0..rounds {
        let told = operator.round(round, &server, &folder.path().join("backup"))?;
        right += u32::from(told.is_right);
        under_both += u32::from(told.was_under_both);
        times.push(told.millis);
    }
    server.stop()?;

    let within = times.iter().filter(|millis| **millis <= GOAL).count();
    let slowest = times.iter().copied().fold(0.0, f64::max);
    let about = "a rollback under a compilation, a backup of 1 GB and 16 changes; the state in memory";
    let mut report = Report::new("rollback", about);
    report.figure("rollback, from the request to its answer", "ms", Some(GOAL), times);
    report.figure("the slowest of them", "ms", Some(GOAL), vec![slowest]);
    report.figure(&format!("of {rounds}, within {GOAL} ms"), "", None, vec![within as f64]);
    report.figure(&format!("of {rounds}, to the right generation"), "", None, vec![f64::from(right)]);
    report.figure(&format!("of {rounds}, both still in work at its end"), "", None, vec![f64::from(under_both)]);
    report.finish()
}

/// Builds a component that takes almost no time to compile. Components with different numbers are different builds.
fn build(number: u32) -> Vec<u8> {
    harmless("", &format!("(func (result i32) (i32.const {number}))"))
}

/// Creates a database with [`BALLAST`] MiB of rows, which the backup must copy.
fn fill(file: &Path) -> anyhow::Result<()> {
    let database = rusqlite::Connection::open(file)?;
    database.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE ballast (bytes BLOB)")?;
    for _ in 0..BALLAST / 64 {
        let rows = "WITH RECURSIVE row (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM row WHERE number < 64) \
                    INSERT INTO ballast SELECT randomblob(1048576) FROM row";
        database.execute_batch(rows)?;
    }
    Ok(())
}

/// The measured times of one rollback.
struct RollbackTimes {
    millis: f64,
    is_right: bool,
    /// Whether the compilation and the backup were in progress before the rollback, and the backup still after it.
    was_under_both: bool,
}

/// A client of the admin API that has the admin token.
#[derive(Clone)]
struct Operator {
    admin: SocketAddr,
    token: String,
}

impl Operator {
    fn new(state: &Path) -> anyhow::Result<Self> {
        let host = StateFolder::running_host(state).context("the host says where it is")?;
        let token = read_token(state)?.context("the state folder has a token")?;
        Ok(Self { admin: host.admin, token })
    }

    /// Sends a request on a connection of its own. `kind` is the media type of the body.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let Self { admin, token } = self;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("the answer has a head")?;
        let status = std::str::from_utf8(&answer[..end])?.split(' ').nth(1).context("a status")?.parse()?;
        Ok((status, serde_json::from_slice(&answer[end + 4..])?))
    }

    fn swap(&self, component: &[u8]) -> anyhow::Result<(u16, Value)> {
        self.ask("POST", &format!("/modules/{MODULE}/swap"), "application/wasm", component)
    }

    /// Replaces the module by a build. Repeats the request while too many other uploads are in progress. So the status is 503 only if the
    /// queue of changes is full.
    fn swap_patiently(&self, component: &[u8]) -> anyhow::Result<(u16, Value)> {
        loop {
            let (status, told) = self.swap(component)?;
            let is_full = told["detail"].as_str().is_some_and(|detail| detail.contains("changes are waiting"));
            if status != 503 || is_full {
                return Ok((status, told));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the compilation, the backup and the queue of changes, rolls back, and waits until everything has ended.
    fn round(&self, round: u32, server: &Server, backup: &Path) -> anyhow::Result<RollbackTimes> {
        let (status, good) = self.swap(&build(2 * round + 1))?;
        ensure!(status == 200, "{good}");
        let (status, bad) = self.swap(&build(2 * round + 2))?;
        ensure!(status == 200, "{bad}");
        let in_background = |work: Box<dyn FnOnce(Self) -> anyhow::Result<(u16, Value)> + Send>| {
            let operator = self.clone();
            thread::spawn(move || work(operator))
        };
        let bomb = harmless("", &(tangle(20_000, 3, 8) + &format!("(func (result i32) (i32.const {round}))")));
        let mut waiting: Vec<JoinHandle<_>> = vec![in_background(Box::new(move |operator| operator.swap(&bomb)))];
        until(|| Ok(is_compiling(server.process())))?;
        // One change more than the queue takes: once it is refused, all others are waiting.
        for number in 0..CHANGES as u32 {
            let component = build(1_000_000 + number);
            waiting.push(in_background(Box::new(move |operator| operator.swap_patiently(&component))));
        }
        until(|| Ok(waiting.iter().any(JoinHandle::is_finished)))?;
        let to = backup.with_extension(round.to_string());
        let unfinished =
            to.with_file_name(format!(".{}.unfinished", to.file_name().unwrap_or_default().to_string_lossy()));
        let body = json!({ "to": to }).to_string();
        let kept = in_background(Box::new(move |operator| {
            operator.ask("POST", "/backup", "application/json", body.as_bytes())
        }));
        until(|| Ok(unfinished.exists()))?;

        let was_compiling = is_compiling(server.process());
        let start = Instant::now();
        let (status, told) = self.ask("POST", "/rollback", "application/json", b"{}")?;
        let millis = start.elapsed().as_secs_f64() * 1e3;
        let was_under_both = was_compiling && !kept.is_finished();
        ensure!(status == 200, "{told}");

        let mut overtaken = 0;
        for change in waiting {
            let (status, told) = change.join().map_err(|_| anyhow::anyhow!("a change failed"))??;
            overtaken += usize::from(status == 409 && told["problems"][0]["code"] == "overtaken");
        }
        ensure!(overtaken == CHANGES, "{overtaken} changes were overtaken");
        let (status, written) = kept.join().map_err(|_| anyhow::anyhow!("a backup failed"))??;
        ensure!(status == 200, "{written}");
        std::fs::remove_dir_all(&to)?;
        let (_, history) = self.ask("GET", "/generations", "application/json", b"")?;
        let last = history["generations"].as_array().and_then(|all| all.last()).context("something is published")?;
        let is_right =
            last["cause"] == "rollback" && last["to"] == good["generation"] && last["number"] == told["generation"];
        Ok(RollbackTimes { millis, is_right, was_under_both })
    }
}

/// Returns whether a host is compiling.
fn is_compiling(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let mut children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children.any(|children| !children.trim().is_empty())
}

fn until(done: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < TIMEOUT, "it never came");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
