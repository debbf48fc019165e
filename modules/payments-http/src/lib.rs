//! The payments module with a provider that is called over HTTP. The rules, the SQL, the migrations and the contract's functions
//! come from the source files of `payments`. Only the provider differs.
#![cfg(target_arch = "wasm32")]

// The files are included, because `component.rs` uses the bindings of the crate that compiles it. As a dependency, `shop-payments`
// would export the contract with its own provider.
#[path = "../../payments/src/component.rs"]
mod component;
#[path = "../../payments/src/model.rs"]
pub mod model;
#[path = "../../payments/src/service.rs"]
pub mod service;
#[path = "../../payments/src/webhooks.rs"]
pub mod webhooks;

mod bindings;
pub mod provider;
