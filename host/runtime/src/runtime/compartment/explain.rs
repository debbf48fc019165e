//! Explains why a call gave no result: converts the error for the caller, and logs it with the guest's backtrace.

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use super::Compartment;
use crate::link::{CodePosition, FunctionIndex};
use crate::runtime::instance::CallEnd;
use watertight_engine::Backtrace;
use watertight_model::ids::ModuleName;
use watertight_relay::ends::{MAX_ENDS, TooManyEnds, TooMuchHeld};
use watertight_relay::stream::StreamCut;
use watertight_store::{CallContext, CallError, CalleeError, FailureReport, LimitHit, TimeLimit};
use watertight_telemetry::logged_path;

impl Compartment {
    /// Converts the error that ended a call or a start to a [`CallError`], and logs it. `called` is the called function, or `None` for a
    /// start.
    pub(super) fn explain(&self, ended: &CallEnd, call: &CallContext, called: Option<FunctionIndex>) -> CallError {
        let CallEnd { error, limit, failure } = ended;
        let stack = Backtrace::of(error);
        // No guest function is on the stack while a result is copied out or the guest waits in the host. The called module then counts.
        let is_known = |name: &ModuleName| self.modules.iter().any(|module| module.name == *name);
        let module = stack.module(is_known).or_else(|| Some(self.module(called?).name.clone()));
        let explained = match (limit.or_else(|| self.limit_behind(error)), error.downcast_ref::<Trap>()) {
            (Some(hit), _) => {
                self.metrics.count_limit(hit.kind());
                CallError::Limit { hit, module }
            }
            (None, Some(Trap::Interrupt)) => CallError::Deadline { module, limit: self.time_limit(call) },
            (None, Some(trap)) => self.trapped(&stack, trap.to_string(), module, failure.as_ref()),
            (None, None) if let Some(failed) = error.downcast_ref::<CalleeError>() => {
                CallError::Callee(Box::new(failed.clone()))
            }
            (None, None) if let Some(exit) = error.downcast_ref::<I32Exit>() => match failure {
                // A module that reported its failure may end itself instead of running into a trap.
                Some(failure) => CallError::Trap { reason: failure.to_string(), module, callees: Vec::new() },
                None => CallError::Exit { code: exit.0, module },
            },
            (None, None) if watertight_engine::is_out_of_room(error) => {
                CallError::NoRoom { compartment: self.name.clone() }
            }
            // Caller and callee have one deadline, and the callee was ended first.
            (None, None) if error.is::<StreamCut>() && call.deadline.has_passed() => {
                CallError::Deadline { module, limit: self.time_limit(call) }
            }
            (None, None) => self.trapped(&stack, error.root_cause().to_string(), module, failure.as_ref()),
        };
        if let CallError::NoRoom { .. } = explained {
            // Like a full queue, this says nothing of the module.
            if let Some(unwritten) = self.limited.try_acquire() {
                let (compartment, request, trace) = (&self.name, &*call.request, call.trace.id());
                tracing::warn!(target: "limit", %compartment, request, %trace, unwritten, "{explained}");
            }
            return explained;
        }
        if let Some(unwritten) = self.traps.try_acquire() {
            let compartment = &self.name;
            let (request, trace, line) = (&*call.request, call.trace.id(), call.notes.request());
            let (method, route) = (line.map(|line| line.method), line.map(|line| &*line.route));
            let path = line.map(|line| logged_path(line.uri.path()));
            let generation = line.map(|line| line.generation.0);
            tracing::error!(
                target: "trap", %compartment, method, route, path, request, %trace, generation, unwritten, %stack, "{explained}"
            );
        }
        explained
    }

    /// Returns the limit behind the deadline of a call.
    fn time_limit(&self, call: &CallContext) -> TimeLimit {
        call.deadline.stream_limit().unwrap_or(TimeLimit::Request(self.limits.request))
    }

    fn trapped(
        &self,
        stack: &Backtrace<'_>,
        trap: String,
        module: Option<ModuleName>,
        failure: Option<&FailureReport>,
    ) -> CallError {
        let reason = match failure {
            Some(failure) => format!("{failure}; {trap}"),
            None => trap,
        };
        let callees = match &module {
            Some(caller) if stack.is_between_modules() => {
                let stops = stack.stops(caller).map(|(function, offset)| CodePosition { function, offset });
                self.callees(caller, stops)
            }
            _ => Vec::new(),
        };
        CallError::Trap { reason, module, callees }
    }

    /// Returns the modules of the compartment that `caller` may have been calling when its functions stopped at `stops`.
    fn callees(&self, caller: &ModuleName, stops: impl Iterator<Item = CodePosition>) -> Vec<ModuleName> {
        let place = self.modules.iter().position(|module| module.name == *caller);
        place.map_or_else(Vec::new, |place| self.fused[place].callees(stops))
    }

    /// Returns the limit that Wasmtime itself enforced and reported by `error`, if there is one.
    fn limit_behind(&self, error: &wasmtime::Error) -> Option<LimitHit> {
        if let Some(Trap::StackOverflow) = error.downcast_ref() {
            return Some(LimitHit::Stack { limit: self.profile.stack() });
        }
        if error.is::<TooManyEnds>() {
            return Some(LimitHit::Streams { limit: MAX_ENDS });
        }
        if let Some(TooMuchHeld { limit }) = error.downcast_ref() {
            return Some(LimitHit::Transfer { limit: *limit });
        }
        // These errors have no type of their own, so their texts are compared. Tests of both limits notice a changed text.
        let cause = error.root_cause().to_string();
        if cause.contains("fuel allocated for hostcalls") {
            return Some(LimitHit::Transfer { limit: usize::try_from(self.limits.transfer).unwrap_or(usize::MAX) });
        }
        let handles = LimitHit::Handles { limit: self.limits.handles as usize };
        cause.contains("store handle limit exceeded").then_some(handles)
    }
}
