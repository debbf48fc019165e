//! Counts and logs what calls meet without being ended by it: limits, and faults of handlers and results.

use super::Compartment;
use crate::link::FunctionIndex;
use watertight_json::EncodeError;
use watertight_model::ids::ModuleName;
use watertight_store::{CallContext, InstanceState, MetLimit};
use watertight_telemetry::Trace;
use watertight_telemetry::table::LimitKind;

impl Compartment {
    /// Counts the limits that the call met without being ended by them.
    pub(super) fn report_limits(&self, state: &InstanceState) {
        if state.met_log_limit() {
            self.metrics.count_limit(LimitKind::Log);
        }
        let CallContext { request, trace, .. } = state.call();
        for MetLimit { module, kind, text } in state.met_limits() {
            self.report_limit(*kind, text, &state.module(*module).name, request, trace);
        }
    }

    /// Counts and logs that a call of the function with the index `place` was refused memory and went on without it.
    pub(super) fn report_hit(&self, state: &InstanceState, place: FunctionIndex) {
        if let Some(hit) = state.limit_hit() {
            let CallContext { request, trace, .. } = state.call();
            let told = format_args!("a limit was met: {hit}");
            self.report_limit(hit.kind(), &told, &self.module(place).name, request, trace);
        }
    }

    /// Counts and logs a limit that did not end its call.
    pub(super) fn report_limit(
        &self,
        kind: LimitKind,
        limit: &dyn std::fmt::Display,
        module: &ModuleName,
        request: &str,
        trace: &Trace,
    ) {
        self.metrics.count_limit(kind);
        self.warn(limit, module, request, trace);
    }

    /// Logs what a handler did wrong in a call. `place` is the index of its function.
    pub(in crate::runtime) fn warn_about(
        &self,
        place: FunctionIndex,
        what: &dyn std::fmt::Display,
        call: &CallContext,
    ) {
        if let Some(unwritten) = self.limited.try_acquire() {
            let (compartment, module, request) = (&self.name, &self.module(place).name, &*call.request);
            let trace = call.trace.id();
            tracing::warn!(target: "handler", %compartment, %module, request, %trace, unwritten, "{what}");
        }
    }

    pub(super) fn warn(&self, what: &dyn std::fmt::Display, module: &ModuleName, request: &str, trace: &Trace) {
        if let Some(unwritten) = self.limited.try_acquire() {
            let (compartment, trace) = (&self.name, trace.id());
            tracing::warn!(target: "limit", %compartment, %module, request, %trace, unwritten, "{what}");
        }
    }

    /// Counts and logs that the body of a request for the function with the index `place` exceeded its limit of `limit` bytes.
    pub(in crate::runtime) fn report_large_body(&self, place: FunctionIndex, limit: u64, request: &str, trace: &Trace) {
        let told = format_args!("a limit was met: a request's body has more than {limit} bytes");
        self.report_limit(LimitKind::Body, &told, &self.module(place).name, request, trace);
    }

    /// Logs that a result of the function cannot be written as JSON. If the result is too large, counts that as an exceeded limit.
    pub(in crate::runtime) fn report_unencodable_result(
        &self,
        place: FunctionIndex,
        error: &EncodeError,
        request: &str,
        trace: &Trace,
    ) {
        let name = &self.module(place).name;
        if let EncodeError::TooLarge { limit } = error {
            self.metrics.count_limit(LimitKind::Result);
            let what = format_args!("a result can't be written: it takes more than {limit} bytes (`limits.result`)");
            self.warn(&what, name, request, trace);
        } else {
            self.warn(&format_args!("a result can't be written: {error}"), name, request, trace);
        }
    }
}
