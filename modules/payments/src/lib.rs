//! The payments module. A payment is authorized, then captured, then refunded. A repeated step takes effect only once.
//!
//! `service` has the business rules, `provider` the connection to the payment provider, `webhooks` the provider's events, `model` the types
//! and the SQL. `component` implements the contracts. The rules depend on no host and no HTTP.

pub mod model;
pub mod provider;
pub mod service;
pub mod webhooks;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
