//! The port to the clock, and how contracts write a moment.

use std::time::SystemTime;

/// Knows the time.
pub trait Clock {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// A moment as contracts write it: RFC 3339 in UTC with milliseconds, `2026-11-23T08:15:30.123Z`.
pub fn timestamp(moment: SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}
