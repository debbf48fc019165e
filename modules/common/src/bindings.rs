//! The bindings of the shop's shared types, generated from `wit/`, and those of the host's capabilities. This file has no code written
//! by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

pub use watertight_guest::bindings::{wasi, watertight};

wit_bindgen::generate!({
    path: ["../../wit/common", "wit"],
    world: "shop:common-module/module",
    generate_all,
    generate_unused_types: true,
});
