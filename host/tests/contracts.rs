//! What contracts may be called and how they meet: names, labels, functions of a world, drafts; and what an application on paper is told.
//!
//! The real binary and real sockets, on components that are made from text.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "support/components.rs"]
mod components;
#[path = "support/host.rs"]
mod host;

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
