//! Tests of Python modules: 64-bit integers compared with Rust, time and randomness in each instance, exceptions with their words and
//! lines, what is loaded at build time, and the refusals of `build`. They need Python with venv and pip.

#![allow(clippy::unwrap_used, missing_docs)]

mod every;
mod refused;
// The answers must be those of JavaScript, so the calls are the same.
#[path = "../javascript/table.rs"]
mod table;
mod workspace;
