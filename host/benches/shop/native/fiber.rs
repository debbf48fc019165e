//! Runs blocking code as a future on a stack of its own.
//!
//! The modules' business rules are blocking code, and the database is asynchronous. A native team would have written the rules `async`.
//! This module makes the native server as fast as `async` rules would, without a second version of the rules: no thread switches, a wait
//! suspends the stack, and stacks are reused. Passing each request to a blocking thread would make the native server slower, and the host
//! would look better than it is.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use send_wrapper::SendWrapper;

/// The size of the stack of one request, in bytes.
const STACK: usize = 256 << 10;

thread_local! {
    /// Unused stacks: as many as requests were in flight at once.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// The handle with which blocking code on its own stack waits for futures.
pub(super) struct Fiber<'y> {
    yielder: &'y Yielder<Waker, ()>,
    waker: RefCell<Waker>,
}

impl Fiber<'_> {
    /// Waits for a future. Suspends the stack until the future is ready.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        loop {
            let polled = future.as_mut().poll(&mut Context::from_waker(&self.waker.borrow()));
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => drop(self.waker.replace(self.yielder.suspend(()))),
            }
        }
    }
}

/// Runs `work` on a stack of its own. The future must stay on the thread that first polls it; axum's runtime has only one thread
/// here.
pub(super) fn run<T: 'static>(work: impl FnOnce(&Fiber<'_>) -> T + 'static) -> impl Future<Output = T> + Send {
    // The value is wrapped on the thread that first polls it, and stays there.
    let mut work = Some(SendWrapper::new(work));
    let mut running = None;
    std::future::poll_fn(move |context| {
        let running = running.get_or_insert_with(|| {
            let work = work.take().expect("a future begins once").take();
            SendWrapper::new(Running::start(work))
        });
        Pin::new(&mut **running).poll(context)
    })
}

struct Running<T: 'static>(Option<Coroutine<Waker, (), T>>);

impl<T: 'static> Running<T> {
    fn start(work: impl FnOnce(&Fiber<'_>) -> T + 'static) -> Self {
        let idle = STACKS.with_borrow_mut(Vec::pop);
        let stack = idle.unwrap_or_else(|| DefaultStack::new(STACK).expect("there is memory for a stack"));
        Self(Some(Coroutine::with_stack(stack, |yielder, waker| work(&Fiber { yielder, waker: RefCell::new(waker) }))))
    }
}

impl<T: 'static> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let coroutine = self.0.as_mut().expect("a future is not polled after its end");
        match coroutine.resume(context.waker().clone()) {
            CoroutineResult::Yield(()) => Poll::Pending,
            CoroutineResult::Return(output) => {
                let stack = self.0.take().map(Coroutine::into_stack);
                STACKS.with_borrow_mut(|stacks| stacks.extend(stack));
                Poll::Ready(output)
            }
        }
    }
}
