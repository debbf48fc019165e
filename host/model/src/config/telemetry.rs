//! Reads `[telemetry]`: which spans are recorded, and where they are sent.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ::http::Uri;

use super::tree::Table;

/// The table `[telemetry]`: which spans are recorded, and where they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracingConfig {
    /// The address of the collector to which spans are sent over OTLP. `None` means that the host records no spans.
    pub otlp: Option<Collector>,
    /// The share of new traces that is recorded. If a caller records its trace, the host's part of it is recorded too. Default: all.
    pub ratio: Ratio,
    /// Greatest number of spans that may wait to be sent. Further spans are lost. Default: 2,048, which take a few MB.
    pub queue: u32,
    /// Greatest time for which spans are gathered before they are sent. Default: 5 seconds.
    pub interval: Duration,
    /// Greatest time that sending one batch of spans may take. Default: 10 seconds.
    pub timeout: Duration,
}

impl Default for TracingConfig {
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

impl TracingConfig {
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

/// A share between 0 and 1, stored in millionths.
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

/// The address of an OTLP collector. The host appends the path that OTLP prescribes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(String);

/// The error that a text is not the address of a collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a collector's address, such as `http://127.0.0.1:4318` (OTLP over HTTP, without TLS)")]
pub struct BadCollector(String);

impl Collector {
    /// Returns the address as it was written.
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
