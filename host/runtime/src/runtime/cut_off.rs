//! Work that ends when its generation is cut off.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

pin_project! {
    /// Work for a request. It gives `None` if the generation of the request is cut off first.
    // An async function would hold the work twice: as its argument, and while it waits for it.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct UntilCutOff<'a, F> {
        #[pin]
        work: F,
        #[pin]
        end: Option<WaitForCancellationFuture<'a>>,
        has_ended: &'a AtomicBool,
        cut_off: &'a CancellationToken,
    }
}

impl<'a, F> UntilCutOff<'a, F> {
    pub(super) fn new(work: F, has_ended: &'a AtomicBool, cut_off: &'a CancellationToken) -> Self {
        Self { work, end: None, has_ended, cut_off }
    }
}

impl<F: Future> Future for UntilCutOff<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Checked before the work is polled: nothing may be done on a generation that has been cut off.
        if this.has_ended.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Some(done));
        }
        // Listen to the end only if the work has to wait.
        if this.end.is_none() {
            this.end.set(Some(this.cut_off.cancelled()));
        }
        let end = this.end.as_pin_mut().expect("it was just set");
        end.poll(context).map(|()| None)
    }
}
