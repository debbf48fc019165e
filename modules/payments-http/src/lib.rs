//! The payments module with a provider that is called over HTTP. The rules, the SQL, the migrations and the contract's functions
//! come from the source files of `payments`. Only the provider differs.
#![cfg(target_arch = "wasm32")]

#[path = "../../payments/src/component.rs"]
mod component;
#[path = "../../payments/src/model.rs"]
pub mod model;
#[path = "../../payments/src/service.rs"]
pub mod service;

mod bindings;
pub mod provider;
