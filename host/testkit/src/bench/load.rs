//! A load driver over HTTP/1.1 keep-alive connections, on one thread. It is closed-loop: each connection sends its next request when the
//! last one was answered.
//!
//! It implements as little of HTTP as possible, so that it costs less than any server that it drives. Requests are prepared bytes,
//! and only the status and the length of a response are parsed. A benchmark that sends something else brings a [`Client`] of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cores::{Cores, process_seconds};

/// The maximum length of a response, in bytes.
const MAX_ANSWER: usize = 256 << 10;
/// The longest latency that can be recorded, in microseconds.
const MAX_MICROS: u64 = 60_000_000;
/// The time within which [`once`] must have its response.
const ONCE_TIME: Duration = Duration::from_secs(10);

/// The requests that a load driver sends, one after the other and over again.
#[derive(Debug, Clone)]
pub struct Requests {
    bytes: Arc<[Vec<u8>]>,
    status: u16,
}

impl Requests {
    /// Creates a `GET` request for each path. Each must be answered with the status 200.
    pub fn get(paths: impl IntoIterator<Item = String>) -> Self {
        let request =
            |path| format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n\r\n").into_bytes();
        Self { bytes: paths.into_iter().map(request).collect(), status: 200 }
    }

    /// Creates one `GET` request with further header lines, each with its end. It must be answered with the status `status`.
    pub fn with_headers(path: &str, headers: &str, status: u16) -> Self {
        let text =
            format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json, text/html\r\n{headers}\r\n");
        Self { bytes: [text.into_bytes()].into(), status }
    }

    /// Creates one `POST` request with the body `json`. It must be answered with the status `status`.
    pub fn post(path: &str, json: &str, status: u16) -> Self {
        let length = json.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n");
        let text = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}");
        Self { bytes: [text.into_bytes()].into(), status }
    }
}

/// The result of one measured run of load.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Sample {
    /// The number of responses per second.
    pub per_second: f64,
    /// The server's processor time for each request, in microseconds.
    pub cpu_micros: f64,
    /// The median latency, in microseconds.
    pub p50_micros: u64,
    /// The 99th percentile of the latency, in microseconds.
    pub p99_micros: u64,
    /// The processor time that all threads of the server used, divided by the measured time.
    pub server_busy: f64,
}

/// The parameters of a measured run of load.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The number of connections. Each has one request in progress.
    pub connections: usize,
    /// How long load is sent before the measurement begins.
    pub warm: Duration,
    /// How long load is sent and measured.
    pub time: Duration,
    /// Whether the driver's thread spins instead of sleeping. Waking a sleeping core costs the waker several microseconds, and a
    /// slower server would pay that more often. Do not spin if requests wait for a disk, because the kernel uses any core for that
    /// work.
    pub spin: bool,
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

struct Shared {
    phase: AtomicU8,
    latencies: Mutex<Histogram<u32>>,
}

/// One connection of a load driver.
pub trait Client: Send + 'static {
    /// Does the step that is counted and whose latency is recorded, such as a request with its response.
    fn step(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Sends the requests to the server at `address`, from the load driver's core, and measures. `process` is the server's process id.
pub fn drive(
    cores: &Cores,
    process: u32,
    address: SocketAddr,
    requests: &Requests,
    run: Run,
) -> anyhow::Result<Sample> {
    drive_clients(cores, process, run, async |number| {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connection = Connection { stream, buffer: vec![0; 16 << 10] };
        // Each connection starts with a different request.
        let next = number * requests.bytes.len() / run.connections;
        Ok(Repeating { connection, requests: requests.clone(), next })
    })
}

/// Lets clients work from the load driver's core, and measures. `process` is the server's process id. `open` creates the client with a
/// given number.
pub fn drive_clients<C: Client>(
    cores: &Cores,
    process: u32,
    run: Run,
    open: impl AsyncFn(usize) -> anyhow::Result<C>,
) -> anyhow::Result<Sample> {
    cores.pinned(cores.driver, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(drive_all(process, run, open))
    })?
}

async fn drive_all<C: Client>(
    process: u32,
    run: Run,
    open: impl AsyncFn(usize) -> anyhow::Result<C>,
) -> anyhow::Result<Sample> {
    let latencies = Mutex::new(Histogram::new_with_bounds(1, MAX_MICROS, 3)?);
    let shared = Arc::new(Shared { phase: AtomicU8::new(WARMING), latencies });
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..run.connections {
        tasks.spawn(work(open(number).await?, shared.clone()));
    }
    pass(run.warm, run.spin).await;
    let (start, server) = (Instant::now(), process_seconds(process)?);
    shared.phase.store(COUNTING, Relaxed);
    pass(run.time, run.spin).await;
    shared.phase.store(OVER, Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    let server = process_seconds(process)? - server;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let latencies = shared.latencies.lock().unwrap_or_else(PoisonError::into_inner);
    let answered = latencies.len() as f64;
    ensure!(answered > 0.0, "no request was answered");
    Ok(Sample {
        per_second: answered / seconds,
        cpu_micros: server * 1e6 / answered,
        p50_micros: latencies.value_at_quantile(0.5),
        p99_micros: latencies.value_at_quantile(0.99),
        server_busy: server / seconds,
    })
}

/// Repeats the client's step until the measurement is over, and records the latencies.
async fn work(mut client: impl Client, shared: Arc<Shared>) -> anyhow::Result<()> {
    loop {
        let start = Instant::now();
        client.step().await?;
        match shared.phase.load(Relaxed) {
            COUNTING => {
                let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(MAX_MICROS);
                shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
            }
            OVER => return Ok(()),
            _ => {}
        }
    }
}

/// Waits for `time`. If `spin` is true, the thread stays busy meanwhile and polls its sockets.
async fn pass(time: Duration, spin: bool) {
    if !spin {
        return tokio::time::sleep(time).await;
    }
    let start = Instant::now();
    while start.elapsed() < time {
        tokio::task::yield_now().await;
    }
}

/// Sends the first of the requests, and returns the body of the response. A response with an unexpected status is an error, and so is none.
pub fn once(address: SocketAddr, requests: &Requests) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection { stream: TcpStream::connect(address).await?, buffer: vec![0; MAX_ANSWER] };
        let exchange = connection.exchange(&requests.bytes[0], requests.status);
        let body = tokio::time::timeout(ONCE_TIME, exchange).await.context("no answer in time")??;
        Ok(connection.buffer[body].to_vec())
    })
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A client that sends requests one after the other and over again.
struct Repeating {
    connection: Connection,
    requests: Requests,
    next: usize,
}

impl Client for Repeating {
    async fn step(&mut self) -> anyhow::Result<()> {
        let request = &self.requests.bytes[self.next];
        self.next = (self.next + 1) % self.requests.bytes.len();
        self.connection.exchange(request, self.requests.status).await?;
        Ok(())
    }
}

impl Connection {
    /// Sends a request and reads the response, whose status must be `status`. Returns the range of the response's body in the buffer.
    async fn exchange(&mut self, request: &[u8], status: u16) -> anyhow::Result<std::ops::Range<usize>> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let mut whole = None;
        loop {
            if filled == self.buffer.len() {
                ensure!(filled < MAX_ANSWER, "an answer has more than {MAX_ANSWER} bytes");
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                bail!("the server closed a connection");
            }
            filled += read;
            if whole.is_none() {
                whole = body_of(&self.buffer[..filled])?;
            }
            if let Some(body) = whole.clone().filter(|body| body.end <= filled) {
                let got = self.buffer.get(9..12).unwrap_or_default();
                if got != status.to_string().as_bytes() {
                    bail!("not answered {status}: {}", String::from_utf8_lossy(&self.buffer[..filled]));
                }
                return Ok(body);
            }
        }
    }
}

/// Returns the range of a response's body in the buffer `bytes`. Returns `None` until the response's head has arrived.
fn body_of(bytes: &[u8]) -> anyhow::Result<Option<std::ops::Range<usize>>> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    if bytes.get(9..12) == Some(b"304") {
        return Ok(Some(end + 4..end + 4));
    }
    let field = bytes[..end].windows(LENGTH.len()).position(|text| text == LENGTH);
    let rest = &bytes[field.context("an answer doesn't say its length")? + LENGTH.len()..=end];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0_usize, |length, digit| length * 10 + usize::from(digit - b'0'));
    Ok(Some(end + 4..end + 4 + length))
}
