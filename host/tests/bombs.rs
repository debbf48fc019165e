//! Tests of builds that cost the host much time or memory before they run.
//!
//! They have a test binary of their own, since they load all processors for seconds, which would slow other tests down.

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
