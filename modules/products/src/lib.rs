//! The products module: it keeps a picture for each product, as uploaded by clients and shown by browsers.
//!
//! `format` says what bytes are, `service` has the business rules, `model` the types and the SQL. `component` implements the contract. The
//! rules depend on no host and no HTTP.

pub mod format;
pub mod model;
pub mod service;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
