//! The module's world, as generated from WIT. Nothing here is written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

use crate::Component;

wit_bindgen::generate!({
    path: ["../../../../wit/request", "../knows/wit", "wit"],
    world: "test:hears/module",
    generate_all,
});

export!(Component);
