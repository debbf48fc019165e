//! Tests of JavaScript modules: 64-bit integers compared with Rust, time and randomness in each instance, errors with their messages and
//! lines, and the refusals of `build`. They need Node.js with npm; `make test` installs them if they are missing.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "javascript/ambient.rs"]
mod ambient;
#[path = "javascript/exact.rs"]
mod exact;
#[path = "javascript/fails.rs"]
mod fails;
#[path = "javascript/refused.rs"]
mod refused;
#[path = "javascript/workspace.rs"]
mod workspace;
