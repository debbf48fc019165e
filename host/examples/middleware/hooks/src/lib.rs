//! The module `hooks`: takes the events of another service. It knows nothing of HTTP, and nothing of signatures.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The component's export.
    #![allow(unsafe_code, reason = "generated")]

    use super::Component;

    wit_bindgen::generate!({
        inline: "package example:module; world module { export example:hooks/hooks@1.0.0; }",
        path: "../wit/hooks",
        world: "example:module/module",
        generate_all,
    });
    export!(Component);
}

use bindings::exports::example::hooks::hooks::{Event, Guest};

struct Component;

impl Guest for Component {
    fn receive(event: Event) -> String {
        format!("{} number {}", event.kind, event.number)
    }
}
