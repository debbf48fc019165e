//! The payments module with a provider that is asked over HTTP. The rules, the SQL, the migrations and the contract's functions are
//! those of `payments`, from the very same files; only who takes the money is another.
#![cfg(target_arch = "wasm32")]

#[path = "../../payments/src/component.rs"]
mod component;
#[path = "../../payments/src/model.rs"]
pub mod model;
#[path = "../../payments/src/service.rs"]
pub mod service;

mod bindings;
pub mod provider;
