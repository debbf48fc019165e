//! A call: what it carries along, why it may give no result, and how it goes on in another compartment.
//!
//! Linked code must lead from one compartment to another without knowing a generation: the way is told by the call ([`Callees`]), so
//! that a request stays on its own generation, and no instance that waits for its next call keeps one alive.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ::http::Uri;
use wasmtime::component::Val;

use super::LimitHit;
use watertight_model::ids::{CompartmentName, GenerationNumber, ModuleName};
use watertight_model::problem::list;
use watertight_telemetry::table::{Failed, Origin};
use watertight_telemetry::{Span, Trace};

/// What a function returns, if anything, or why it returned nothing.
pub type CallResult = Result<Option<Val>, CallError>;

/// A call's result that is still to come.
pub type CallFuture<'a> = Pin<Box<dyn Future<Output = CallResult> + Send + 'a>>;

/// A function that a compartment calls in another, by its place in the first one's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeIndex(pub u32);

/// What leads from one compartment to the others: the generation that a call runs on.
pub trait Callees: Send + Sync {
    /// Calls what `bridge` of the compartment at `caller` leads to. Takes no longer than `call` may.
    fn call_across<'a>(
        self: Arc<Self>,
        caller: usize,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        call: CallContext,
    ) -> CallFuture<'a>;
}

/// The request of the data listener that a call belongs to, for log lines.
#[derive(Debug)]
pub struct RequestLine {
    /// Its method.
    pub method: &'static str,
    /// The template of its route's path.
    pub route: Arc<str>,
    /// Its target.
    pub uri: Uri,
    /// The generation that it is on.
    pub generation: GenerationNumber,
}

/// What is known and noted of a request, shared by its call and those below it. Nothing, where the call belongs to none.
#[derive(Debug, Clone, Default)]
pub struct Notes(Option<Arc<Request>>);

#[derive(Debug)]
struct Request {
    line: RequestLine,
    storage_was_full: AtomicBool,
}

impl Notes {
    /// Of that request.
    pub fn new(line: RequestLine) -> Self {
        Self(Some(Arc::new(Request { line, storage_was_full: AtomicBool::new(false) })))
    }

    /// The request.
    pub fn request(&self) -> Option<&RequestLine> {
        self.0.as_deref().map(|request| &request.line)
    }

    /// There was no room for a database to write to.
    pub fn storage_was_full(&self) {
        if let Some(request) = &self.0 {
            request.storage_was_full.store(true, Relaxed);
        }
    }

    /// Whether that was so.
    pub fn was_storage_full(&self) -> bool {
        self.0.as_ref().is_some_and(|request| request.storage_was_full.load(Relaxed))
    }
}

/// What else of a module may be under way while it serves a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderWay {
    /// Nothing: a start of the host calls it.
    Nothing,
    /// Requests, each of which takes no longer than that.
    AtMost(Duration),
}

impl UnderWay {
    /// What the end of a request may leave in the host for a moment, such as a statement that the writer has begun.
    const AFTERMATH: Duration = Duration::from_secs(5);

    /// The same, where requests may take `limit`.
    #[must_use]
    pub fn or(self, limit: Duration) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::AtMost(longest) => Self::AtMost(longest.max(limit)),
        }
    }

    /// How long what began before this moment can go on.
    pub fn longest(self) -> Duration {
        match self {
            Self::Nothing => Duration::ZERO,
            Self::AtMost(longest) => longest.saturating_add(Self::AFTERMATH),
        }
    }

    /// The same for a module of another compartment, whose limits are its own.
    fn elsewhere(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::AtMost(_) => Self::AtMost(Duration::ZERO),
        }
    }
}

/// The call that a store serves.
#[derive(Clone)]
pub struct CallContext {
    /// The request's id, for log lines.
    pub request: Arc<str>,
    /// When the call must have ended.
    pub deadline: Instant,
    /// How long it may compute.
    pub cpu: Duration,
    /// Bytes of log lines that it may write.
    pub log: u64,
    /// Where it comes from, if from outside all compartments.
    pub origin: Origin,
    /// Where it stands in its request's trace.
    pub trace: Trace,
    /// What is noted of it, wherever it goes on.
    pub notes: Notes,
    /// What else of the module may be under way.
    pub under_way: UnderWay,
    /// Whether it is made within another one, in another compartment.
    pub is_nested: bool,
    /// Where it is; nowhere before it is in a compartment, and after it ended.
    place: Option<(Arc<dyn Callees>, usize)>,
}

impl std::fmt::Debug for CallContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { request, deadline, trace, .. } = self;
        let mut shown = f.debug_struct("CallContext");
        shown.field("request", request).field("deadline", deadline).field("trace", trace).finish_non_exhaustive()
    }
}

impl CallContext {
    /// For the request of that id, which an operator makes: in a trace of its own.
    pub fn new(request: Arc<str>, deadline: Instant) -> Self {
        Self::within_trace(request, deadline, Origin::Operator, Trace::new())
    }

    /// For the request of that id, from there, in that trace.
    pub fn within_trace(request: Arc<str>, deadline: Instant, origin: Origin, trace: Trace) -> Self {
        Self {
            request,
            deadline,
            cpu: Duration::MAX,
            log: u64::MAX,
            origin,
            trace,
            notes: Notes::default(),
            under_way: UnderWay::AtMost(Duration::ZERO),
            is_nested: false,
            place: None,
        }
    }

    /// As part of the request that `notes` are of.
    pub fn of_request(self, notes: Notes) -> Self {
        Self { notes, ..self }
    }

    /// In the compartment at `compartment`, from where `callees` lead on.
    pub fn within(self, callees: Arc<dyn Callees>, compartment: usize) -> Self {
        Self { place: Some((callees, compartment)), ..self }
    }

    /// Lets go of what the call was on, and of its request.
    pub(super) fn end(&mut self) {
        self.place = None;
        self.notes = Notes::default();
    }

    /// Goes on in another compartment, which may compute for `cpu`; within `span` where that is recorded. None where the call is in no compartment.
    pub(super) fn cross<'a>(
        &self,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        span: Option<&Span>,
        cpu: Duration,
    ) -> Option<CallFuture<'a>> {
        let (callees, compartment) = self.place.clone()?;
        let trace = span.map_or(&self.trace, Span::trace).clone();
        let Self { deadline, log, origin, .. } = *self;
        let (request, notes, under_way) = (self.request.clone(), self.notes.clone(), self.under_way.elsewhere());
        let call = Self { request, deadline, cpu, log, origin, trace, notes, under_way, is_nested: true, place: None };
        Some(callees.call_across(compartment, bridge, parameters, call))
    }
}

fn within(module: &Option<ModuleName>) -> String {
    module.as_ref().map_or_else(String::new, |module| format!(" in `{module}`"))
}

/// Where a module trapped: in one, or between a caller and what it calls.
fn trapped(module: &Option<ModuleName>, callees: &[ModuleName]) -> String {
    match (module, callees) {
        (Some(caller), [callee]) => format!(" between `{caller}` and `{callee}`"),
        (Some(caller), [_, _, ..]) => format!(" between `{caller}` and one of {}", list(callees)),
        (module, _) => within(module),
    }
}

/// Why a call gave no result. What was inside stays inside: details are logged, not returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// As many calls wait for the module as may.
    #[error("as many calls wait for module `{module}` as may: {limit}")]
    QueueFull {
        /// Which.
        module: ModuleName,
        /// How many may.
        limit: usize,
    },
    /// Wasmtime's pools have no room for another instance: all compartments together run more than the host has room for.
    #[error("there is no room for another instance of compartment `{compartment}`")]
    NoRoom {
        /// Which.
        compartment: CompartmentName,
    },
    /// The call's time was up: in the queue, in a guest, or in the host.
    #[error("the call ran past its deadline{}: it had {limit:?} at most", within(.module))]
    Deadline {
        /// In which module, where that is known.
        module: Option<ModuleName>,
        /// What a request may take in that compartment; a caller may have had less left.
        limit: Duration,
    },
    /// The call met a limit.
    #[error("a limit was met{}: {hit}", within(.module))]
    Limit {
        /// Which, with its figures.
        hit: LimitHit,
        /// In which module, where that is known.
        module: Option<ModuleName>,
    },
    /// A guest trapped.
    #[error("a module trapped{}: {reason}", trapped(.module, .callees))]
    Trap {
        /// In Wasmtime's words, and in the module's own where it said why.
        reason: String,
        /// Which module, where that is known.
        module: Option<ModuleName>,
        /// Where it happened between modules of a compartment, to a parameter or a result on its way: those that the module may have
        /// been calling. Either of the two may have made the bad value.
        callees: Vec<ModuleName>,
    },
    /// A guest ended itself, by `wasi:cli/exit`, before its function returned.
    #[error("a module ended itself{} by `exit({code})` before its function returned", within(.module))]
    Exit {
        /// The exit code.
        code: i32,
        /// Which module, where that is known.
        module: Option<ModuleName>,
    },
    /// A module of another compartment failed, and the function that was called there has no error to say so.
    #[error(transparent)]
    Callee(Box<CalleeFailed>),
}

impl CallError {
    /// Its kind, for counters.
    pub fn kind(&self) -> Failed {
        match self {
            Self::QueueFull { .. } => Failed::QueueFull,
            Self::NoRoom { .. } => Failed::NoRoom,
            Self::Deadline { .. } => Failed::Deadline,
            Self::Limit { .. } => Failed::Limit,
            Self::Trap { .. } => Failed::Trap,
            Self::Exit { .. } => Failed::Exit,
            Self::Callee(_) => Failed::Callee,
        }
    }

    /// The module whose code it was, where that is known.
    pub fn module(&self) -> Option<&ModuleName> {
        match self {
            Self::Limit { module, .. }
            | Self::Trap { module, .. }
            | Self::Exit { module, .. }
            | Self::Deadline { module, .. } => module.as_ref(),
            Self::Callee(failed) => Some(&failed.module),
            Self::QueueFull { module, .. } => Some(module),
            Self::NoRoom { .. } => None,
        }
    }

    /// The kind of cause, for a caller in another module: nothing of the inside is in it.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "too many calls wait for it",
            Self::NoRoom { .. } => "there is no room for another instance of it",
            Self::Deadline { .. } => "it took too long",
            Self::Limit { .. } => "it met a limit",
            Self::Trap { .. } | Self::Exit { .. } => "it failed",
            Self::Callee(_) => "a module that it calls is unavailable",
        }
    }
}

/// A module of another compartment gave no result: what ends a caller that can't be told in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module `{module}`, called in another compartment, gave no result: {error}")]
pub struct CalleeFailed {
    /// Which.
    pub module: ModuleName,
    /// Why.
    pub error: CallError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_under_way_is_nothing_at_a_start_and_else_the_longest_limit() {
        let limit = Duration::from_secs(30);
        assert_eq!(UnderWay::Nothing.or(limit).longest(), Duration::ZERO);
        assert_eq!(UnderWay::Nothing.elsewhere().or(limit).longest(), Duration::ZERO);
        let plain = UnderWay::AtMost(Duration::ZERO).or(limit);
        assert_eq!(plain.longest(), limit + UnderWay::AFTERMATH);
        // A generation that drains may allow more; another compartment's limits are its own.
        let beside = UnderWay::AtMost(Duration::from_secs(300)).or(limit);
        assert_eq!(beside.longest(), Duration::from_secs(300) + UnderWay::AFTERMATH);
        assert_eq!(beside.elsewhere().or(limit), plain);
    }
}
