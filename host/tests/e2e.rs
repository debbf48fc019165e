//! End-to-end tests of the host: the real binary, real components and real sockets. No test accesses the host's internals.
//!
//! Applications have the placement of their manifest; by default, all modules share one compartment. `e2e_apart` and `e2e_mixed` run the
//! same suite with other placements. Expectations that depend on the placement use [`host::Placement`].

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "e2e/suite.rs"]
mod suite;

// These tests choose the placement of their modules, so they run only here.
#[path = "e2e/access.rs"]
mod access;
#[path = "e2e/clock.rs"]
mod clock;
#[path = "e2e/collector.rs"]
mod collector;
#[path = "e2e/frames.rs"]
mod frames;
#[path = "e2e/connections.rs"]
mod connections;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/log.rs"]
mod log;
#[path = "e2e/metrics.rs"]
mod metrics;
#[path = "e2e/protocol.rs"]
mod protocol;
#[path = "e2e/scrape.rs"]
mod scrape;
#[path = "e2e/statements.rs"]
mod statements;
#[path = "e2e/traces.rs"]
mod traces;

use suite::{shop, wire};
