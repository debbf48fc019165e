//! Spans of recorded traces. A bounded queue collects them, and a separate thread sends them by OTLP.
//!
//! The request path never waits for the collector. If the queue is full, spans are lost, and the log says so.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanLinks,
    SpanProcessor,
};

use super::trace::Trace;
use watertight_model::config::TracingConfig;
use watertight_model::ids::AppName;

/// The path at which an OTLP/HTTP collector accepts spans.
const TRACES: &str = "/v1/traces";
/// The most spans in one export.
const BATCH: usize = 512;
/// How long the host waits at its end for the export of the last spans.
const LAST_EXPORT: Duration = Duration::from_secs(5);
/// The longest text of an attribute, in bytes. Longer texts are cut.
const MAX_TEXT: usize = 2 << 10;

/// Spans can't be recorded, because their exporter can't be created.
#[derive(Debug, thiserror::Error)]
#[error("spans can't be sent to {endpoint}")]
pub struct ExporterError {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// Collects spans and sends them to a collector.
pub struct Recorder {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
}

impl Recorder {
    /// Starts the thread that sends spans to the collector of `tracing`, under the service name `application`. Returns
    /// `None` if `tracing` names no collector.
    ///
    /// # Errors
    ///
    /// Returns [`ExporterError`] if the exporter can't be created, such as for an invalid address.
    pub fn start(tracing: &TracingConfig, application: &AppName) -> Result<Option<Arc<Self>>, ExporterError> {
        let Some(collector) = &tracing.otlp else { return Ok(None) };
        let endpoint = format!("{}{TRACES}", collector.as_str().trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&endpoint)
            .with_timeout(tracing.timeout)
            .build()
            .map_err(|source| ExporterError { endpoint, source })?;
        let queue = tracing.queue as usize;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(queue)
            .with_max_export_batch_size(BATCH.min(queue))
            .with_scheduled_delay(tracing.interval)
            .build();
        let mut processor = BatchSpanProcessor::new(exporter, batches);
        processor.set_resource(&Resource::builder().with_service_name(application.to_string()).build());
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope::builder("watertight").with_version(version).build();
        Ok(Some(Arc::new(Self { processor, sampler: Sampler::TraceIdRatioBased(tracing.ratio.into()), scope })))
    }

    /// Decides by the sampling ratio whether to record a new trace of this id.
    pub(super) fn is_sampled(&self, id: TraceId) -> bool {
        let sampled = self.sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    /// Sends the remaining spans. Later spans are lost. Blocks for at most 5 seconds.
    pub(super) fn stop(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_EXPORT) {
            tracing::warn!(target: "telemetry", %error, "the last spans could not be sent");
        }
    }
}

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
    /// Starts the span at which `trace` stands. `remote` says whether the parent span is another process's. Returns
    /// `None` if the trace is not recorded.
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

    /// Sets the span's name. A name must have few values and no part from a client.
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

    /// The trace, positioned at this span. Child spans start from it.
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
