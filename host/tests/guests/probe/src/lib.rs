//! A module for tests: it does what it is told, the bad things too. It decides nothing and keeps no rule.
#![cfg(target_arch = "wasm32")]

mod acts;
mod bindings;
mod raw;

/// The component's exports.
pub(crate) struct Component;
