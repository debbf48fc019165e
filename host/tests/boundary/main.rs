//! Tests of what crosses the boundary of modules in TypeScript and C: 64-bit integers compared with Rust, time and randomness in each
//! instance, and what failures leave in the log. They need Node.js with npm, and Zig or pip; `make test` installs them if they are missing.

#![allow(clippy::unwrap_used, missing_docs)]

mod failing;
mod modules;
// The calls and the contract are those of the test `javascript`.
#[path = "../javascript/table.rs"]
mod table;
mod values;
