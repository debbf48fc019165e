//! Standard output and standard error of guests that use WASI: each line becomes a line of the module's log.
//!
//! A line is written at its newline. An unfinished line is written when the call ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::{CallContext, GuestLog, InstanceState, LogBudget, MAX_LINE, ModuleIndex, TaskId, TaskSwitch};
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

/// The standard output and standard error of a module in one store, as log lines of the call that the store serves: where calls share the
/// store, of the call that writes, whoever opened the stream.
#[derive(Clone)]
pub(super) struct GuestOutput {
    /// The lines of the call that has the store to itself.
    own: Arc<Mutex<Lines>>,
    shared: Option<SharedOutput>,
}

/// The lines of the calls that share a store.
#[derive(Clone)]
struct SharedOutput {
    module: ModuleName,
    switch: Arc<TaskSwitch>,
    lines: Arc<Mutex<HashMap<TaskId, Lines>>>,
}

impl GuestOutput {
    pub(super) fn new(state: &InstanceState, module: ModuleIndex) -> Self {
        let (module, call) = (state.module(module).name.clone(), state.call());
        let shared = |switch: &Arc<TaskSwitch>| {
            let (module, switch) = (module.clone(), switch.clone());
            SharedOutput { module, switch, lines: Arc::default() }
        };
        let shared = state.switch().map(shared);
        let own = Lines::new(module, &call.request, &call.trace, state.log_budget());
        Self { own: Arc::new(Mutex::new(own)), shared }
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

    /// Writes the unfinished lines of a call that shares the store.
    pub(super) fn end_task(&self, task: TaskId) {
        if let Some(shared) = &self.shared {
            let ended = shared.lines().remove(&task);
            drop(ended);
        }
    }

    /// Returns standard output or standard error, as a stream for the guest.
    pub(super) fn stream(&self, which: StreamKind) -> Stream {
        let opener = self.shared.as_ref().and_then(|shared| Some(shared.switch.current()?.id));
        Stream { console: self.clone(), which, opener }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // After a panic, at worst a part of a line is lost.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes that a guest wrote. `opener` is the call that opened the stream.
    fn take(&self, which: StreamKind, bytes: &[u8], opener: Option<TaskId>) {
        let Some(shared) = &self.shared else { return self.lines().take(which, bytes) };
        // Bytes on their way from a guest's stream belong to no running call. What a call writes after its end is lost.
        let SharedOutput { module, switch, .. } = shared;
        let Some(task) = switch.current().or_else(|| switch.find(opener?)) else { return };
        let new = || Lines::new(module.clone(), &task.request, &task.trace, &task.log);
        shared.lines().entry(task.id).or_insert_with(new).take(which, bytes);
    }
}

impl SharedOutput {
    fn lines(&self) -> MutexGuard<'_, HashMap<TaskId, Lines>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn new(module: ModuleName, request: &Arc<str>, trace: &Trace, budget: &Arc<LogBudget>) -> Self {
        let (request, trace, budget) = (request.clone(), trace.clone(), budget.clone());
        Self { module, request, trace, budget, unfinished: Default::default() }
    }

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
            if let StreamKind::Stderr = which {
                budget.hear(text);
            }
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
    /// The call that opened the stream, in a store that calls share.
    opener: Option<TaskId>,
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
        self.console.take(self.which, &bytes, self.opener);
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
        self.console.take(self.which, bytes, self.opener);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
