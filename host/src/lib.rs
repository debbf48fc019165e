//! Watertight: a runtime for modular monoliths.
//!
//! An application is a set of modules, each a separately compiled WebAssembly component. This crate loads them, links them through
//! their WIT interfaces and nothing else, gives each its own data and its own identity, and routes HTTP to them.
//!
//! The modules below stand in the order of the data's way; each uses only those before it (`tests/tidy.rs` checks it).

pub mod ids;
pub mod migration;
pub mod problem;
pub mod shape;

pub mod failpoint;

pub mod database;
