//! Tests of calls between compartments, from within the process: the values that they carry, the costs for their callers, and the resources
//! that they release.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod app;
mod chains;
mod edges;
mod ends;
mod properties;
