//! The interface to the clock, as a trait, and the text format of times in contracts.

use std::time::SystemTime;

/// A source of the current time.
pub trait Clock {
    /// Returns the current time.
    fn now(&self) -> SystemTime;
}

/// Formats a time as contracts do: RFC 3339 in UTC with milliseconds, `2026-11-23T08:15:30.123Z`.
pub fn timestamp(moment: SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}
