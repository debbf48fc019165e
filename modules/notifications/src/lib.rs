//! The notifications module: it notifies customers of events, and of each event only once.
//!
//! `service` has the business rules and `template` the texts. `model` has the types and the SQL. `component` implements the
//! contract. The rules depend on no host and no HTTP.

pub mod model;
pub mod service;
pub mod template;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
