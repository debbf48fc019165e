//! A call in another compartment that runs in a task of its own: an `async func`, or a function that carries streams or futures.
//!
//! Several such calls of one caller run at once, and each goes on after its function has returned while its streams flow. None outlasts its
//! caller's call by more than [`CALLEE_GRACE`].

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BridgeIndex, CallError, CpuAccount, InstanceState};
use watertight_component::shape::Function;
use watertight_relay::values::Crossing;
use watertight_telemetry::Span;

/// The time that a callee which still streams has left when its caller's call ends. It learns the end from its streams.
pub const CALLEE_GRACE: Duration = Duration::from_secs(1);

/// Parameters or a result on their way from one store to another.
pub type Values = Crossing<InstanceState>;

/// The answer to a [`CalleeRequest`]: the function's result, of at most one value, or the reason why there is none.
pub type CalleeAnswer = Result<Values, CallError>;

/// A call that another compartment is to serve.
pub struct CalleeRequest {
    /// The type of the function, as the caller imports it.
    pub function: Arc<Function>,
    /// The parameters.
    pub parameters: Values,
    /// The sender of the answer.
    pub answer: oneshot::Sender<CalleeAnswer>,
}

impl CalleeRequest {
    pub(super) fn new(function: Arc<Function>, parameters: Values) -> (Self, oneshot::Receiver<CalleeAnswer>) {
        let (sender, answer) = oneshot::channel();
        (Self { function, parameters, answer: sender }, answer)
    }
}

/// A call in another compartment, in a task of its own. If this value is dropped before the call has answered, the call ends at once; after
/// that, it has [`CALLEE_GRACE`].
pub struct CalleeTask {
    task: JoinHandle<()>,
    /// The receiver of the answer. `None` once the answer has come.
    answer: Option<oneshot::Receiver<CalleeAnswer>>,
    leave: CancellationToken,
}

impl CalleeTask {
    pub(super) fn spawn(work: BoxFuture<'static, ()>, answer: oneshot::Receiver<CalleeAnswer>) -> Self {
        let leave = CancellationToken::new();
        let left = leave.clone();
        let grace = async move {
            left.cancelled().await;
            tokio::time::sleep(CALLEE_GRACE).await;
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = work => {}
                () = grace => {}
            }
        });
        Self { task, answer: Some(answer), leave }
    }

    /// Waits for the answer. Must be called once.
    ///
    /// # Errors
    ///
    /// Fails if the task was ended from outside.
    ///
    /// # Panics
    ///
    /// If the task panicked: the panic goes on in the caller's task, which has the means to report it.
    pub async fn answer(&mut self) -> wasmtime::Result<CalleeAnswer> {
        let lost = || wasmtime::Error::msg("the call in another compartment was lost");
        if let Ok(answer) = self.answer.as_mut().ok_or_else(lost)?.await {
            self.answer = None;
            return Ok(answer);
        }
        match (&mut self.task).await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(lost()),
        }
    }

    /// Returns whether the call has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for CalleeTask {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.task.abort();
        }
        self.leave.cancel();
    }
}

impl InstanceState {
    /// Calls a function of another compartment in a task of its own. The other parameters are those of [`Self::call_bridge`].
    ///
    /// Must run inside a tokio runtime.
    pub fn start_bridge(
        &mut self,
        bridge: BridgeIndex,
        function: Arc<Function>,
        parameters: Values,
        span: Option<&Span>,
    ) -> Option<CalleeTask> {
        let (request, answer) = CalleeRequest::new(function, parameters);
        let call = self.current_mut();
        let payer = call.account.get_or_insert_with(|| CpuAccount::new(call.cpu.clone(), call.context.payer.clone()));
        let payer = payer.clone();
        let work = call.context.serve_bridge(bridge, request, span, call.cpu_left(), payer)?;
        Some(CalleeTask::spawn(work, answer))
    }

    /// Keeps a call in another compartment that has returned and goes on, until this store's call ends.
    pub fn keep_callee(&mut self, callee: CalleeTask) {
        let callees = &mut self.current_mut().callees;
        callees.retain(|callee| !callee.has_ended());
        if !callee.has_ended() {
            callees.push(callee);
        }
    }
}
