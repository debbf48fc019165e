//! The socket of a connection. It fails if the client stops reading, and replaces hyper's own refusals by responses with a request id.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::progress::ProgressTimer;
use super::refusal;
use watertight_telemetry::table::CutOffReason;

/// The connection preface, with which an HTTP/2 client begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket, and the bytes that were read from it to detect the HTTP version.
pub(super) struct Wire {
    stream: TcpStream,
    connection: Arc<Connection>,
    timer: ProgressTimer,
    /// The bytes that were read to detect the HTTP version.
    preface: [u8; PREFACE.len()],
    taken: usize,
    read: usize,
    /// The part that is not written yet of a response of the host that replaces one of hyper's.
    replacement: Vec<u8>,
    is_http1: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        let timer = ProgressTimer::new(connection.listener().limits().progress_timeout);
        let preface = [0; PREFACE.len()];
        Self { stream, connection, timer, preface, taken: 0, read: 0, replacement: Vec::new(), is_http1: true }
    }

    /// Reads until the HTTP version is clear. Returns whether the client speaks HTTP/2.
    ///
    /// # Errors
    ///
    /// Reading from the socket failed.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        while self.read < PREFACE.len() && self.preface[..self.read] == PREFACE[..self.read] {
            match self.stream.read(&mut self.preface[self.read..]).await? {
                0 => break,
                read => self.add_to_preface(read),
            }
        }
        self.is_http1 = self.preface != *PREFACE;
        Ok(!self.is_http1)
    }

    /// Returns whether a first byte has arrived, even if the kernel has not announced it. Call it only before the version is clear.
    pub(super) fn has_begun(&mut self) -> bool {
        if let Ok(read) = rustix::io::read(&self.stream, &mut self.preface[self.read..]) {
            self.add_to_preface(read);
        }
        self.read > 0
    }

    /// Reads bytes that the kernel has and has not announced, if the connection asks for that. Returns their number, or `None` if there are
    /// none.
    fn read_unannounced(&self, buffer: &mut ReadBuf<'_>) -> Option<usize> {
        if !self.connection.must_read_unannounced() {
            return None;
        }
        rustix::io::read(&self.stream, buffer.initialize_unfilled()).ok().filter(|read| *read > 0)
    }

    fn add_to_preface(&mut self, read: usize) {
        self.read += read;
        if read > 0 {
            self.connection.mark_received();
        }
    }

    fn record_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        wanted: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.connection.add_written(count);
                if count == wanted {
                    self.timer.clear();
                } else {
                    self.connection.mark_unwritten();
                    self.timer.moved(count);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.connection.mark_unwritten();
                ready!(self.timer.poll_stalled(context));
                self.timer.clear();
                self.connection.listener().metrics().count_cut_off(CutOffReason::ConnectionStalled);
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not read the response",
                )));
            }
        }
        written
    }

    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let (written, wanted) =
                (Pin::new(&mut self.stream).poll_write(context, &self.replacement), self.replacement.len());
            let count = ready!(self.record_write(written, wanted, context))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replacement.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = if self.taken < self.read {
            let count = buffer.remaining().min(self.read - self.taken);
            buffer.put_slice(&self.preface[self.taken..self.taken + count]);
            self.taken += count;
            Poll::Ready(Ok(()))
        } else if let Some(read) = self.read_unannounced(buffer) {
            buffer.advance(read);
            Poll::Ready(Ok(()))
        } else {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        };
        if self.is_http1 && buffer.filled().len() > before {
            self.connection.mark_received();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_http1 {
            ready!(this.poll_replacement(context))?;
            if let Some(instead) = refusal::replacement(buffer, &this.connection) {
                this.replacement = instead;
                // The unwritten rest goes out before anything else.
                let _ = this.poll_replacement(context)?;
                return Poll::Ready(Ok(buffer.len()));
            }
        }
        let written = Pin::new(&mut this.stream).poll_write(context, buffer);
        this.record_write(written, buffer.len(), context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = buffers {
            return self.poll_write(context, one);
        }
        let this = &mut *self;
        ready!(this.poll_replacement(context))?;
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.record_write(written, wanted, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        // Both versions of HTTP flush only after they have written all that they had.
        self.connection.mark_flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
