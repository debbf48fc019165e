//! Tests of the JSON codec for component values: what it accepts, what it refuses and with which place, and that values survive.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "json/bounds.rs"]
mod bounds;
#[path = "json/properties.rs"]
mod properties;
#[path = "json/table.rs"]
mod table;
#[path = "json/values.rs"]
mod values;
#[path = "json/wit.rs"]
mod wit;
