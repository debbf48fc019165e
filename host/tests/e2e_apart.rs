//! The end-to-end tests of `e2e` that suit every placement, with each module in a compartment of its own.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "e2e/suite.rs"]
mod suite;

use suite::{shop, wire};
