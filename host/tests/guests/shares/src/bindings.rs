//! The module's worlds, as generated from WIT. Nothing here is written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

use crate::Component;

wit_bindgen::generate!({
    path: ["../../../../wit/sql", "../../../../wit/request", "wit"],
    world: "test:shares/module",
    generate_all,
});

wasip3::http::service::export!(Component);
