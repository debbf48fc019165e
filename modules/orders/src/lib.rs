//! The orders module: it places orders, charges them through payments, and notifies customers through notifications.
//!
//! `service` has the business rules and `draft` the validation. `feed` reads many orders, and changes. `notes` keeps notes beside orders, and
//! `documents` makes documents of orders. `ports` has the interfaces that the rules need from other modules, `model` the types and `store` the
//! SQL. `component` implements the contract. The rules depend on no host and no HTTP.
//!
//! A crate that depends on this one exports the contract too: the linker puts `component` into its component. `orders-http` uses that.

pub mod documents;
pub mod draft;
pub mod feed;
pub mod model;
pub mod notes;
pub mod ports;
pub mod service;
mod store;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
pub mod component;
