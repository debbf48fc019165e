//! Tests of contracts: names, labels, functions of a world and drafts of WASI, and the problems that an application gets before it runs.
//!
//! They use the real binary and real sockets. The components are built from text.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "contracts/app.rs"]
mod app;
#[path = "contracts/drafts.rs"]
mod drafts;
#[path = "contracts/names.rs"]
mod names;
#[path = "contracts/paper.rs"]
mod paper;
#[path = "contracts/worlds.rs"]
mod worlds;
