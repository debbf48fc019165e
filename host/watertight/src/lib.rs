//! Watertight: a runtime for modular monoliths.
//!
//! An application is a set of modules, each a separately compiled WebAssembly component. This crate loads them, links them through
//! their WIT interfaces and nothing else, gives each its own data and its own identity, and routes HTTP to them.
//!
//! The modules below stand in the order of the data's way; each uses only those before it (`tests/tidy.rs` checks it).

pub mod clock;
pub mod ids;
pub mod migration;
pub mod problem;
pub mod shape;
pub mod config;
pub mod profile;
pub mod artifact;
pub mod failpoint;
pub mod files;
pub mod telemetry;
pub mod database;
pub mod json;
pub mod graph;
pub mod routes;
pub mod plan;
pub mod engine;
pub mod outbound;
pub mod store;
pub mod capability;
pub mod link;
pub mod runtime;
pub mod state;
pub mod backup;
pub mod application;
pub mod control;
pub mod invoke;
pub mod suite;
pub mod http;
pub mod admin;
pub mod build;
pub mod dev;
pub mod cli;

#[cfg(test)]
#[path = "../tests/support/components.rs"]
pub(crate) mod test_components;
