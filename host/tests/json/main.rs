//! Tests of the JSON codec for component values: what it accepts, what it refuses and with which place, and that values survive.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod bounds;
mod properties;
mod table;
mod values;
mod wit;
