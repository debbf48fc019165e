//! Tests of grants: a module can use exactly those capabilities that the manifest grants it, and the host knows which module uses them.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod keyvalue;
mod output;
mod settings;
mod http;
mod provider;
mod together;
