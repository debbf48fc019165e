//! Calls between compartments, seen from within the host: what they carry, what they cost their callers, and what they let go of.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "bridge/app.rs"]
mod app;
#[path = "bridge/chains.rs"]
mod chains;
#[path = "support/components.rs"]
mod components;
#[path = "bridge/edges.rs"]
mod edges;
#[path = "bridge/ends.rs"]
mod ends;
#[path = "bridge/properties.rs"]
mod properties;
#[path = "support/types.rs"]
mod types;
