//! Where spans go: `[telemetry]`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ::http::Uri;

use super::tree::Table;

/// Which spans are recorded, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// The collector. Without one no span is made.
    pub otlp: Option<Collector>,
    /// The share of new traces that is recorded; a caller that records its own has its part recorded too. All by default.
    pub ratio: Ratio,
    /// Spans that wait to be sent; further ones are lost. 2,048 by default: a few MB.
    pub queue: u32,
    /// How long spans are gathered before they are sent. 5 seconds by default.
    pub interval: Duration,
    /// How long sending may take. 10 seconds by default.
    pub timeout: Duration,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp: None,
            ratio: Ratio(Ratio::WHOLE),
            queue: 2_048,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Tracing {
    const QUEUE: RangeInclusive<u32> = 1..=1_000_000;
    const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);
    const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        let ratio = table.optional("ratio").and_then(|value| value.millionths());
        Self {
            otlp: table.optional("otlp").and_then(|value| value.parse()).map(|collector| collector.value),
            ratio: ratio.map_or(base.ratio, Ratio),
            queue: table.count("queue", Self::QUEUE, base.queue),
            interval: table.duration("interval", Self::INTERVAL, base.interval),
            timeout: table.duration("timeout", Self::TIMEOUT, base.timeout),
        }
    }
}

/// A share, from nothing to all, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    const WHOLE: u32 = 1_000_000;
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        f64::from(ratio.0) / f64::from(Ratio::WHOLE)
    }
}

/// The address of an OTLP collector, below which are the paths of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(String);

/// Why a text is no collector's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a collector's address, such as `http://127.0.0.1:4318` (OTLP over HTTP, without TLS)")]
pub struct BadCollector(String);

impl Collector {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Collector {
    type Err = BadCollector;

    fn from_str(text: &str) -> Result<Self, BadCollector> {
        let uri = text.parse::<Uri>().ok();
        let good = uri.is_some_and(|uri| {
            uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
        });
        if good { Ok(Self(text.to_owned())) } else { Err(BadCollector(text.to_owned())) }
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
