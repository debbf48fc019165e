//! The callee in the benchmark `call`. It does almost nothing.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! Bindings, generated from `../wit`.
    #![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

    use super::Component;

    wit_bindgen::generate!({ path: "../wit", world: "bench:work/callee" });
    export!(Component);
}

use bindings::exports::bench::work::work::{Guest, Item};

struct Component;

impl Guest for Component {
    fn add(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    fn update(item: Item) -> Result<Item, String> {
        Ok(Item { quantity: item.quantity.wrapping_add(1), ..item })
    }

    fn total(items: Vec<Item>) -> i64 {
        items.iter().map(|item| item.price * i64::from(item.quantity)).sum()
    }
}
