//! Calls any exported function by its name with JSON arguments. `watertight call` and the admin listener use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use watertight_graph::graph::{AppGraph, FunctionNotFound};
use watertight_json::{FunctionCodec, Unsupported, Violation};
use watertight_model::ids::FunctionPath;
use watertight_runtime::runtime::{CallError, Generation, detached};
use watertight_store::{CallContext, ConcurrentCalls};

/// The reason why [`invoke`] returned no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// The application has no such function, or the function is a method.
    #[error("{0}")]
    NotFound(String),
    /// The function's types have no JSON form. One text for each such type.
    #[error("the function can't be called with JSON: {}", .0.join("; "))]
    Unsupported(Vec<String>),
    /// The arguments do not match the function's parameters.
    #[error("the arguments don't match the function's parameters: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// The call failed: a trap, an exit, a limit, or a result that has no JSON form.
    #[error("{0}")]
    Failed(String),
    /// The call was refused because the module's queue is full or no instance could be made.
    #[error("{0}")]
    Overloaded(String),
    /// A module of another compartment, called by the function, gave no result.
    #[error("{0}")]
    Unavailable(String),
    /// The call ran past its deadline.
    #[error("{0}")]
    Deadline(String),
}

impl From<FunctionNotFound> for InvokeError {
    fn from(error: FunctionNotFound) -> Self {
        Self::NotFound(error.to_string())
    }
}

impl From<Vec<Unsupported>> for InvokeError {
    fn from(parts: Vec<Unsupported>) -> Self {
        Self::Unsupported(parts.iter().map(ToString::to_string).collect())
    }
}

impl From<CallError> for InvokeError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::QueueFull { .. } | CallError::NoRoom { .. } => Self::Overloaded(text),
            CallError::Callee(_) => Self::Unavailable(text),
            CallError::Deadline { .. } => Self::Deadline(text),
            CallError::Limit { .. } | CallError::Trap { .. } | CallError::Exit { .. } | CallError::Neighbour { .. } => {
                Self::Failed(text)
            }
        }
    }
}

/// The identity of a call that comes from an operator or the host itself, not from a client of the data listener.
pub struct Caller {
    /// The call's id, for log lines.
    pub request: Arc<str>,
    /// The other calls of the module that may run at the same time.
    pub concurrent_calls: ConcurrentCalls,
}

impl Caller {
    /// Returns a caller for a host in which other calls may run at the same time. `request` is the call's id.
    pub fn concurrent(request: impl Into<Arc<str>>) -> Self {
        Self { request: request.into(), concurrent_calls: ConcurrentCalls::AtMost(Duration::ZERO) }
    }
}

/// Checks that the function at `path` exists and takes these arguments, as far as that is known before the application runs.
///
/// # Errors
///
/// The errors of [`invoke`] for a function or arguments that can't be used.
pub fn check<T: AsRef<[u8]>>(graph: &AppGraph, path: &FunctionPath, arguments: &[T]) -> Result<(), InvokeError> {
    let codec = FunctionCodec::new(graph.find(path)?.function)?;
    codec.decode(arguments).map(drop).map_err(InvokeError::Invalid)
}

/// Calls the function at `path` with one JSON text for each parameter. Trailing optional parameters may be left out.
///
/// Returns the result as JSON: `{"ok": …}` or `{"err": …}` if the function returns a `result`, and `null` if it returns nothing. If the
/// returned future is dropped, a call that has begun runs to its end and counts as in flight on its generation meanwhile.
///
/// # Errors
///
/// Returns [`InvokeError`] if the function does not exist, its types or the arguments do not fit JSON, or the call fails.
pub async fn invoke<T: AsRef<[u8]>>(
    generation: &Arc<Generation>,
    path: &FunctionPath,
    arguments: &[T],
    caller: Caller,
) -> Result<Box<RawValue>, InvokeError> {
    let found = generation.graph.find(path)?;
    let codec = FunctionCodec::new(found.function)?;
    let values = codec.decode(arguments).map_err(InvokeError::Invalid)?;
    let target = generation.target(&path.module, found.interface, &path.function);
    let target = target.ok_or_else(|| {
        InvokeError::NotFound(format!("`{path}` is a method of a resource: it can only be called with a handle"))
    })?;
    let deadline = Instant::now() + generation.time(target);
    let Caller { request, concurrent_calls: under_way } = caller;
    let mut call = CallContext::new(request.clone(), deadline);
    call.concurrent_calls = under_way;
    let trace = call.trace.clone();
    let (on, in_flight) = (generation.clone(), generation.enter());
    let called = detached(async move {
        let result = on.call(target, &values, call).await;
        drop(in_flight);
        result
    });
    let result = called.await?;
    let mut json = Vec::new();
    let failed = |reason: String| InvokeError::Failed(format!("the result can't be written: {reason}"));
    let limit = generation.result_limit(target);
    let encoded = generation.offload(target, || codec.encode(result.as_ref(), &mut json, limit));
    encoded.map_err(|error| {
        generation.report_unencodable_result(target, &error, &request, &trace);
        failed(error.to_string())
    })?;
    let text = String::from_utf8(json).map_err(|error| failed(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| failed(error.to_string()))
}
