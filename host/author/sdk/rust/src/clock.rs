//! The interface to the clock, as a trait.

use std::time::SystemTime;

/// A source of the current time.
pub trait Clock {
    /// Returns the current time.
    fn now(&self) -> SystemTime;
}
