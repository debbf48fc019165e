//! JSON and component values: what is taken, what is refused and where, and that nothing is lost on the way.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "json/bounds.rs"]
mod bounds;
#[path = "support/documents.rs"]
mod documents;
#[path = "json/properties.rs"]
mod properties;
#[path = "json/table.rs"]
mod table;
#[path = "support/types.rs"]
mod types;
#[path = "json/values.rs"]
mod values;
#[path = "json/wit.rs"]
mod wit;
