//! The notifications module: tells customers what happened, each thing once.
//!
//! `service` has the rules, `template` the texts, `model` the types and the SQL; `component` makes it a component. The rules know no
//! host and no HTTP.

pub mod model;
pub mod service;
pub mod template;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
