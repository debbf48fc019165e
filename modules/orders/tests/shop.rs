//! Tests of orders with the real payments and notifications services, each with a database of its own.
#![allow(clippy::unwrap_used)]

#[path = "shop/native.rs"]
mod native;
#[path = "shop/world.rs"]
mod world;

#[path = "shop/cancelling.rs"]
mod cancelling;
#[path = "shop/crashes.rs"]
mod crashes;
#[path = "shop/placing.rs"]
mod placing;
#[path = "shop/resuming.rs"]
mod resuming;
