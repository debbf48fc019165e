//! The context of a call, the reasons why it gives no result, and the way from one compartment to another.
//!
//! Linked code is shared by generations, so it does not know which generation serves the other compartments. The call's context does
//! ([`Callees`]). A request thus stays on one generation, and an idle instance keeps none alive.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ::http::Uri;
use futures::future::BoxFuture;
use wasmtime::component::Val;

use super::{CalleeRequest, ClientInfo, CpuAccount, Deadline, LimitHit, PassingOn, TimeLimit};
use watertight_model::ids::{CompartmentName, GenerationNumber, ModuleName};
use watertight_model::problem::list_names;
use watertight_telemetry::table::{CallFailure, CallOrigin};
use watertight_telemetry::{Span, Trace};

/// The outcome of a call: the function's return value, if it has one, or the reason why there is no result.
pub type CallResult = Result<Option<Val>, CallError>;

/// A future that resolves to the outcome of a call.
pub type CallFuture<'a> = Pin<Box<dyn Future<Output = CallResult> + Send + 'a>>;

/// The index of a function that a compartment calls in another one, in the calling compartment's table of bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeIndex(pub u32);

/// Calls functions of other compartments. A generation implements it, for the calls that run on it.
pub trait Callees: Send + Sync {
    /// Calls a function of another compartment: the one that `bridge` leads to, from the compartment at index `caller`. The callee has no
    /// more time than `call` has left.
    fn call_across<'a>(
        self: Arc<Self>,
        caller: usize,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        call: CallContext,
    ) -> CallFuture<'a>;

    /// Prepares the same call, with `request` in place of the parameters, for a task of its own. The returned future answers the request and
    /// ends with the callee's work, which can be later.
    fn serve_across(
        self: Arc<Self>,
        caller: usize,
        bridge: BridgeIndex,
        request: CalleeRequest,
        call: CallContext,
    ) -> BoxFuture<'static, ()>;
}

/// The HTTP request that a call belongs to, for log lines and for modules that ask for it.
#[derive(Debug)]
pub struct RequestInfo {
    /// The request's method.
    pub method: &'static str,
    /// The path template of the request's route.
    pub route: Arc<str>,
    /// The request's target.
    pub uri: Uri,
    /// The number of the generation that serves the request.
    pub generation: GenerationNumber,
    /// What is known of the client. `None` if no module of the generation may ask for it.
    pub client: Option<Arc<ClientInfo>>,
}

/// Facts about an HTTP request that its call and all nested calls share. It is empty for a call without an HTTP request.
#[derive(Debug, Clone, Default)]
pub struct RequestNotes(Option<Arc<Request>>);

#[derive(Debug)]
struct Request {
    line: RequestInfo,
    storage_was_full: AtomicBool,
}

impl RequestNotes {
    /// Creates the notes of the HTTP request that `line` describes.
    pub fn new(line: RequestInfo) -> Self {
        Self(Some(Arc::new(Request { line, storage_was_full: AtomicBool::new(false) })))
    }

    /// Returns the HTTP request, if there is one.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.0.as_deref().map(|request| &request.line)
    }

    /// Records that a database had no space to write.
    pub fn storage_was_full(&self) {
        if let Some(request) = &self.0 {
            request.storage_was_full.store(true, Relaxed);
        }
    }

    /// Returns whether a database had no space to write during the request.
    pub fn was_storage_full(&self) -> bool {
        self.0.as_ref().is_some_and(|request| request.storage_was_full.load(Relaxed))
    }
}

/// The other calls of a module that may run while it serves a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrentCalls {
    /// No other calls: the host calls the module during its start.
    Nothing,
    /// Requests, each of which runs no longer than this time.
    AtMost(Duration),
}

impl ConcurrentCalls {
    /// The time for work that a request may leave in the host when it ends, such as a statement that the database has begun.
    const CLEANUP_TIME: Duration = Duration::from_secs(5);

    /// Raises the longest time of requests to `limit` if it is shorter. [`Self::Nothing`] stays as it is.
    #[must_use]
    pub fn at_least(self, limit: Duration) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::AtMost(longest) => Self::AtMost(longest.max(limit)),
        }
    }

    /// Returns how long work that began before now can still go on.
    pub fn longest(self) -> Duration {
        match self {
            Self::Nothing => Duration::ZERO,
            Self::AtMost(longest) => longest.saturating_add(Self::CLEANUP_TIME),
        }
    }

    /// Returns the value for a callee in another compartment. The longest time starts at zero there, because that compartment has its own
    /// limits.
    fn for_callee(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::AtMost(_) => Self::AtMost(Duration::ZERO),
        }
    }
}

/// The context of the call that a store serves.
#[derive(Clone)]
pub struct CallContext {
    /// The request's id, for log lines.
    pub request: Arc<str>,
    /// The time at which the call must have ended.
    pub deadline: Deadline,
    /// The processor time that the call may use.
    pub cpu: Duration,
    /// The bytes of log lines that the call may write.
    pub log: u64,
    /// The origin of the call outside all compartments, such as a route or an operator.
    pub origin: CallOrigin,
    /// The call's position in the trace of its request.
    pub trace: Trace,
    /// The facts about the call's HTTP request that nested calls share.
    pub notes: RequestNotes,
    /// The other calls of the module that may run at the same time.
    pub concurrent_calls: ConcurrentCalls,
    /// Whether the call is made from another compartment's call.
    pub is_nested: bool,
    /// What the call passes requests on to, if it is one of a middleware.
    pub passing_on: Option<PassingOn>,
    /// The deadline of the caller in another compartment, up to which the call's streams may flow after its function has returned. It is
    /// `None` for a call whose caller is not in another task.
    pub streams_until: Option<Deadline>,
    /// The account that pays for the call's processor time beside the call itself. It is `None` if the call runs within its caller's polls.
    pub payer: Option<Arc<CpuAccount>>,
    /// The generation and the compartment that the call runs in. It is `None` before the call enters a compartment and after it ends.
    location: Option<(Arc<dyn Callees>, usize)>,
}

impl std::fmt::Debug for CallContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { request, deadline, trace, .. } = self;
        let mut shown = f.debug_struct("CallContext");
        shown.field("request", request).field("deadline", deadline).field("trace", trace).finish_non_exhaustive()
    }
}

impl CallContext {
    /// Creates the context of an operator's call with that request id, in a new trace.
    pub fn new(request: Arc<str>, deadline: impl Into<Deadline>) -> Self {
        Self::within_trace(request, deadline, CallOrigin::Operator, Trace::new())
    }

    /// Creates the context of a call with that request id, origin and trace.
    pub fn within_trace(request: Arc<str>, deadline: impl Into<Deadline>, origin: CallOrigin, trace: Trace) -> Self {
        Self {
            request,
            deadline: deadline.into(),
            cpu: Duration::MAX,
            log: u64::MAX,
            origin,
            trace,
            notes: RequestNotes::default(),
            concurrent_calls: ConcurrentCalls::AtMost(Duration::ZERO),
            is_nested: false,
            passing_on: None,
            streams_until: None,
            payer: None,
            location: None,
        }
    }

    /// Sets the facts about the HTTP request that the call belongs to.
    pub fn with_request(self, notes: RequestNotes) -> Self {
        Self { notes, ..self }
    }

    /// Places the call in the compartment at index `compartment`. `callees` is the generation, which serves the calls to other
    /// compartments.
    pub fn in_compartment(self, callees: Arc<dyn Callees>, compartment: usize) -> Self {
        Self { location: Some((callees, compartment)), ..self }
    }

    /// Drops the references to the call's generation and request, and to what it passes requests on to.
    pub(super) fn end(&mut self) {
        self.location = None;
        self.notes = RequestNotes::default();
        self.passing_on = None;
    }

    /// Calls a function of another compartment. The callee may use `cpu` of processor time, and its trace continues `span` if there is one.
    /// Returns `None` if this call is in no compartment.
    pub(super) fn call_bridge<'a>(
        &self,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        span: Option<&Span>,
        cpu: Duration,
    ) -> Option<CallFuture<'a>> {
        let (callees, compartment) = self.location.clone()?;
        Some(callees.call_across(compartment, bridge, parameters, self.of_callee(span, cpu)))
    }

    /// Prepares a call of a function of another compartment for a task of its own. `payer` is the account of this call; the other parameters
    /// are those of [`Self::call_bridge`].
    pub(super) fn serve_bridge(
        &self,
        bridge: BridgeIndex,
        request: CalleeRequest,
        span: Option<&Span>,
        cpu: Duration,
        payer: Arc<CpuAccount>,
    ) -> Option<BoxFuture<'static, ()>> {
        let (callees, compartment) = self.location.clone()?;
        let streams_until = Some(self.deadline.following());
        let call = Self { streams_until, payer: Some(payer), ..self.of_callee(span, cpu) };
        Some(callees.serve_across(compartment, bridge, request, call))
    }

    /// Returns the context of a call of a function of another compartment.
    fn of_callee(&self, span: Option<&Span>, cpu: Duration) -> Self {
        Self {
            request: self.request.clone(),
            deadline: self.deadline.clone(),
            cpu,
            log: self.log,
            origin: self.origin,
            trace: span.map_or(&self.trace, Span::trace).clone(),
            notes: self.notes.clone(),
            concurrent_calls: self.concurrent_calls.for_callee(),
            is_nested: true,
            passing_on: None,
            streams_until: None,
            payer: None,
            location: None,
        }
    }
}

fn within(module: &Option<ModuleName>) -> String {
    module.as_ref().map_or_else(String::new, |module| format!(" in `{module}`"))
}

fn exit_code(code: i32) -> String {
    if code == 1 { "a code other than 0".to_owned() } else { format!("the code {code}") }
}

/// Describes where a trap happened: in a module, or between a caller and its callee.
fn trapped(module: &Option<ModuleName>, callees: &[ModuleName]) -> String {
    match (module, callees) {
        (Some(caller), [callee]) => format!(" between `{caller}` and `{callee}`"),
        (Some(caller), [_, _, ..]) => format!(" between `{caller}` and one of {}", list_names(callees)),
        (module, _) => within(module),
    }
}

/// The reason why a call gave no result. Clients of the data listener receive only its kind; its text is for logs and operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The module's queue is full.
    #[error("the queue of module `{module}` is full: at most {limit} calls wait in it")]
    QueueFull {
        /// The module that was called.
        module: ModuleName,
        /// The number of calls that may wait.
        limit: usize,
    },
    /// Wasmtime's instance pool is full: all compartments together use more instances than the host allows.
    #[error("there is no room for another instance of compartment `{compartment}`")]
    NoRoom {
        /// The compartment that needed an instance.
        compartment: CompartmentName,
    },
    /// The call ran past its deadline, while it waited in the queue, ran in a guest or ran in the host.
    #[error("the call ran past its deadline{}: {limit}", within(.module))]
    Deadline {
        /// The module that was running, if known.
        module: Option<ModuleName>,
        /// The limit of the compartment that set the deadline. A nested call may have had less time.
        limit: TimeLimit,
    },
    /// The call met a limit.
    #[error("a limit was met{}: {hit}", within(.module))]
    Limit {
        /// The limit and its values.
        hit: LimitHit,
        /// The module that was running, if known.
        module: Option<ModuleName>,
    },
    /// A guest trapped.
    #[error("a module trapped{}: {reason}", trapped(.module, .callees))]
    Trap {
        /// Wasmtime's text for the trap, after the module's own report if it made one.
        reason: String,
        /// The module that trapped, if known.
        module: Option<ModuleName>,
        /// The modules that `module` may have been calling. It is set if the trap happened between two modules of a compartment, while a
        /// parameter or a result was copied. Either module may have produced the invalid value.
        callees: Vec<ModuleName>,
    },
    /// A guest ended itself with `wasi:cli/exit` before its function returned.
    #[error("a module ended itself{} by `exit` with {} before its function returned", within(.module), exit_code(*.code))]
    Exit {
        /// The exit code. WASI's `exit` passes on only whether the code is 0; 1 stands for every other code then.
        code: i32,
        /// The module that exited, if known.
        module: Option<ModuleName>,
    },
    /// Another request on the same instance failed and ended the instance (`instances.concurrent`).
    #[error("another request on the same instance of `{module}` failed, and the instance with it")]
    Neighbour {
        /// The module that was called.
        module: ModuleName,
    },
    /// A module of another compartment failed, and the called function has no error case for that.
    #[error(transparent)]
    Callee(Box<CalleeError>),
}

impl CallError {
    /// Returns the kind of failure, for metrics.
    pub fn kind(&self) -> CallFailure {
        match self {
            Self::QueueFull { .. } => CallFailure::QueueFull,
            Self::NoRoom { .. } => CallFailure::NoRoom,
            Self::Deadline { .. } => CallFailure::Deadline,
            Self::Limit { .. } => CallFailure::Limit,
            Self::Trap { .. } => CallFailure::Trap,
            Self::Exit { .. } => CallFailure::Exit,
            Self::Callee(_) => CallFailure::Callee,
            Self::Neighbour { .. } => CallFailure::Neighbour,
        }
    }

    /// Returns the module that failed, if known.
    pub fn module(&self) -> Option<&ModuleName> {
        match self {
            Self::Limit { module, .. }
            | Self::Trap { module, .. }
            | Self::Exit { module, .. }
            | Self::Deadline { module, .. } => module.as_ref(),
            Self::Callee(failed) => Some(&failed.module),
            Self::QueueFull { module, .. } | Self::Neighbour { module } => Some(module),
            Self::NoRoom { .. } => None,
        }
    }

    /// Returns a short reason for a caller in another module. It reveals nothing of the callee's internals.
    pub fn public_reason(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "too many calls wait for it",
            Self::NoRoom { .. } => "there is no room for another instance of it",
            Self::Deadline { .. } => "it took too long",
            Self::Limit { .. } => "it met a limit",
            Self::Trap { .. } | Self::Exit { .. } | Self::Neighbour { .. } => "it failed",
            Self::Callee(_) => "a module that it calls is unavailable",
        }
    }
}

/// The error that a module of another compartment gave no result. It traps a caller whose function has no error case for that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module `{module}`, called in another compartment, gave no result: {error}")]
pub struct CalleeError {
    /// The module that was called.
    pub module: ModuleName,
    /// The reason why the callee gave no result.
    pub error: CallError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_under_way_is_nothing_at_a_start_and_else_the_longest_limit() {
        let limit = Duration::from_secs(30);
        assert_eq!(ConcurrentCalls::Nothing.at_least(limit).longest(), Duration::ZERO);
        assert_eq!(ConcurrentCalls::Nothing.for_callee().at_least(limit).longest(), Duration::ZERO);
        let plain = ConcurrentCalls::AtMost(Duration::ZERO).at_least(limit);
        assert_eq!(plain.longest(), limit + ConcurrentCalls::CLEANUP_TIME);
        // A draining generation may have a longer limit; another compartment's limits do not count.
        let beside = ConcurrentCalls::AtMost(Duration::from_secs(300)).at_least(limit);
        assert_eq!(beside.longest(), Duration::from_secs(300) + ConcurrentCalls::CLEANUP_TIME);
        assert_eq!(beside.for_callee().at_least(limit), plain);
    }
}
