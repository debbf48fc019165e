//! Tests of grants: modules get exactly what the manifest grants, and act in their own name.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a test fails by panicking; what it shares with others is used in part"
)]

mod keyvalue;
mod output;
mod settings;
mod http;
mod provider;
