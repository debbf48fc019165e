//! An open-loop load driver: requests are due at fixed times, whether or not earlier requests were answered. Latency counts from the time
//! at which a request was due, so a pause of the server shows in it.
//!
//! The driver records every response with its due time and latency, and every failed connection.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The maximum number of connections to the server. A request that finds no connection free waits, and the wait counts as latency.
const MAX_CONNECTIONS: usize = 512;
/// The time after which a request without a response counts as failed.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest latency that can be recorded, in microseconds.
const MAX_MICROS: u64 = 60_000_000;
/// The maximum length of a response, in bytes.
const MAX_ANSWER: usize = 256 << 10;
/// The maximum number of unexpected responses whose text is kept.
const MAX_TOLD: usize = 8;
/// The time for which an unused connection is kept: half of the host's limit, so that no request meets a connection that the host
/// is closing.
const MAX_IDLE: Duration = Duration::from_secs(5);
/// The interval at which the driver checks which requests are due.
const TICK: Duration = Duration::from_millis(1);

/// A request and its expected status.
#[derive(Debug, Clone)]
pub struct Request {
    pub bytes: Arc<[u8]>,
    pub status: u16,
}

/// A response to one of the requests of the load, as the driver records it.
#[derive(Debug, Clone, Copy)]
pub struct RecordedResponse {
    /// The time at which the request was due, since the start of the load.
    pub due: Duration,
    /// The time from the due time to the end of the response.
    pub latency: Duration,
    pub status: u16,
    /// Whether the response has the expected status.
    pub right: bool,
    /// The number of the generation that answered. 0 if the response does not name a generation.
    pub generation: u64,
}

/// The results of a run of load.
#[derive(Debug, Default)]
pub struct Run {
    pub answers: Vec<RecordedResponse>,
    /// The texts of the first few unexpected responses.
    pub unexpected: Vec<String>,
    /// Requests whose connection failed: the due time of the request, and the error.
    pub broken: Vec<(Duration, String)>,
}

/// Load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    start: Instant,
    thread: JoinHandle<io::Result<Run>>,
}

impl Load {
    /// Sends the requests that `next` creates to `address`, `per_second` times a second.
    pub fn start(
        address: SocketAddr,
        per_second: f64,
        next: impl Fn(u64) -> Request + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let told = stop.clone();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(drive(address, per_second, next, start, &told)))
        })?;
        Ok(Self { stop, start, thread })
    }

    /// Returns the time since the start of the load.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Stops the load, and waits for outstanding responses.
    pub fn stop(self) -> io::Result<Run> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the load driver panicked")))
    }
}

/// Measures how many requests a second a server can answer over `connections` connections. Each connection sends its next request as soon
/// as it has a response.
pub fn saturate(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    next: impl Fn(u64) -> Request + Clone + Send + 'static,
) -> io::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..connections as u64 {
            let next = next.clone();
            tasks.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut count = 0;
                while start.elapsed() < time {
                    let request = next(number + count);
                    let Answer { status, .. } = connection.exchange(&request.bytes).await?;
                    if status != request.status {
                        return Err(io::Error::other(format!("answered {status}")));
                    }
                    count += 1;
                }
                Ok(count)
            });
        }
        let mut answered = 0;
        while let Some(ended) = tasks.join_next().await {
            answered += ended.map_err(io::Error::other)??;
        }
        Ok(answered as f64 / start.elapsed().as_secs_f64())
    })
}

/// Sends one request on a new connection. Returns the number of the generation that answered. A response with an unexpected status is an
/// error.
pub fn ask(address: SocketAddr, request: &Request) -> io::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Answer { status, generation, .. } = Connection::open(address).await?.exchange(&request.bytes).await?;
        let error = || io::Error::other(format!("answered {status}"));
        if status == request.status { Ok(generation) } else { Err(error()) }
    })
}

struct Answer {
    status: u16,
    generation: u64,
    /// The whole response if it reports a failure, and else an empty text.
    text: String,
}

/// The due time of a request, its latency, its result, its connection if that can be used again, and the status that was expected.
type RequestResult = (Duration, Duration, Result<Answer, String>, Option<Connection>, u16);

async fn drive(
    address: SocketAddr,
    per_second: f64,
    next: impl Fn(u64) -> Request,
    start: Instant,
    stop: &AtomicBool,
) -> Run {
    let (tell, mut told) = mpsc::unbounded_channel::<RequestResult>();
    let mut run = Run::default();
    let mut idle: Vec<Connection> = Vec::new();
    let (mut sent, mut under_way) = (0_u64, 0_usize);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ends = stop.load(Relaxed);
        if ends && under_way == 0 {
            return run;
        }
        while !ends && under_way < MAX_CONNECTIONS {
            let due = Duration::from_secs_f64(sent as f64 / per_second);
            if due > start.elapsed() {
                break;
            }
            let connection = idle.pop().filter(|connection| connection.used.elapsed() < MAX_IDLE);
            let (request, tell) = (next(sent), tell.clone());
            sent += 1;
            under_way += 1;
            tokio::spawn(async move {
                let (outcome, connection) = exchange(address, connection, &request.bytes).await;
                let latency = start.elapsed().saturating_sub(due);
                let _ = tell.send((due, latency, outcome, connection, request.status));
            });
        }
        tokio::select! {
            _ = tick.tick() => {}
            Some(done) = told.recv() => {
                under_way -= 1;
                note(&mut run, &mut idle, done);
                while let Ok(done) = told.try_recv() {
                    under_way -= 1;
                    note(&mut run, &mut idle, done);
                }
            }
        }
    }
}

fn note(run: &mut Run, idle: &mut Vec<Connection>, (due, latency, outcome, connection, wanted): RequestResult) {
    match outcome {
        Ok(Answer { status, generation, text }) => {
            run.answers.push(RecordedResponse { due, latency, status, right: status == wanted, generation });
            if status != wanted && run.unexpected.len() < MAX_TOLD {
                run.unexpected.push(text);
            }
        }
        Err(error) => run.broken.push((due, error)),
    }
    idle.extend(connection);
}

async fn exchange(
    address: SocketAddr,
    connection: Option<Connection>,
    request: &[u8],
) -> (Result<Answer, String>, Option<Connection>) {
    let work = async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(address).await?,
        };
        let answer = connection.exchange(request).await?;
        Ok::<_, io::Error>((answer, connection))
    };
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok((answer, connection))) => (Ok(answer), Some(connection)),
        Ok(Err(error)) => (Err(error.to_string()), None),
        Err(_) => (Err(format!("no answer after {TIMEOUT:?}")), None),
    }
}

struct Connection {
    stream: TcpStream,
    /// The time of the last response on this connection.
    used: Instant,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, used: Instant::now(), buffer: vec![0; 8 << 10] })
    }

    /// Sends a request, reads the whole response and parses it.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                if filled >= MAX_ANSWER {
                    return Err(io::Error::other("the answer is too long"));
                }
                self.buffer.resize(2 * filled, 0);
            }
            match self.stream.read(&mut self.buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            if let Some(answer) = read(&self.buffer[..filled]) {
                self.used = Instant::now();
                return Ok(answer);
            }
        }
    }
}

/// Parses a response. Returns `None` until it is complete.
fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let field = |name: &str| -> Option<u64> {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.trim().parse().ok())
    };
    let status = head.get(9..12)?.parse().ok()?;
    // A response with status 204 has no body and no length.
    let length = if status == 204 { 0 } else { usize::try_from(field("content-length")?).ok()? };
    (bytes.len() >= end + 4 + length).then(|| Answer {
        status,
        generation: field("watertight-generation").unwrap_or_default(),
        text: if status >= 400 { String::from_utf8_lossy(bytes).into_owned() } else { String::new() },
    })
}

impl Run {
    /// Returns the number of responses with an unexpected status, by that status.
    pub fn wrong(&self) -> BTreeMap<u16, u64> {
        let mut wrong = BTreeMap::new();
        for answer in self.answers.iter().filter(|answer| !answer.right) {
            *wrong.entry(answer.status).or_default() += 1;
        }
        wrong
    }

    /// Returns the latencies of the requests that were due in each second, in microseconds.
    pub fn by_second(&self) -> BTreeMap<u64, Histogram<u32>> {
        let mut seconds = BTreeMap::new();
        for answer in &self.answers {
            let empty = || Histogram::new_with_bounds(1, MAX_MICROS, 3).expect("the bounds are good");
            let histogram: &mut Histogram<u32> = seconds.entry(answer.due.as_secs()).or_insert_with(empty);
            histogram.saturating_record(u64::try_from(answer.latency.as_micros()).unwrap_or(MAX_MICROS));
        }
        seconds
    }
}
