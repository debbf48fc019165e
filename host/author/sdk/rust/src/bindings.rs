//! The bindings of the host's capabilities, generated from `wit/`. This file has no code written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

wit_bindgen::generate!({
    path: "wit",
    world: "watertight:guest/guest",
    generate_all,
    generate_unused_types: true,
});
