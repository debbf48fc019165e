//! The orders module: it places orders, charges them through payments, and notifies customers through notifications.
//!
//! `service` has the business rules and `draft` the validation. `ports` has the interfaces that the rules need from other
//! modules, `model` the types and `store` the SQL. `component` implements the contract. The rules depend on no host and no HTTP.

pub mod draft;
pub mod model;
pub mod ports;
pub mod service;
mod store;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
