//! The caller in the benchmark `call`: a loop around each function of the callee.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! Bindings, generated from `../wit`.
    #![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

    use super::Component;

    wit_bindgen::generate!({ path: "../wit", world: "bench:work/caller" });
    export!(Component);
}

use bindings::bench::work::work::{self, Item};
use bindings::exports::bench::work::drive::Guest;

/// The number of records in one list.
const RECORDS: u32 = 100;

struct Component;

fn item(number: u32) -> Item {
    Item {
        id: format!("01ARYZ6S41TSV4RRFFQ69G{number:04}"),
        name: "a pound of tea".to_owned(),
        quantity: number,
        price: 450,
    }
}

impl Guest for Component {
    fn scalar(times: u32) -> u64 {
        (0..times).fold(0, |sum, number| u64::from(work::add(sum as u32, number)))
    }

    fn record(times: u32) -> u64 {
        let mut item = item(0);
        for _ in 0..times {
            // The callee never fails. If it did, the sum would differ.
            let Ok(updated) = work::update(&item) else { return 0 };
            item = updated;
        }
        item.quantity.into()
    }

    fn list(times: u32) -> u64 {
        let items: Vec<Item> = (0..RECORDS).map(item).collect();
        (0..times).map(|_| work::total(&items).unsigned_abs()).sum()
    }
}
