//! Counts the ends of relayed streams and futures that are in a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// The greatest number of ends of relayed streams and futures that one store holds at once.
pub const MAX_ENDS: usize = 128;

/// The error that a store would hold more than [`MAX_ENDS`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_ENDS} streams and futures would be open between this call and other compartments")]
pub struct TooManyEnds;

/// The error that texts and byte lists which nobody has read yet would take more than a store's `limits.transfer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unread items of streams and futures would take more than {limit} bytes")]
pub struct TooMuchHeld {
    /// The greatest size of such items together, in bytes.
    pub limit: usize,
}

/// The role of a value in the call that carries it between two compartments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The value is a parameter, or part of one.
    Parameter,
    /// The value is the result, or part of it.
    Result,
}

/// The number of ends of relayed streams and futures in one store. Clones count the same store.
#[derive(Debug, Clone, Default)]
pub struct Ends(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicUsize,
    /// The ends that write what the store's own call has returned.
    results: AtomicUsize,
    /// The bytes of long items that have left the store and that nobody has read yet.
    held: AtomicUsize,
    /// Whether the store is lost before its call has ended.
    is_cut: AtomicBool,
    task: AtomicWaker,
}

impl Ends {
    /// Returns how many ends the store holds.
    pub fn open(&self) -> usize {
        self.0.all.load(SeqCst)
    }

    /// Records that the store is about to be dropped before its call has ended, so that readers of its streams learn that they have not got
    /// everything.
    pub fn cut(&self) {
        self.0.is_cut.store(true, SeqCst);
    }

    /// Resolves when the store holds no end of a stream or future that its own call has returned. Only the task that polled last is woken.
    pub fn poll_returned(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_none(&self.0.results, context)
    }

    /// Resolves when the store holds no end at all. Only the task that polled last is woken.
    pub fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_none(&self.0.all, context)
    }

    fn poll_none(&self, count: &AtomicUsize, context: &mut Context<'_>) -> Poll<()> {
        self.0.task.register(context.waker());
        if count.load(SeqCst) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Counts one more end until the returned guard is dropped. `is_result` says whether it belongs to what the store's own call returns.
    ///
    /// # Errors
    ///
    /// Returns [`TooManyEnds`] if the store holds [`MAX_ENDS`] already.
    pub(crate) fn enter(&self, is_result: bool) -> Result<EndGuard, TooManyEnds> {
        let guard = EndGuard { ends: self.clone(), is_result };
        if is_result {
            self.0.results.fetch_add(1, SeqCst);
        }
        if self.0.all.fetch_add(1, SeqCst) < MAX_ENDS { Ok(guard) } else { Err(TooManyEnds) }
    }
}

impl EndGuard {
    /// Returns whether the store is lost before its call has ended.
    pub(crate) fn is_cut(&self) -> bool {
        self.ends.0.is_cut.load(SeqCst)
    }

    /// Counts `bytes` of items that leave the store until the returned guard is dropped. `limit` bounds all of them together.
    ///
    /// # Errors
    ///
    /// Returns [`TooMuchHeld`] if they would exceed the limit.
    pub(crate) fn hold(&self, bytes: usize, limit: usize) -> Result<HeldBytes, TooMuchHeld> {
        let held = HeldBytes { ends: self.ends.clone(), bytes };
        let before = self.ends.0.held.fetch_add(bytes, SeqCst);
        if before.saturating_add(bytes) <= limit { Ok(held) } else { Err(TooMuchHeld { limit }) }
    }
}

/// Counts bytes of items that nobody has read yet, for as long as the guard lives.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    ends: Ends,
    bytes: usize,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.ends.0.held.fetch_sub(self.bytes, SeqCst);
    }
}

/// Counts an end for as long as the guard lives.
#[derive(Debug)]
pub(crate) struct EndGuard {
    ends: Ends,
    is_result: bool,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let Counts { all, results, task, .. } = &*self.ends.0;
        let is_last_result = self.is_result && results.fetch_sub(1, SeqCst) == 1;
        if all.fetch_sub(1, SeqCst) == 1 || is_last_result {
            task.wake();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_and_bounded() {
        let ends = Ends::default();
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut guards: Vec<EndGuard> = (0..MAX_ENDS).map(|_| ends.enter(false).unwrap()).collect();
        assert_eq!(ends.enter(false).unwrap_err(), TooManyEnds);
        assert_eq!((ends.open(), ends.poll_returned(&mut context)), (MAX_ENDS, Poll::Ready(())));
        guards.pop();
        let result = ends.enter(true).unwrap();
        assert_eq!(ends.poll_returned(&mut context), Poll::Pending);
        assert_eq!(ends.enter(true).unwrap_err(), TooManyEnds);
        drop(result);
        assert_eq!((ends.open(), ends.poll_returned(&mut context)), (MAX_ENDS - 1, Poll::Ready(())));
        assert_eq!(ends.poll_closed(&mut context), Poll::Pending);
        let held = guards[0].hold(6, 10).unwrap();
        assert_eq!(guards[1].hold(5, 10).unwrap_err(), TooMuchHeld { limit: 10 });
        drop((guards[1].hold(4, 10).unwrap(), held));
        guards[1].hold(10, 10).unwrap();
        guards.clear();
        assert_eq!(ends.poll_closed(&mut context), Poll::Ready(()));
    }
}
