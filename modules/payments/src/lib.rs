//! The payments module: charges move authorized, captured, refunded, each step once whatever is repeated.
//!
//! `service` has the rules, `provider` who takes the money, `model` the types and the SQL; `component` makes it a component. The
//! rules know no host and no HTTP.

pub mod model;
pub mod provider;
pub mod service;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
