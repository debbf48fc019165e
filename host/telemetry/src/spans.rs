//! Spans of recorded traces.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};

use super::recorder::Recorder;
use super::trace::Trace;

/// The longest text of a span's attribute, in bytes. Longer texts are cut.
const MAX_TEXT: usize = 2 << 10;

/// The error of a span that is dropped before its end.
const ABANDONED: &str = "the operation was abandoned before its end";

/// A span of a recorded trace. It is queued for export when it ends or is dropped.
#[must_use]
pub struct Span(Box<OpenSpan>);

struct OpenSpan {
    trace: Trace,
    data: SpanData,
    start: Instant,
    ended: bool,
}

impl Span {
    /// Starts the span that `trace` names as its current one. `parent` is the span above it, `None` if there is none. `remote` says whether it
    /// is another process's. Returns `None` if the trace is not recorded.
    pub(super) fn new(trace: &Trace, parent: Option<SpanId>, kind: SpanKind, remote: bool) -> Option<Self> {
        let recording = trace.recording()?;
        let (id, span) = trace.ids();
        let now = SystemTime::now();
        let data = SpanData {
            span_context: SpanContext::new(id, span, TraceFlags::SAMPLED, false, recording.state.clone()),
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: remote,
            span_kind: kind,
            name: Cow::Borrowed(""),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: recording.recorder.scope.clone(),
        };
        Some(Self(Box::new(OpenSpan { trace: trace.clone(), data, start: Instant::now(), ended: false })))
    }

    /// Sets the span's name. Names must come from a small set and contain nothing that a client sent.
    pub fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        self.0.data.name = name.into();
    }

    /// Sets an attribute of the span.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.data.attributes.push(KeyValue::new(key, value));
    }

    /// Sets an attribute to a text, cut to 2 KiB.
    pub fn set_text(&mut self, key: &'static str, text: &str) {
        self.set(key, text[..text.floor_char_boundary(MAX_TEXT)].to_owned());
    }

    /// Ends the span. An `error` marks it as failed.
    pub fn end(mut self, error: Option<&dyn fmt::Display>) {
        self.0.ended = true;
        if let Some(error) = error {
            self.0.data.status = Status::error(error.to_string());
        }
    }

    /// Returns the trace with this span as the current one. Child spans start from it.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        // The wall clock may jump during the span, so the end is computed from the monotonic clock.
        self.data.end_time = self.data.start_time + self.start.elapsed();
        if !self.ended {
            self.data.status = Status::error(ABANDONED);
        }
        if let Some(recording) = self.trace.recording() {
            recording.recorder.processor.on_end(self.data.clone());
        }
    }
}

impl Trace {
    /// Continues the trace of a request, or begins a new one.
    ///
    /// `given` is the request's `traceparent`; an invalid one counts as absent. `state` returns the request's
    /// `tracestate` and is called only if the trace is recorded and continued. The spans pass the `tracestate` on.
    ///
    /// The trace is recorded if the caller records it. Of new traces, `recorder` records its configured share. Returns
    /// the trace, and the request's span if the trace is recorded.
    pub fn of_request(
        given: Option<&[u8]>,
        state: impl FnOnce() -> String,
        recorder: Option<&Arc<Recorder>>,
    ) -> (Self, Option<Span>) {
        let (trace, caller) = Self::continue_or_begin(given, state, recorder);
        let span = Span::new(&trace, caller, SpanKind::Server, caller.is_some());
        (trace, span)
    }

    /// Starts a span below the current one of the trace. Returns `None` if the trace is not recorded; `name` is not called then.
    pub fn child<N: Into<Cow<'static, str>>>(&self, kind: SpanKind, name: impl FnOnce() -> N) -> Option<Span> {
        self.recording()?;
        let (_, parent) = self.ids();
        let mut span = Span::new(&self.below(), Some(parent), kind, false)?;
        span.name(name());
        Some(span)
    }
}
