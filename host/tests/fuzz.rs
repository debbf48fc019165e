//! Arbitrary and spoilt input for everything that reads what others wrote: a bounded time of it for each target, or hours.
//!
//! proptest makes the cases for all of them, since it runs on the stable toolchain, is here already, and makes a failing case smaller by
//! itself; what is the test's own is the clock, and the seeds that are kept (`fuzz/runner.rs`).
//!
//! `WATERTIGHT_FUZZ_SECONDS` says how long each target runs (15 otherwise), `WATERTIGHT_FUZZ_SEED` runs a single case again. `make fuzz`
//! passes both on.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test, which says how much it did")]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/components.rs"]
mod components;
#[path = "fuzz/configuration.rs"]
mod configuration;
#[path = "support/documents.rs"]
mod documents;
#[path = "support/host.rs"]
mod host;
#[path = "fuzz/http.rs"]
mod http;
#[path = "fuzz/json.rs"]
mod json;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/runner.rs"]
mod runner;
#[path = "fuzz/section.rs"]
mod section;
#[path = "fuzz/shape.rs"]
mod shape;
#[path = "fuzz/sql.rs"]
mod sql;
#[path = "fuzz/state.rs"]
mod state;
#[path = "support/types.rs"]
mod types;
