//! Metrics that are read when somebody asks for them, instead of being counted as events happen.

use std::collections::HashMap;

use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::table::{Kind, Metric};
use super::{counters, register};

/// The values of sampled metrics at one moment.
#[derive(Default)]
pub struct Snapshot {
    registry: Registry,
    metrics: HashMap<&'static str, SampledMetric>,
}

enum SampledMetric {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
}

impl Snapshot {
    /// Adds `value` to a metric's series with these labels, so that several values of one series are summed. The value of
    /// a counter is the total since the process began.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        let registry = &self.registry;
        let seen = self.metrics.entry(metric.name).or_insert_with(|| match metric.kind {
            Kind::Counter => SampledMetric::Counter(register(registry, counters(metric))),
            Kind::Gauge | Kind::Histogram => {
                let gauges = IntGaugeVec::new(Opts::new(metric.name, metric.help), metric.labels);
                SampledMetric::Gauge(register(registry, gauges.expect("the table has good names")))
            }
        });
        match seen {
            SampledMetric::Counter(counters) => counters.with_label_values(labels).inc_by(value),
            SampledMetric::Gauge(gauges) => {
                gauges.with_label_values(labels).add(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
