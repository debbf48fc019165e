//! A test module that asks another one what it knows of the request for which both are called.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::hears::hears::Guest;
use bindings::test::knows::knows;

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn seen() -> String {
        knows::seen()
    }

    fn ids() -> (Option<String>, Option<String>, Option<u64>) {
        knows::ids()
    }
}
