//! A test module whose functions do what a test requests, harmful operations included.
#![cfg(target_arch = "wasm32")]

mod acts;
mod bindings;
mod raw;

/// The component's exports.
pub(crate) struct Component;
