//! Standard output and error of guests that bring WASI along: whole lines of the module's log.
//!
//! A line is written when it ends; what is left without an end is written with the call's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::CallContext;
use super::log::{LogBudget, MAX_LINE, Speaker};
use watertight_model::ids::ModuleName;
use watertight_telemetry::Trace;

/// The most that a guest is asked to write at once, in bytes. Nothing of it waits: it bounds what is copied.
const MAX_WRITE: usize = 64 << 10;

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    Output,
    Error,
}

impl Which {
    fn level(self) -> Level {
        match self {
            Self::Output => Level::INFO,
            Self::Error => Level::WARN,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        }
    }
}

/// What a module writes in a store, for the call that runs there.
#[derive(Clone)]
pub(super) struct Console(Arc<Mutex<Lines>>);

impl Console {
    pub(super) fn new(module: ModuleName, call: &CallContext, budget: Arc<LogBudget>) -> Self {
        let (request, trace) = (call.request.clone(), call.trace.clone());
        Self(Arc::new(Mutex::new(Lines { module, request, trace, budget, rests: Default::default() })))
    }

    /// Writes what has no end yet.
    pub(super) fn end_call(&self) {
        self.lines().end();
    }

    /// Goes on in the name of another call.
    pub(super) fn begin_call(&self, call: &CallContext) {
        let mut lines = self.lines();
        (lines.request, lines.trace) = (call.request.clone(), call.trace.clone());
    }

    /// One of the streams that lead here.
    pub(super) fn stream(&self, which: Which) -> Stream {
        Stream { console: self.clone(), which }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A panic between two bytes loses a line at worst.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lines {
    module: ModuleName,
    request: Arc<str>,
    trace: Trace,
    budget: Arc<LogBudget>,
    /// The beginning of the line that has no end yet, of each stream, so that they don't mix. At most one byte more than [`MAX_LINE`]:
    /// that shows that there is more.
    rests: [Vec<u8>; 2],
}

impl Lines {
    fn take(&mut self, which: Which, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // Where nothing more may be written, nothing need be kept.
            if self.budget.is_spent() {
                self.rests = Default::default();
                return;
            }
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let rest = &mut self.rests[which as usize];
            rest.extend_from_slice(&text[..text.len().min(MAX_LINE + 1 - rest.len())]);
            if ends {
                self.write(which);
            }
        }
    }

    /// Writes what a stream's line is so far. Empty lines say nothing.
    fn write(&mut self, which: Which) {
        let mut rest = std::mem::take(&mut self.rests[which as usize]);
        let text = String::from_utf8_lossy(&rest);
        let text = text.trim_end();
        if !text.is_empty() {
            let Self { module, request, trace, budget, .. } = self;
            Speaker { module, request, trace, budget }.write(which.level(), which.name(), text);
        }
        rest.clear();
        self.rests[which as usize] = rest;
    }

    fn end(&mut self) {
        self.write(Which::Output);
        self.write(Which::Error);
    }
}

impl Drop for Lines {
    /// With the store, after a trap for example: what the guest said last matters most then.
    fn drop(&mut self) {
        self.end();
    }
}

/// One of them, as guests have it.
pub(super) struct Stream {
    console: Console,
    which: Which,
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
