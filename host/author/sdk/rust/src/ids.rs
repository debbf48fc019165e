//! Ids: ULIDs, which sort by the time of their creation (<https://github.com/ulid/spec>).

use std::time::{SystemTime, UNIX_EPOCH};

use ulid::Ulid;

/// A source of new ids.
pub trait Ids {
    /// Returns a new ULID.
    fn new_id(&self) -> String;
}

/// Builds a ULID from a time and the lowest 80 bits of `random`. The random bits distinguish it from other ids of the same
/// millisecond.
pub fn ulid(moment: SystemTime, random: u128) -> String {
    let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ulid::from_parts(u64::try_from(millis).unwrap_or(u64::MAX), random).to_string()
}

/// Returns whether a text is a ULID as [`ulid`] writes it: in capitals.
pub fn is_ulid(text: &str) -> bool {
    Ulid::from_string(text).is_ok_and(|id| id.to_string() == text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_id_holds_its_moment_and_its_randomness() {
        // The example is that of the specification's reference implementation.
        let moment = UNIX_EPOCH + Duration::from_millis(1_469_918_176_385);
        assert_eq!(&ulid(moment, u128::MAX)[..10], "01ARYZ6S41");
        assert_eq!(&ulid(moment, u128::MAX)[10..], "Z".repeat(16));
        assert_eq!(&ulid(moment, 33)[10..], "0000000000000011");
        assert!(is_ulid(&ulid(moment, 7)));
    }

    #[test]
    fn ids_sort_by_time() {
        let ids: Vec<_> = [0, 1, 31, 32, 1 << 40].map(|ms| ulid(UNIX_EPOCH + Duration::from_millis(ms), 9)).into();
        assert!(ids.is_sorted());
        assert!(ids[0].as_str() < "~");
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in
            ["", "01ARYZ6S41", "81ARYZ6S41ZZZZZZZZZZZZZZZZ", "01ARYZ6S41ZZZZZZZZZZZZZZZU", "01aryz6s41zzzzzzzzzzzzzzzz"]
        {
            assert!(!is_ulid(text), "{text}");
        }
    }
}
