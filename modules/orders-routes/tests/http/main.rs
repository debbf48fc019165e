//! Tests of the routes with the real services, each with a database of its own, and without a host.
#![allow(clippy::unwrap_used)]

// The three modules in one process, as the tests of `orders` put them together.
#[allow(dead_code, reason = "the tests of `orders` use more of it")]
#[path = "../../../orders/tests/shop/native.rs"]
mod native;
#[allow(dead_code, reason = "the tests of `orders` use more of it")]
#[path = "../../../orders/tests/shop/world.rs"]
mod world;

mod answers;
mod client;
mod events;
mod export;
