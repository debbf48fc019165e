//! Measures attacks on the listeners while the shop serves customers: the latency for other clients and for the operator, and
//! whether memory is freed afterwards.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use watertight_control::state::{StateFolder, read_token};
use watertight_testkit::bench;
use watertight_testkit::bench::customers::customers;
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;
use watertight_testkit::http2::Http2;
use watertight_testkit::open::{Load, Request, ask};

use crate::p99;

/// The number of requests that an attacker keeps open on one HTTP/2 connection.
const STREAMS: usize = 256;
/// The goal for the additional latency of other clients of the attacked listener, in milliseconds: at most this much.
const MARGIN: f64 = 10.0;
/// The goal for the time that the operator waits for a response, in milliseconds: at most this much.
const OPERATOR: f64 = 100.0;
/// The goal for the memory that the host still holds after an attack, in MiB: at most this much.
const LEFT: f64 = 16.0;

/// An attack that runs until it is stopped.
struct Attack {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Attack {
    fn start(attack: impl Fn(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Self { stop, thread: std::thread::spawn(move || attack(&told)) }
    }

    fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the attack panicked"))
    }
}

/// Opens four HTTP/2 connections with 256 requests each, and opens new connections every 15 s. `ask` sends a request. `again` is called
/// repeatedly for each stream, to continue the attack on it.
fn streams(
    address: SocketAddr,
    stop: &AtomicBool,
    window: u32,
    ask: impl Fn(&mut Http2),
    again: impl Fn(&mut Http2, u32),
) {
    while !stop.load(Relaxed) {
        let mut connections: Vec<Http2> = (0..4).map(|_| Http2::connect(address, window)).collect();
        connections.iter_mut().for_each(|connection| (0..STREAMS).for_each(|_| ask(connection)));
        let start = Instant::now();
        while !stop.load(Relaxed) && start.elapsed() < Duration::from_secs(15) {
            for connection in &mut connections {
                (0..STREAMS as u32).for_each(|stream| again(connection, 2 * stream + 1));
                connection.frames(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// Opens `count` connections that send nothing, and opens a new one for each that has ended.
fn idle(address: SocketAddr, stop: &AtomicBool, count: usize) {
    while !stop.load(Relaxed) {
        let connections: Vec<_> = (0..count).map_while(|_| TcpStream::connect(address).ok()).collect();
        std::thread::sleep(Duration::from_secs(2));
        drop(connections);
    }
}

/// The operator's access to the host, and the request that the operator sends.
struct Operator {
    admin: SocketAddr,
    healthz: Request,
    rollback: Request,
}

impl Operator {
    /// Creates the operator of the host with the state folder `state`. First replaces `module` by the component `build`, so that a rollback
    /// is possible.
    fn new(state: &std::path::Path, module: &str, build: &[u8]) -> anyhow::Result<Self> {
        let admin = StateFolder::running_host(state).context("the host says where it is")?.admin;
        let token = read_token(state)?.context("the state folder has a token")?;
        let request = |head: &str, body: &[u8]| {
            let head = format!(
                "{head} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-length: {}",
                body.len()
            );
            let kind = if body.is_empty() { "" } else { "\r\ncontent-type: application/wasm" };
            Request { bytes: [format!("{head}{kind}\r\n\r\n").as_bytes(), body].concat().into(), status: 200 }
        };
        ask(admin, &request(&format!("POST /modules/{module}/swap"), build))?;
        let healthz = Request { bytes: b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n"[..].into(), status: 200 };
        Ok(Self { admin, healthz, rollback: request("POST /rollback", b"") })
    }

    /// Returns how long the operator waits for a response, in milliseconds.
    fn time(&self, request: &Request) -> anyhow::Result<f64> {
        let start = Instant::now();
        ask(self.admin, request)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// Returns the resident memory of a server, in MiB.
fn resident(server: &Server) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has a size")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Reports the effect of each attack on the shop's customers, who send `per_second` requests a second, and on the operator.
pub fn attacked(
    report: &mut Report,
    server: &Server,
    state: &std::path::Path,
    module: &str,
    build: &[u8],
    per_second: f64,
) -> anyhow::Result<()> {
    let (time, later) = match bench::is_quick() {
        true => (Duration::from_secs(5), Duration::from_secs(15)),
        false => (Duration::from_secs(30), Duration::from_secs(60)),
    };
    let operator = Operator::new(state, module, build)?;
    let next = customers(server)?;
    let (data, admin) = (server.address, operator.admin);
    let json = [("content-type", "application/json")];
    let attacks: [(&str, Box<dyn Fn() -> Attack>); 4] = [
        (
            "1,024 answers that nobody takes",
            Box::new(move || {
                Attack::start(move |stop| {
                    let again = |http: &mut Http2, stream| _ = http.window(stream, 1);
                    streams(data, stop, 0, |http| _ = http.get("/orders?customer=bench"), again);
                })
            }),
        ),
        (
            "1,024 bodies that never come",
            Box::new(move || {
                Attack::start(move |stop| {
                    let again =
                        |http: &mut Http2, stream| _ = http.frame(watertight_testkit::http2::DATA, 0, stream, b" ");
                    streams(data, stop, 65_535, |http| _ = http.ask("POST", "/orders", &json, false), again);
                })
            }),
        ),
        ("1,200 idle connections", Box::new(move || Attack::start(move |stop| idle(data, stop, 1200)))),
        (
            "400 idle connections to the admin listener",
            Box::new(move || Attack::start(move |stop| idle(admin, stop, 400))),
        ),
    ];
    let quiet = Load::start(data, per_second, next.clone())?;
    std::thread::sleep(time);
    let quiet = p99(&quiet.stop()?)?;
    report.figure("p99 of customers before attacks on the listeners", "ms", None, vec![quiet]);
    for (name, attack) in attacks {
        let before = resident(server)?;
        let (load, attack) = (Load::start(data, per_second, next.clone())?, attack());
        let (mut healthz, mut rollback) = (Vec::new(), Vec::new());
        while load.elapsed() < time {
            healthz.push(operator.time(&operator.healthz).with_context(|| format!("/healthz under {name}"))?);
            rollback.push(operator.time(&operator.rollback).with_context(|| format!("rollback under {name}"))?);
            std::thread::sleep(Duration::from_millis(500));
        }
        let run = load.stop()?;
        attack.stop()?;
        ensure!(run.broken.is_empty(), "{name}: connections broke: {:?}", run.broken);
        ensure!(run.wrong().is_empty(), "{name}: {:?}: {:?}", run.wrong(), run.unexpected);
        let count = run.answers.len();
        report.figure(
            &format!("{name}: p99 of {count} customers, 0 failed"),
            "ms",
            Some(quiet + MARGIN),
            vec![p99(&run)?],
        );
        let longest = |times: Vec<f64>| vec![times.into_iter().fold(0.0, f64::max)];
        report.figure(&format!("{name}: the longest /healthz"), "ms", Some(OPERATOR), longest(healthz));
        report.figure(&format!("{name}: the longest rollback"), "ms", Some(OPERATOR), longest(rollback));
        std::thread::sleep(later);
        let name = format!("{name}: memory above that before, {} s later", later.as_secs());
        report.figure(&name, "MiB", Some(LEFT), vec![resident(server)? - before]);
    }
    Ok(())
}
