//! Reads the system clock within the years that texts can express. A machine's clock may be set before 1970 or after 9999; neither is an
//! error here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that RFC 3339 and HTTP can express: 9999-12-31T23:59:59Z.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Returns the time since the start of 1970 in UTC: zero for earlier times, and at most the end of 9999.
pub fn since_1970() -> Duration {
    clamp(SystemTime::now())
}

/// Returns the current time as RFC 3339 text in UTC, with seconds.
pub fn now_text() -> String {
    text(since_1970())
}

/// Returns the current time as RFC 3339 text in UTC, with milliseconds. SQLite's `'now'` can't replace it: it is null after 9999.
pub fn now_text_millis() -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970()).to_string()
}

fn clamp(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST)
}

fn text(since_1970: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_text() {
        let second = Duration::from_secs(1);
        let texts = [
            (UNIX_EPOCH - second, "1970-01-01T00:00:00Z"),
            (UNIX_EPOCH - 1_000_000 * 3_600 * second, "1970-01-01T00:00:00Z"),
            (UNIX_EPOCH, "1970-01-01T00:00:00Z"),
            (UNIX_EPOCH + LAST, "9999-12-31T23:59:59Z"),
            (UNIX_EPOCH + LAST + second, "9999-12-31T23:59:59Z"),
            (UNIX_EPOCH + 2 * LAST, "9999-12-31T23:59:59Z"),
        ];
        for (time, expected) in texts {
            assert_eq!(text(clamp(time)), expected, "{time:?}");
        }
    }
}
