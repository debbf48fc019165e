//! Fuzz tests of all code that reads input from others. Each test ("target") gets arbitrary and damaged input for some seconds, or for
//! hours.
//!
//! proptest generates the cases: it runs on the stable toolchain, is used elsewhere already, and shrinks failing cases. `fuzz/runner.rs`
//! adds the clock and the recorded seeds.
//!
//! `WATERTIGHT_FUZZ_SECONDS` sets the time of each target (15 by default). `WATERTIGHT_FUZZ_SEED` repeats a single case. `make fuzz` passes
//! both on.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test, which says how much it did")]

mod configuration;
mod http;
mod json;
mod mutate;
mod runner;
mod section;
mod shape;
mod sql;
mod state;
