//! Tests of calls between compartments, from within the host's process: the values that calls carry, their effect on the callers' limits,
//! and the resources that they release.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod app;
mod chains;
mod edges;
mod ends;
mod flows;
mod properties;
