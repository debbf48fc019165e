//! Builds that are made to cost the host time or memory before they run.
//!
//! They have a test binary of their own, since they take all processors for seconds, which other tests would wait for.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "those who swap: this is a part")]
#[path = "swap/admin.rs"]
mod admin;
#[allow(dead_code, reason = "those who swap: this is a part")]
#[path = "swap/app.rs"]
mod app;
#[path = "bombs/builds.rs"]
mod builds;
#[allow(dead_code, reason = "those who read what a command says: this is a part")]
#[path = "support/command.rs"]
mod command;
#[path = "support/components.rs"]
mod components;
#[path = "support/host.rs"]
mod host;
#[path = "support/refused.rs"]
mod refused;
#[allow(dead_code, reason = "those who swap: this is a part")]
#[path = "swap/wire.rs"]
mod wire;
