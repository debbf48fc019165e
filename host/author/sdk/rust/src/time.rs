//! Times as texts.

use std::time::SystemTime;

/// Formats a time as RFC 3339 in UTC with milliseconds: `2026-11-23T08:15:30.123Z`. Such texts sort as their times do.
pub fn timestamp(moment: SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}

/// Reads a time that [`timestamp`] wrote. `None` if the text is not RFC 3339 in UTC.
pub fn parse_timestamp(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_texts_and_back() {
        let moment = UNIX_EPOCH + Duration::from_millis(1_795_421_730_123);
        assert_eq!(timestamp(moment), "2026-11-23T08:15:30.123Z");
        assert_eq!(parse_timestamp("2026-11-23T08:15:30.123Z"), Some(moment));
        assert_eq!(parse_timestamp("yesterday"), None);
    }
}
