//! Tests of contracts: names, labels of imports, functions of a world and drafts of WASI, and the problems that the host reports about an
//! application before it runs.
//!
//! They use the real binary and real sockets. The components are built from text.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod app;
mod calls;
mod drafts;
mod fakes;
mod imported;
mod mounts;
mod names;
mod outdated;
mod paper;
mod worlds;
