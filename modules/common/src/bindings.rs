//! The bindings of the host's capabilities and of the shop's shared types, generated from `wit/`. This file has no code written
//! by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

wit_bindgen::generate!({
    path: [
        "../../wit/common",
        "../../wit/sql",
        "../../wit/logging",
        "../../wit/clocks",
        "../../wit/random",
        "../../wit/lifecycle",
        "wit",
    ],
    world: "shop:common-module/module",
    generate_all,
    generate_unused_types: true,
});
