//! A test module whose functions do what a test requests, harmful operations included.
#![cfg(target_arch = "wasm32")]

mod acts;
mod bindings;
mod raw;

/// The type that implements the component's exports.
pub(crate) struct Component;
