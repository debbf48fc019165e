//! The end-to-end tests of `e2e` that suit every placement, with the first module in a compartment of its own and the others together.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "e2e/suite.rs"]
mod suite;

use suite::{shop, wire};
