//! Runs blocking code as a future, on a stack of its own.
//!
//! The modules' rules are blocking code over an asynchronous database. A native team would have written them `async`; this gives the
//! baseline the same speed without writing them twice: no thread changes hands, a wait suspends the stack, and stacks are used again.
//! Handing each request to a thread that may block would make the baseline slower, and our ratio better than it is.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use send_wrapper::SendWrapper;

/// Bytes of one stack.
const STACK: usize = 256 << 10;

thread_local! {
    /// Stacks that nobody uses. As many as requests were in flight at once.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// What blocking code waits by.
pub(super) struct Fiber<'y> {
    yielder: &'y Yielder<Waker, ()>,
    waker: RefCell<Waker>,
}

impl Fiber<'_> {
    /// Waits for a future: suspends the stack as long as it isn't ready.
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

/// Runs `work` on a stack of its own. The future must stay on the thread that polled it first, and axum's runtime here has one only.
pub(super) fn run<T: 'static>(work: impl FnOnce(&Fiber<'_>) -> T + 'static) -> impl Future<Output = T> + Send {
    // Wrapped where it is first polled, which is where it then stays.
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
