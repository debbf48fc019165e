//! The module that the benchmark `http` calls.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! Bindings, generated from `wit`.
    #![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

    use super::Component;

    wit_bindgen::generate!({ path: "wit", world: "bench:hello/module" });
    export!(Component);
}

use bindings::exports::bench::hello::hello::{Greeting, Guest};

struct Component;

impl Guest for Component {
    fn greet(name: String) -> Greeting {
        let message = format!("Hello, {name}!");
        Greeting { length: message.len() as u32, message }
    }
}
