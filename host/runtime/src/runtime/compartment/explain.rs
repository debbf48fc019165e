//! Explains why a call gave no result: converts the error for the caller, and logs it with the guest's backtrace.

use std::cell::Cell;

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use super::Compartment;
use crate::link::{CodePosition, Export, FunctionIndex, ImportedCall};
use crate::runtime::instance::{CallEnd, InCall};
use watertight_component::shape::Type;
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
            (None, Some(trap)) => self.trapped(&stack, trap.to_string(), module, failure.as_ref(), false),
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
            (None, None) => {
                let cause = error.root_cause().to_string();
                let fault = match called {
                    Some(place) if stack.is_empty() && error.is::<InCall>() => self.copy_fault(place, &cause),
                    _ => cause,
                };
                self.trapped(&stack, fault, module, failure.as_ref(), true)
            }
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

    /// Makes the error of a trap. `is_at_boundary` says that the host found the fault, in a call of one of its functions if a guest was running.
    fn trapped(
        &self,
        stack: &Backtrace<'_>,
        trap: String,
        module: Option<ModuleName>,
        failure: Option<&FailureReport>,
        is_at_boundary: bool,
    ) -> CallError {
        let mut callees = Vec::new();
        let mut reason = trap;
        if let Some(caller) = &module
            && let Some(place) = self.modules.iter().position(|module| module.name == *caller)
            && (stack.is_between_modules() || is_at_boundary)
        {
            let stops = stack.stops(caller).map(|(function, offset)| CodePosition { function, offset });
            let imported = self.fused[place].call(stops);
            if stack.is_between_modules() {
                let found = imported.as_ref().and_then(|call| call.callee.clone());
                callees = found.map_or_else(|| self.fused[place].callees(), |callee| vec![callee]);
            }
            reason = match imported {
                Some(ImportedCall { function, returns: true, .. }) => {
                    format!("the result of `{function}` can't be read: {reason}")
                }
                Some(ImportedCall { function, .. }) => format!("in a call of `{function}`: {reason}"),
                None => reason,
            };
        }
        if let Some(failure) = failure {
            reason = format!("{failure}; {reason}");
        }
        CallError::Trap { reason, module, callees }
    }

    /// Describes a value that could not be copied in a call of the function with the index `place`, while no guest was running.
    fn copy_fault(&self, place: FunctionIndex, cause: &str) -> String {
        let Export { name: function, result, .. } = &self.exports[place.0 as usize];
        // Wasmtime's text, which has no type. A test notices a changed one.
        match cause.strip_prefix("realloc return: ") {
            Some(fault) => {
                format!("the memory that the module gave for a parameter of `{function}` can't be used: {fault}")
            }
            None => {
                let at = result.as_ref().and_then(|result| place_of(cause, result));
                let at = at.map(|at| format!(" at `{at}`")).unwrap_or_default();
                format!("the result of `{function}` can't be read{at}: {cause}")
            }
        }
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

/// Returns the only part of a result that a fault can be about, by its path: `result.err`. `None` if several can be, or the whole result. The
/// texts are Wasmtime's; with unknown ones, no part is found.
fn place_of(cause: &str, result: &Type) -> Option<String> {
    let cases = cause.starts_with("discriminant ").then(|| cause.rsplit_once("..")?.1.strip_suffix(')')?.parse().ok());
    let has_cases = |count: usize| cases.flatten() == Some(count);
    let wanted = |ty: &Type| match ty {
        Type::Enum(cases) => has_cases(cases.body.len()),
        Type::Variant(cases) => has_cases(cases.body.len()),
        Type::Option(_) | Type::Result { .. } => has_cases(2),
        Type::String => cause.contains("utf-8") || cause.starts_with("string pointer"),
        Type::List(_) => cause.starts_with("list pointer"),
        _ => false,
    };
    let count = Cell::new(0);
    let counted = |ty: &Type| {
        count.set(count.get() + usize::from(wanted(ty)));
        false
    };
    result.has_part(counted);
    let (path, _) = result.find_part("result".to_owned(), wanted).filter(|_| count.get() == 1)?;
    Some(path).filter(|path| path != "result")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use watertight_component::shape::{Field, Named};

    use super::*;

    #[test]
    fn a_fault_that_only_one_part_can_have_has_a_place() {
        let enumeration = |count: usize| {
            let body = (0..count).map(|at| format!("c{at}").into()).collect();
            Type::Enum(Arc::new(Named { name: "some".into(), body }))
        };
        let record = |fields: Vec<(&str, Type)>| {
            let body = fields.into_iter().map(|(name, ty)| Field { name: name.into(), ty }).collect();
            Type::Record(Arc::new(Named { name: "some".into(), body }))
        };
        let order = record(vec![
            ("state", enumeration(3)),
            ("kinds", Type::List(Arc::new(enumeration(4)))),
            ("name", Type::String),
            ("one", enumeration(5)),
            ("other", enumeration(5)),
        ]);
        let result = Type::Result { ok: Some(Arc::new(order)), err: Some(Arc::new(Type::String)) };
        for (cause, place) in [
            ("discriminant 3 out of range [0..3)", Some("result.ok.state")),
            ("discriminant 9 out of range [0..4)", Some("result.ok.kinds[]")),
            // Two parts, and the whole result.
            ("discriminant 9 out of range [0..5)", None),
            ("discriminant 9 out of range [0..2)", None),
            ("invalid utf-8 sequence of 1 bytes from index 0", None),
            ("list pointer/length out of bounds of memory", Some("result.ok.kinds")),
            ("unknown words", None),
        ] {
            assert_eq!(place_of(cause, &result).as_deref(), place, "{cause}");
        }
    }
}
