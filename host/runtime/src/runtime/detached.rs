//! Work that goes on when its caller goes away.
//!
//! Only its deadline ends a call, never its client: half of a business operation is worse than an answer that no one reads. Every path
//! from a client to business code goes through [`detached`].

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;

use watertight_telemetry::Telemetry;

/// Runs `work` to its end. If the returned future is dropped before that, the work becomes a Tokio task of its own and goes on.
///
/// This is cheaper than one task for each piece of work, because only abandoned work becomes a task.
pub fn detached<F>(work: F) -> Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Detached { work: Some(Box::pin(work)), telemetry: None }
}

/// A future that runs its work to the end even if the future is dropped.
pub struct Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// The work. It is `None` after it has ended, by a result or by a panic.
    work: Option<Pin<Box<F>>>,
    /// Where panics of the work are counted after it has become a task.
    telemetry: Option<Arc<Telemetry>>,
}

impl<F> Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Counts a panic of the work as one of a request to the data listener, if the work has become a task of its own. Before that, a panic goes
    /// through the caller, which counts it.
    #[must_use]
    pub fn counting_panics(mut self, telemetry: Arc<Telemetry>) -> Self {
        self.telemetry = Some(telemetry);
        self
    }
}

impl<F> Future for Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out during the poll: work that panics has ended and must not become a task that polls it again.
        let mut work = self.work.take().expect("a future is not polled after its end");
        let done = work.as_mut().poll(context);
        if done.is_pending() {
            self.work = Some(work);
        }
        done
    }
}

impl<F> Drop for Detached<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), tokio::runtime::Handle::try_current()) {
            let telemetry = self.telemetry.take();
            runtime.spawn(async move {
                // The panic hook has logged the panic.
                if AssertUnwindSafe(work).catch_unwind().await.is_err()
                    && let Some(telemetry) = telemetry
                {
                    telemetry.count_panic("data");
                }
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_that_is_left_goes_on() {
        let (go, wait) = oneshot::channel();
        let (say, hear) = oneshot::channel();
        let work = detached(async move {
            let number: u32 = wait.await.unwrap();
            say.send(number + 1).unwrap();
        });
        // The work is polled once, and then its future is dropped.
        assert!(tokio::time::timeout(Duration::ZERO, work).await.is_err());
        go.send(1).unwrap();
        assert_eq!(hear.await, Ok(2));
    }

    #[tokio::test]
    async fn work_that_panicked_is_never_polled_again() {
        let polls = Arc::new(AtomicUsize::new(0));
        let seen = polls.clone();
        let work = detached(futures::future::poll_fn(move |_| -> Poll<()> {
            seen.fetch_add(1, Relaxed);
            panic!("the work fails");
        }));
        let caught = std::panic::AssertUnwindSafe(work).catch_unwind().await;
        assert!(caught.is_err());
        // If the drop spawned a task, it runs now.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(polls.load(Relaxed), 1);
    }
}
