//! The module's world, as generated from WIT. Nothing here is written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

use crate::Component;

wit_bindgen::generate!({
    path: ["../../../../wit/request", "wit"],
    world: "test:knows/module",
    generate_all,
});

export!(Component);
