//! Ids: ULIDs, which sort by the time of their creation (<https://github.com/ulid/spec>).

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of new ids.
pub trait Ids {
    /// Returns a new ULID.
    fn new_id(&self) -> String;
}

/// The number of characters of an id.
const LENGTH: usize = 26;

/// The digits of Crockford's base 32, in the order of their values.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The number of random bits, which follow the bits of the time.
const RANDOM_BITS: u32 = 80;

/// Builds a ULID from a time and the lowest 80 bits of `random`. The random bits distinguish it from other ids of the same
/// millisecond.
pub fn ulid(moment: SystemTime, random: u128) -> String {
    let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let value = (millis << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1));
    (0..LENGTH).rev().map(|place| char::from(ALPHABET[(value >> (5 * place)) as usize & 31])).collect()
}

/// Returns whether a text is a well-formed ULID.
pub fn is_ulid(text: &str) -> bool {
    text.len() == LENGTH && text.as_bytes()[0] <= b'7' && text.bytes().all(|byte| ALPHABET.contains(&byte))
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
