//! Tests of grants: modules get exactly what the manifest grants, and act in their own name.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a test fails by panicking; what it shares with others is used in part"
)]

#[path = "grants/keyvalue.rs"]
mod keyvalue;
#[path = "grants/output.rs"]
mod output;
#[path = "grants/settings.rs"]
mod settings;
#[path = "grants/http.rs"]
mod http;
#[path = "grants/provider.rs"]
mod provider;
