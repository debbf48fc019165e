//! The bindings of the module's WIT world, generated from WIT. This file has no code written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

use crate::Component;

wit_bindgen::generate!({
    path: ["../wit/rates", "../wit/prices", "wit"],
    world: "acme:prices-module/module",
    generate_all,
});

export!(Component);
