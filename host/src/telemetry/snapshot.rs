//! Numbers that are looked at when somebody asks, instead of being counted as things happen.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use super::counters;
use super::table::{Kind, Metric};

/// What is seen at one moment.
pub struct Snapshot {
    seen: HashMap<&'static str, Seen>,
}

enum Seen {
    Counter(prometheus::IntCounterVec),
    Gauge(IntGaugeVec),
}

impl Snapshot {
    pub(super) fn new() -> Self {
        Self { seen: HashMap::new() }
    }

    /// Adds to what is seen of a metric: several that have the same labels are summed. A metric of the kind counter must be given what
    /// was counted since the process began.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        let seen = self.seen.entry(metric.name).or_insert_with(|| match metric.kind {
            Kind::Counter => Seen::Counter(counters(metric)),
            Kind::Gauge | Kind::Histogram => {
                let options = Opts::new(metric.name, metric.help);
                Seen::Gauge(IntGaugeVec::new(options, metric.labels).expect("the table has good names"))
            }
        });
        match seen {
            Seen::Counter(counters) => counters.with_label_values(labels).inc_by(value),
            Seen::Gauge(gauges) => gauges.with_label_values(labels).add(i64::try_from(value).unwrap_or(i64::MAX)),
        }
    }

    pub(super) fn gather(self) -> Vec<MetricFamily> {
        let families = self.seen.into_values().flat_map(|seen| match seen {
            Seen::Counter(counters) => counters.collect(),
            Seen::Gauge(gauges) => gauges.collect(),
        });
        families.collect()
    }
}
