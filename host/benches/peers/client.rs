//! Connections that send and receive bodies as streams. The request is sent while the response arrives.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// The size of the buffer for what arrives.
const BUFFER: usize = 256 << 10;
/// The maximum length of a line of a head.
const MAX_LINE: usize = 8 << 10;
/// The longest time without a byte of a response.
const STALL: Duration = Duration::from_secs(30);

/// A connection over HTTP/1.1 to one of the servers.
pub(crate) struct Connection {
    pub(crate) response: Response,
    requests: OwnedWriteHalf,
}

/// The receiving half of a connection.
pub(crate) struct Response {
    read: BufReader<OwnedReadHalf>,
    body: Body,
}

/// What is left of a response's body.
#[derive(Clone, Copy)]
enum Body {
    /// The number of bytes that are left.
    Length(usize),
    /// The number of bytes that are left of the current chunk.
    Chunked(usize),
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, requests) = stream.into_split();
        let response = Response { read: BufReader::with_capacity(BUFFER, read), body: Body::Length(0) };
        Ok(Self { response, requests })
    }

    /// Sends a request, and reads the whole response meanwhile. `each` gets the parts of its body.
    pub(crate) async fn exchange(&mut self, request: &[u8], mut each: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let receive = async {
            self.response.head().await?;
            while self.response.part(&mut each).await?.is_some() {}
            anyhow::Ok(())
        };
        tokio::try_join!(async { Ok(self.requests.write_all(request).await?) }, receive)?;
        Ok(())
    }

    /// Sends a request, and returns the body of the response.
    pub(crate) async fn body(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.exchange(request, |bytes| body.extend_from_slice(bytes)).await?;
        Ok(body)
    }

    /// Sends a request, and reads the head of the response.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.requests.write_all(request).await?;
        self.response.head().await
    }
}

impl Response {
    /// Reads a head. Its status must be 200.
    async fn head(&mut self) -> anyhow::Result<()> {
        let status = self.line().await?;
        ensure!(status.starts_with("HTTP/1.1 200"), "answered `{status}`");
        self.body = Body::Chunked(0);
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                self.body = Body::Length(value.trim().parse()?);
            }
        }
        Ok(())
    }

    /// Waits for the next part of the body, and passes it to `each`. Returns its length, and `None` at the end of the body.
    pub(crate) async fn part(&mut self, each: &mut impl FnMut(&[u8])) -> anyhow::Result<Option<usize>> {
        if let Body::Chunked(0) = self.body {
            let size = self.line().await?;
            let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("a chunk of size `{size}`"))?;
            if size == 0 {
                self.body = Body::Length(0);
                while !self.line().await?.is_empty() {}
            } else {
                self.body = Body::Chunked(size);
            }
        }
        let (Body::Length(left) | Body::Chunked(left)) = self.body;
        if left == 0 {
            return Ok(None);
        }
        let bytes = timeout(STALL, self.read.fill_buf()).await.context("a response stalls")??;
        ensure!(!bytes.is_empty(), "the server closed a connection within a response");
        let count = bytes.len().min(left);
        each(&bytes[..count]);
        self.read.consume(count);
        match &mut self.body {
            Body::Length(left) => *left -= count,
            Body::Chunked(left) => {
                *left -= count;
                if *left == 0 {
                    ensure!(self.line().await?.is_empty(), "a chunk has no end");
                }
            }
        }
        Ok(Some(count))
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = timeout(STALL, self.read.read_line(&mut line)).await.context("a response stalls")??;
        match line.strip_suffix("\r\n") {
            Some(line) if read <= MAX_LINE => Ok(line.to_owned()),
            Some(_) => bail!("a line of a response is too long"),
            None => bail!("the server closed a connection"),
        }
    }
}
