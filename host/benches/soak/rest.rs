//! Measures the resources of an idle host, and checks its databases after it has stopped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rusqlite::{Connection, OpenFlags};
use watertight_telemetry::table::{self, Metric};
use watertight_testkit::bench::operator::Operator;
use watertight_testkit::bench::server::Server;
use watertight_testkit::process::Holdings;

/// The time after which an idle host has freed its resources: blocking threads stay for ten seconds, unused instances for two.
const SETTLE_TIME: Duration = Duration::from_secs(15);
/// The additional time that a host may take to become idle on a busy machine: a drain may take 30 s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The interval between two measurements.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The resources of an idle host.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest {
    generations: f64,
    requests: f64,
    /// The number of module instances that run or are pooled.
    instances: f64,
    /// The number of module instances that were created and not dropped.
    not_dropped: f64,
    /// The number of calls and of database operations that wait.
    waiting: f64,
    threads: usize,
    files: usize,
    mappings: usize,
}

impl Rest {
    /// Waits until the host is idle or the waiting time is over, and measures its resources.
    pub fn of(server: &Server, operator: &Operator) -> anyhow::Result<Self> {
        let start = Instant::now();
        std::thread::sleep(SETTLE_TIME);
        loop {
            let now = Self::now(server, operator)?;
            if now.is_quiet() || start.elapsed() > SETTLE_TIME + TIMEOUT {
                return Ok(now);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn now(server: &Server, operator: &Operator) -> anyhow::Result<Self> {
        let text = metrics(operator.admin())?;
        let sum = |metric: &Metric| -> f64 {
            let lines = text.lines().filter(|line| {
                line.strip_prefix(metric.name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
            });
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        let Holdings { threads, files, mappings, .. } = Holdings::of(server.process())?;
        Ok(Self {
            generations: sum(&table::GENERATIONS_ALIVE),
            requests: sum(&table::IN_FLIGHT),
            instances: sum(&table::INSTANCES_WARM) + sum(&table::CALLS_RUNNING),
            not_dropped: sum(&table::INSTANCES_MADE) - sum(&table::INSTANCES_DROPPED),
            waiting: sum(&table::CALLS_WAITING) + sum(&table::WRITER_QUEUE) + sum(&table::READ_QUEUE),
            threads,
            files,
            mappings,
        })
    }

    fn is_quiet(&self) -> bool {
        let Self { generations, requests, instances, not_dropped, waiting, .. } = *self;
        generations == 1.0 && requests == 0.0 && instances == 0.0 && not_dropped == 0.0 && waiting == 0.0
    }

    /// Returns a line for each resource that has grown since `before` or that an idle host must not hold.
    pub fn more_than(&self, before: &Self) -> Vec<String> {
        let mut faults = Vec::new();
        for (what, now, most) in [
            ("generations", self.generations, 1.0),
            ("requests in flight", self.requests, 0.0),
            ("instances", self.instances, 0.0),
            ("instances that were made and not thrown away", self.not_dropped, 0.0),
            ("calls and statements that wait", self.waiting, 0.0),
            ("threads", self.threads as f64, before.threads as f64),
            ("open files", self.files as f64, before.files as f64),
            ("mappings of code", self.mappings as f64, before.mappings as f64),
        ] {
            if now > most {
                faults.push(format!("{now} {what} are left, and at most {most} should be"));
            }
        }
        faults
    }
}

fn metrics(admin: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("/metrics: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(answer)
}

/// Returns the faults of a stopped host's databases: damage, transactions that never ended (their write-ahead log would still
/// exist), and acknowledged orders that are missing.
pub fn databases(state: &Path, acknowledged: u64) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut orders = None;
    for entry in std::fs::read_dir(state.join("data"))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.extension().is_none_or(|end| end != "db") {
            faults.push(format!("`{name}` is left beside the databases"));
            continue;
        }
        let database = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let found: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if found != "ok" {
            faults.push(format!("`{name}`: {found}"));
        }
        if name == "orders.db" {
            orders = Some(database.query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0))?);
        }
    }
    let orders = u64::try_from(orders.context("there is a database of orders")?)?;
    println!("{acknowledged} orders of customers were acknowledged, {orders} are there with those of everybody else");
    if orders < acknowledged {
        faults.push(format!("{acknowledged} orders were acknowledged, and {orders} are there"));
    }
    Ok(faults)
}
