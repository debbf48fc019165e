//! A test module that passes streams on between two others, without reading them.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::hands::hands::Guest;
use bindings::test::feeds::feeds;
use wit_bindgen::StreamReader;

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    async fn bytes(count: u64) -> StreamReader<u8> {
        feeds::bytes(count).await
    }

    async fn total(input: StreamReader<u8>) -> u64 {
        feeds::total(input).await
    }

    async fn through(input: StreamReader<u8>) -> StreamReader<u8> {
        feeds::through(input).await
    }
}
