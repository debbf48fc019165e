//! Tests of the codec between JSON and component values: which documents it accepts, which it refuses and at which place, and that a value
//! is the same after encoding and decoding.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod bounds;
mod properties;
mod table;
mod values;
mod wit;
