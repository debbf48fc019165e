//! The clock of the wall, as far as texts can tell it: a machine may be set before 1970 or beyond 9999, and nothing must fail for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that RFC 3339 and HTTP can write: 9999-12-31T23:59:59Z.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The time since the beginning of 1970: none before it, and no more than the end of 9999.
pub fn since_1970() -> Duration {
    within(SystemTime::now())
}

/// The time now, RFC 3339 in UTC with seconds.
pub fn now_text() -> String {
    text(since_1970())
}

/// The time now, RFC 3339 in UTC with milliseconds. SQLite's own `'now'` is null after 9999.
pub fn now_text_millis() -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970()).to_string()
}

fn within(time: SystemTime) -> Duration {
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
            assert_eq!(text(within(time)), expected, "{time:?}");
        }
    }
}
