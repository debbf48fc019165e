//! The whole host from outside: the real binary, real components, real sockets. Nothing in here reaches into the host.
//!
//! The same suite as `e2e`, with the first module apart and all others together.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "support/host.rs"]
mod host;

#[path = "e2e/suite.rs"]
mod suite;

use suite::{app, client, shop, wire};
