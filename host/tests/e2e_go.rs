//! The end-to-end tests of the shop with notifications in Go. Its answers must be the same.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a test fails by panicking; this is a part of the suite"
)]

#[path = "e2e/answers.rs"]
mod answers;
#[path = "e2e/shop.rs"]
mod shop;
#[path = "e2e/wire.rs"]
mod wire;
