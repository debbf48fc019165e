//! Tests of calls between compartments, from within the process: the values that they carry, the costs for their callers, and the resources
//! that they release.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "bridge/app.rs"]
mod app;
#[path = "bridge/chains.rs"]
mod chains;
#[path = "bridge/edges.rs"]
mod edges;
#[path = "bridge/ends.rs"]
mod ends;
#[path = "bridge/properties.rs"]
mod properties;
