//! The routes of the orders module, for components that own their routes. The rules, the SQL, the migrations and the contract are those of
//! `orders`, as a dependency; this crate has the HTTP side only, and knows no version of `wasi:http`. The components are `orders-http`
//! (0.2) and `orders-http-p3` (0.3): each converts requests and answers, and brings the timer.
//!
//! `routes` has the table of routes and their handlers, `export` and `events` the two that stream. `input` reads requests, `read` and
//! `write` convert JSON, and `problem` has the answers to what fails. `app` is what the handlers use. A request is answered here as the host answers it with `routes/orders.toml`: the tests hold both against one table.

pub mod app;
pub mod routes;

mod events;
mod export;
mod input;
mod problem;
mod read;
mod write;
