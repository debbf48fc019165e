//! Standard output and standard error of guests that use WASI: each line becomes a line of the module's log.
//!
//! A line is written at its newline. An unfinished line is written when the call ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::store::{CallContext, GuestLog, LogBudget, MAX_LINE};
use watertight_model::ids::ModuleName;
use watertight_telemetry::Trace;

/// The largest write that a guest may make at once, in bytes. It bounds the size of a copy; nothing is buffered.
const MAX_WRITE: usize = 64 << 10;

/// One of the two output streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum StreamKind {
    Stdout,
    Stderr,
}

impl StreamKind {
    fn level(self) -> Level {
        match self {
            Self::Stdout => Level::INFO,
            Self::Stderr => Level::WARN,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The standard output and standard error of a module in one store, as log lines of the call that the store serves.
#[derive(Clone)]
pub(super) struct GuestOutput(Arc<Mutex<Lines>>);

impl GuestOutput {
    pub(super) fn new(module: ModuleName, call: &CallContext, budget: Arc<LogBudget>) -> Self {
        let (request, trace) = (call.request.clone(), call.trace.clone());
        Self(Arc::new(Mutex::new(Lines { module, request, trace, budget, unfinished: Default::default() })))
    }

    /// Writes the unfinished lines of both streams.
    pub(super) fn end_call(&self) {
        self.lines().end();
    }

    /// Writes further lines as log lines of `call`, the next call that the store serves.
    pub(super) fn begin_call(&self, call: &CallContext) {
        let mut lines = self.lines();
        (lines.request, lines.trace) = (call.request.clone(), call.trace.clone());
    }

    /// Returns standard output or standard error, as a stream for the guest.
    pub(super) fn stream(&self, which: StreamKind) -> Stream {
        Stream { console: self.clone(), which }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // After a panic, at worst a part of a line is lost.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lines {
    module: ModuleName,
    request: Arc<str>,
    trace: Trace,
    budget: Arc<LogBudget>,
    /// The unfinished line of each stream. At most [`MAX_LINE`] bytes and one more, which shows that the line is too long.
    unfinished: [Vec<u8>; 2],
}

impl Lines {
    fn take(&mut self, which: StreamKind, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // The budget is spent, so the unfinished lines will never be written.
            if self.budget.is_exceeded() {
                self.unfinished = Default::default();
                return;
            }
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let rest = &mut self.unfinished[which as usize];
            rest.extend_from_slice(&text[..text.len().min(MAX_LINE + 1 - rest.len())]);
            if ends {
                self.write(which);
            }
        }
    }

    /// Writes the unfinished line of a stream to the host's log, and clears it. Empty lines are skipped.
    fn write(&mut self, which: StreamKind) {
        let mut rest = std::mem::take(&mut self.unfinished[which as usize]);
        let text = String::from_utf8_lossy(&rest);
        let text = text.trim_end();
        if !text.is_empty() {
            let Self { module, request, trace, budget, .. } = self;
            GuestLog { module, request, trace, budget }.write(which.level(), which.name(), text);
        }
        rest.clear();
        self.unfinished[which as usize] = rest;
    }

    fn end(&mut self) {
        self.write(StreamKind::Stdout);
        self.write(StreamKind::Stderr);
    }
}

impl Drop for Lines {
    /// Writes unfinished lines also when the store is dropped, for example after a trap. A guest's last words then matter most.
    fn drop(&mut self) {
        self.end();
    }
}

/// An output stream as a guest sees it.
pub(super) struct Stream {
    console: GuestOutput,
    which: StreamKind,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.console.stream(self.which))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.console.stream(self.which))
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.console.lines().take(self.which, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.console.lines().take(self.which, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
