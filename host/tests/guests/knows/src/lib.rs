//! A test module that says what it knows of the request for which it is called.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::knows::knows::Guest;
use bindings::watertight::request::context;

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn seen() -> String {
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let languages = Some(context::languages().join(",")).filter(|languages| !languages.is_empty());
        let all = [context::client_address(), context::scheme(), context::host(), languages];
        all.map(known).join(" ")
    }

    fn ids() -> (Option<String>, Option<String>, Option<u64>) {
        (context::request_id(), context::trace_id(), context::time_left())
    }
}
