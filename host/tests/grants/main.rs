//! Tests of grants: modules get exactly what the manifest grants, and act in their own name.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod keyvalue;
mod output;
mod settings;
mod http;
mod provider;
