//! The whole host from outside: the real binary, real components, real sockets. Nothing in here reaches into the host.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "support/host.rs"]
mod host;

#[path = "e2e/admin.rs"]
mod admin;
#[path = "e2e/answers.rs"]
mod answers;
#[path = "e2e/app.rs"]
mod app;
#[path = "e2e/client.rs"]
mod client;
#[path = "e2e/command_line.rs"]
mod command_line;
#[path = "e2e/instances.rs"]
mod instances;
#[path = "e2e/isolation.rs"]
mod isolation;
#[path = "e2e/lifecycle.rs"]
mod lifecycle;
#[path = "e2e/shop.rs"]
mod shop;
#[path = "e2e/wire.rs"]
mod wire;
