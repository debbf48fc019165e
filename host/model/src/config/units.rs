//! Parses and prints durations and sizes with their unit.
//!
//! A number without a unit is refused, because `timeout = 30` doesn't say whether it means seconds.

use std::time::Duration;

use bytesize::ByteSize;

/// Greatest length of a duration's text, in bytes: `365days 23h 59m 59s` is shorter. The bound also keeps sums away from `humantime` that
/// overflow its `Duration::new`: version 2.4.0 panics for `18446744073709551615s 1000000000ns`.
const MAX_DURATION_TEXT: usize = 20;

/// Parses a duration: `30s`, `1h 30m`, `250ms`. The error says what was expected.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a duration with its unit, such as `30s`, `250ms` or `1h 30m`";
    // This check is needed because `humantime` accepts `0` without a unit.
    if text.len() > MAX_DURATION_TEXT || !text.ends_with(char::is_alphabetic) {
        return Err(EXPECTED);
    }
    humantime::parse_duration(text).map_err(|_| EXPECTED)
}

/// Parses a size: `256MiB`, `64KiB`, `1.5GB`, `512B`. Returns bytes. The error says what was expected.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a size with its unit, such as `256MiB`, `64KiB` or `512B`";
    // This check is needed because `bytesize` accepts `256`, which has no unit, and `256m`, which may or may not mean 2^20.
    if !text.ends_with('B') {
        return Err(EXPECTED);
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| EXPECTED)
}

/// Prints a duration for a message: `1h 30m`.
pub(super) fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Prints a size for a message, exactly and in the manifest's notation: `256MiB`, `1536KiB`, `1000B`.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["GiB", "MiB", "KiB", "B"];
    let whole = UNITS.iter().zip([30, 20, 10, 0]).find(|(_, bits)| bytes != 0 && bytes.trailing_zeros() >= *bits);
    let (unit, bits) = whole.unwrap_or((&"B", 0));
    format!("{}{unit}", bytes >> bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_carry_units() {
        for (text, millis) in [("30s", 30_000), ("250ms", 250), ("1h 30m", 5_400_000), ("1.5s", 1500), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "0", "s", "-1s", "1 fortnight", "18446744073709551615s 1000000000ns", "30s 1"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_is_shown_as_it_is_read(odd in 0_u64..1 << 20, zeros in 0_u32..32) {
            prop_assert_eq!(size(&show_size(odd << zeros)), Ok(odd << zeros));
        }
    }

    #[test]
    fn sizes_carry_units() {
        for (text, bytes) in [("256MiB", 256 << 20), ("64 KiB", 64 << 10), ("1.5GB", 1_500_000_000), ("7B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "256", "256m", "256M", "MiB", "-1MiB", "1e3KiB", "nanB", "é"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size("99999999999EiB"), Ok(u64::MAX), "a size above the range must stay above it");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,30}", units in "[0-9]{1,20}(s|ms|ns|years|w|h| ){0,3}[0-9]{0,10}(s|ns|B)?") {
            let _ = (duration(&text), size(&text), duration(&units), size(&units));
        }
    }
}
