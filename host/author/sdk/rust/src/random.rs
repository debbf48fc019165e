//! The interface to randomness, as a trait.

/// A source of random bits that nobody can guess.
pub trait Random {
    /// Returns 64 random bits.
    fn random_u64(&self) -> u64;

    /// Returns `length` random bytes.
    fn random_bytes(&self, length: usize) -> Vec<u8>;
}
