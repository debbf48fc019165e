//! Tests of orders with the real payments and notifications services, each with a database of its own.
#![allow(clippy::unwrap_used)]

mod native;
mod world;

mod cancelling;
mod crashes;
mod documents;
mod feed;
mod notes;
mod placing;
mod resuming;
