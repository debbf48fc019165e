//! The module's worlds, as generated from WIT. Nothing here is written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

use crate::Component;

wit_bindgen::generate!({
    path: [
        "../../../../wit/sql",
        "../../../../wit/request",
        "../../../../wit/logging",
        "../../../../wit/clocks",
        "../../../../wit/lifecycle",
        "../probe/wit",
        "wit",
    ],
    world: "test:serves/module",
    generate_all,
});

export!(Component);
wasip2::http::proxy::export!(Component);
