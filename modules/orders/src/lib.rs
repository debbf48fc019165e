//! The orders module: places orders, charges them through payments, and tells customers through notifications.
//!
//! `service` has the rules and `draft` what an order must look like, `ports` what they need of other modules, `model` the types,
//! `store` the SQL; `component` makes it a component. The rules know no host and no HTTP.

pub mod draft;
pub mod model;
pub mod ports;
pub mod service;
mod store;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
