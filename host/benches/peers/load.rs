//! What the benchmark measures of one server: small requests, large bodies, slow streams, and memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use watertight_testkit::bench::cores::{Cores, resident_bytes};
use watertight_testkit::bench::load::{Client, Requests, Run, Sample, drive, drive_clients};
use watertight_testkit::bench::server::Server;

use crate::client::Connection;
use crate::sides::Instances;

const HELLO: &[u8] = b"Hello, world!";
const PIECE: &[u8] = b"data: one piece of a slow stream\n\n";

/// The connections with small requests.
const HELLO_CONNECTIONS: usize = 64;
/// The connections with large bodies, and the size of a body.
const ECHO_CONNECTIONS: usize = 8;
const ECHO_BYTES: usize = 1 << 20;
/// The slow streams, their pieces, and the milliseconds before each piece.
const STREAMS: usize = 64;
const STREAM_PIECES: usize = 200;
const STREAM_WAIT: u64 = 10;
/// The streams whose memory is measured, their pieces, and the milliseconds before each piece.
pub(crate) const HELD_STREAMS: usize = 200;
const HELD_PIECES: usize = 8;
const HELD_WAIT: u64 = 500;
/// The requests that show whether instances are reused.
const COUNTED_REQUESTS: usize = 5;
/// The time after which a server has done what a change of its load brings along.
const SETTLE_TIME: Duration = Duration::from_millis(700);

/// Returns the request with which a server is asked whether it is ready.
pub(crate) fn probe() -> Requests {
    Requests::get(["/hello".to_owned()])
}

/// Checks that the server answers what it should and uses instances as `instances` says, so that what is measured is the same everywhere.
pub(crate) fn verify(server: &Server, instances: Instances) -> anyhow::Result<()> {
    block_on(async {
        let mut connection = Connection::open(server.address).await?;
        let large: Vec<u8> = (0..ECHO_BYTES).map(|place| (place % 251) as u8).collect();
        let checks =
            [(get("/hello"), HELLO.to_vec()), (post("/echo", &large), large), (get("/trickle/3/1"), PIECE.repeat(3))];
        for (request, expected) in checks {
            let body = connection.body(&request).await?;
            ensure!(body == expected, "it answers {} bytes other than the {} due", body.len(), expected.len());
        }
        let mut reused = false;
        for _ in 0..COUNTED_REQUESTS {
            reused |= connection.body(&get("/count")).await? != b"1";
        }
        match instances {
            Instances::Fresh => ensure!(!reused, "it reuses instances"),
            Instances::Reused | Instances::Shared => ensure!(reused, "it makes a new instance for each request"),
        }
        Ok(())
    })
}

/// Measures small requests.
pub(crate) fn hello(cores: &Cores, server: &Server) -> anyhow::Result<Sample> {
    drive(cores, server.process(), server.address, &probe(), run(HELLO_CONNECTIONS, 1500))
}

/// Measures requests whose large body is sent back while it arrives.
pub(crate) fn echo(cores: &Cores, server: &Server) -> anyhow::Result<Sample> {
    let request: Arc<[u8]> = post("/echo", &vec![b'x'; ECHO_BYTES]).into();
    drive_clients(cores, server.process(), run(ECHO_CONNECTIONS, 1500), async |_| {
        Ok(Echo { connection: Connection::open(server.address).await?, request: request.clone() })
    })
}

/// Measures slow streams. Each piece is a step.
pub(crate) fn streams(cores: &Cores, server: &Server) -> anyhow::Result<Sample> {
    drive_clients(cores, server.process(), run(STREAMS, 2500), async |_| {
        // The streams start one after the other, so that their pieces are due at different times.
        tokio::time::sleep(Duration::from_millis(STREAM_WAIT) / STREAMS as u32).await;
        Ok(Stream { connection: Connection::open(server.address).await?, left: 0 })
    })
}

/// The resident memory of a server in bytes, above that of a server which has answered one request.
pub(crate) struct Memory {
    /// While it sends streams.
    pub(crate) busy: f64,
    /// After they ended.
    pub(crate) idle: f64,
}

/// Measures the memory of a server that has just been started. Its streams run at once, each on an instance of its own if instances are not
/// shared.
pub(crate) fn memory(cores: &Cores, server: &Server) -> anyhow::Result<Memory> {
    let resident = || anyhow::Ok(resident_bytes(server.process())? as f64);
    let measure = async {
        Connection::open(server.address).await?.exchange(&get("/hello"), |_| {}).await?;
        tokio::time::sleep(SETTLE_TIME).await;
        let before = resident()?;
        let request = get(&format!("/trickle/{HELD_PIECES}/{HELD_WAIT}"));
        let mut streams = Vec::new();
        for _ in 0..HELD_STREAMS {
            let mut connection = Connection::open(server.address).await?;
            connection.begin(&request).await?;
            streams.push(connection);
        }
        tokio::time::sleep(SETTLE_TIME).await;
        let busy = resident()? - before;
        for mut stream in streams {
            let mut length = 0;
            while let Some(count) = stream.response.part(&mut |_| {}).await? {
                length += count;
            }
            ensure!(length == HELD_PIECES * PIECE.len(), "a stream ended early");
        }
        tokio::time::sleep(SETTLE_TIME).await;
        Ok(Memory { busy, idle: resident()? - before })
    };
    cores.pinned(cores.driver, || block_on(measure))?
}

struct Echo {
    connection: Connection,
    request: Arc<[u8]>,
}

impl Client for Echo {
    async fn step(&mut self) -> anyhow::Result<()> {
        let mut length = 0;
        self.connection.exchange(&self.request, |bytes| length += bytes.len()).await?;
        ensure!(length == ECHO_BYTES, "a body came back with {length} bytes");
        Ok(())
    }
}

struct Stream {
    connection: Connection,
    /// The bytes that the current stream has left.
    left: usize,
}

impl Client for Stream {
    async fn step(&mut self) -> anyhow::Result<()> {
        if self.left == 0 {
            self.connection.begin(&get(&format!("/trickle/{STREAM_PIECES}/{STREAM_WAIT}"))).await?;
            self.left = STREAM_PIECES * PIECE.len();
        }
        let mut missing = PIECE.len();
        while missing > 0 {
            let count = self.connection.response.part(&mut |_| {}).await?;
            let Some(count) = count.filter(|count| *count <= missing) else {
                anyhow::bail!("a stream has other pieces than due");
            };
            missing -= count;
        }
        self.left -= PIECE.len();
        if self.left == 0 {
            ensure!(self.connection.response.part(&mut |_| {}).await?.is_none(), "a stream has no end");
        }
        Ok(())
    }
}

fn run(connections: usize, milliseconds: u64) -> Run {
    Run { connections, warm: Duration::from_millis(250), time: Duration::from_millis(milliseconds), spin: true }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
