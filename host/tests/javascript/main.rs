//! Tests of JavaScript modules: 64-bit integers compared with Rust, time and randomness in each instance, errors with their messages and
//! lines, and the refusals of `build`. They need Node.js with npm; `make test` installs them if they are missing.

#![allow(clippy::unwrap_used, missing_docs)]

mod ambient;
mod exact;
mod fails;
mod refused;
mod table;
mod workspace;
