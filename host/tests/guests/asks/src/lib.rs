//! A test module that calls asynchronous functions of another module, several at once.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::asks::asks::Guest;
use bindings::test::probe::acts;
use bindings::test::slow::slow;
use futures::future::join;

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    async fn both() -> (u32, u32) {
        join(slow::meet(2), slow::meet(2)).await
    }

    async fn sum(to: u32) -> u32 {
        slow::count(to).await.collect().await.into_iter().sum()
    }

    fn double(number: u32) -> u32 {
        slow::double(number)
    }

    async fn wait() {
        slow::meet(u32::MAX).await;
    }

    async fn trap() {
        slow::trap().await;
    }

    async fn counted() -> Vec<u32> {
        let first = acts::count();
        let meets_and_counts = async {
            slow::meet(2).await;
            acts::count()
        };
        let (second, _) = join(meets_and_counts, slow::meet(2)).await;
        vec![first, second, acts::count()]
    }

    async fn trap_far() {
        slow::meet(1).await;
        acts::trap();
    }
}
