//! The recorder: a bounded queue collects spans, and a separate thread sends them by OTLP.
//!
//! The request path never waits for the collector. If the queue is full, spans are lost, and the log says so.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanProcessor,
};

use watertight_model::config::TracingConfig;
use watertight_model::ids::AppName;

/// The path at which an OTLP/HTTP collector accepts spans.
const TRACES: &str = "/v1/traces";
/// The most spans that are sent to the collector in one request.
const BATCH: usize = 512;
/// The longest wait of a stopping host until the last spans are sent.
const LAST_EXPORT: Duration = Duration::from_secs(5);
/// The error that spans can't be recorded, because their exporter can't be created.
#[derive(Debug, thiserror::Error)]
#[error("spans can't be sent to {endpoint}")]
pub struct ExporterError {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// Collects spans and sends them to an OTLP collector.
pub struct Recorder {
    pub(super) processor: BatchSpanProcessor,
    sampler: Sampler,
    pub(super) scope: InstrumentationScope,
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

    /// Whether a new trace with this id is recorded, by the sampling ratio of the configuration.
    pub(super) fn is_sampled(&self, id: TraceId) -> bool {
        let sampled = self.sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    /// Sends the remaining spans to the collector. Later spans are lost. Blocks for at most 5 seconds.
    pub(super) fn stop(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_EXPORT) {
            tracing::warn!(target: "telemetry", %error, "the last spans could not be sent to the collector and are lost");
        }
    }
}
