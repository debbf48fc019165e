//! The orders module with routes of its own. The rules, the SQL, the migrations and the contract are those of `orders`, as a dependency;
//! this crate has the HTTP side only.
//!
//! `routes` has the table of routes and their handlers, `export` and `events` the two that stream. `input` reads requests, `read` and
//! `write` convert JSON, and `problem` has the answers to what fails. `app` is what the handlers use. `component` connects all this to
//! `wasi:http`. A request is answered here as the host answers it with `routes/orders.toml`: the tests hold both against one table.

pub mod app;
pub mod routes;

mod events;
mod export;
mod input;
mod problem;
mod read;
mod write;

#[cfg(target_arch = "wasm32")]
mod component;
