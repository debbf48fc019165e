//! The bindings of the module's WIT world, generated from `wit/`. This file has no code written by hand.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

use crate::component::Component;

wit_bindgen::generate!({
    path: [
        "../../wit/common",
        "../../wit/sql",
        "../../wit/logging",
        "../../wit/clocks",
        "../../wit/products",
        "wit",
    ],
    world: "shop:products-module/module",
    with: {
        "shop:common/types@1.0.0": shop_common::bindings::shop::common::types,
        "watertight:sql/sql@1.0.0": shop_common::bindings::watertight::sql::sql,
        "wasi:logging/logging@0.1.0-draft": shop_common::bindings::wasi::logging::logging,
        "wasi:clocks/wall-clock@0.2.6": shop_common::bindings::wasi::clocks::wall_clock,
    },
});

export!(Component);
