//! Spans: made where a trace is recorded, gathered in a bounded queue and sent by OTLP, by a thread of its own.
//!
//! Nothing on the way of a request waits for the collector: where the queue is full, spans are lost, and the log says so.

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
use watertight_model::config::Tracing;
use watertight_model::ids::AppName;

/// Where a collector takes spans, below its address (OTLP/HTTP).
const TRACES: &str = "/v1/traces";
/// Spans that are sent at once.
const BATCH: usize = 512;
/// How long the end of the host waits for the last spans to be sent.
const LAST_EXPORT: Duration = Duration::from_secs(5);
/// The longest text of an attribute, in bytes; of a longer one, the beginning.
const MAX_TEXT: usize = 2 << 10;

/// Why spans can't be recorded.
#[derive(Debug, thiserror::Error)]
#[error("spans can't be sent to {endpoint}")]
pub struct NoExport {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// What takes spans and sends them.
pub struct Recorder {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
}

impl Recorder {
    /// Sends to where `tracing` says, as the service of that name; none where it says nothing. Starts the thread that sends.
    ///
    /// # Errors
    ///
    /// Where the address can't be one.
    pub fn start(tracing: &Tracing, application: &AppName) -> Result<Option<Arc<Self>>, NoExport> {
        let Some(collector) = &tracing.otlp else { return Ok(None) };
        let endpoint = format!("{}{TRACES}", collector.as_str().trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&endpoint)
            .with_timeout(tracing.timeout)
            .build()
            .map_err(|source| NoExport { endpoint, source })?;
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

    /// Whether a new trace of that id is to be recorded.
    pub(super) fn takes(&self, id: TraceId) -> bool {
        let sampled = self.sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    /// Sends what is left. Blocks, for a bounded time; later spans are lost.
    pub(super) fn stop(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_EXPORT) {
            tracing::warn!(target: "telemetry", %error, "the last spans could not be sent");
        }
    }
}

/// What stands for the reason where a span is dropped before its end.
const GIVEN_UP: &str = "it was given up before its end";

/// Something that takes time, recorded.
#[must_use]
pub struct Span(Box<Open>);

struct Open {
    trace: Trace,
    data: SpanData,
    start: Instant,
    ended: bool,
}

impl Span {
    /// The span that `trace` stands at, if it is recorded; `remote` where its parent is another process's.
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
        Some(Self(Box::new(Open { trace: trace.clone(), data, start: Instant::now(), ended: false })))
    }

    /// Names it. Names are few: nothing that a client sends is in one.
    pub fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        self.0.data.name = name.into();
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.data.attributes.push(KeyValue::new(key, value));
    }

    /// Says something of it with a text, of which the beginning is kept.
    pub fn set_text(&mut self, key: &'static str, text: &str) {
        self.set(key, text[..text.floor_char_boundary(MAX_TEXT)].to_owned());
    }

    /// Ends it; with an error where it failed.
    pub fn end(mut self, error: Option<&dyn fmt::Display>) {
        self.0.ended = true;
        if let Some(error) = error {
            self.0.data.status = Status::error(error.to_string());
        }
    }

    /// The trace, standing at this span: for what happens within.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The clock of the wall may jump meanwhile.
        self.data.end_time = self.data.start_time + self.start.elapsed();
        if !self.ended {
            self.data.status = Status::error(GIVEN_UP);
        }
        if let Some(recording) = self.trace.recording() {
            recording.recorder.processor.on_end(self.data.clone());
        }
    }
}
