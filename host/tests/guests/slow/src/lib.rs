//! A test module whose functions are asynchronous.
#![cfg(target_arch = "wasm32")]

mod bindings;

use std::sync::atomic::{AtomicU32, Ordering};

use bindings::exports::test::slow::slow::Guest;
use bindings::wit_stream;
use wit_bindgen::{StreamReader, spawn_local, yield_async};

/// The type that implements the component's exports.
pub(crate) struct Component;

/// The number of calls of `meet` so far. Each such call waits until there are enough of them.
static WAITING: AtomicU32 = AtomicU32::new(0);
/// The number of tasks that went on running after the call that started them had returned.
static LINGERED: AtomicU32 = AtomicU32::new(0);

impl Guest for Component {
    async fn meet(together: u32) -> u32 {
        WAITING.fetch_add(1, Ordering::Relaxed);
        loop {
            let waiting = WAITING.load(Ordering::Relaxed);
            if waiting >= together {
                return waiting;
            }
            yield_async().await;
        }
    }

    async fn count(to: u32) -> StreamReader<u32> {
        let (mut writer, reader) = wit_stream::new();
        spawn_local(async move {
            for number in 1..=to {
                writer.write_all(vec![number]).await;
            }
        });
        reader
    }

    async fn linger(forever: bool) -> u32 {
        spawn_local(async move {
            yield_async().await;
            LINGERED.fetch_add(1, Ordering::Relaxed);
            while forever {
                yield_async().await;
            }
        });
        LINGERED.load(Ordering::Relaxed)
    }

    async fn trap() {
        yield_async().await;
        panic!("as it was told");
    }

    fn double(number: u32) -> u32 {
        number * 2
    }
}
