//! Keeps functions with long computations from blocking the async runtime's worker threads.
//!
//! A guest yields at each tick of the epoch, but some work of the host for a guest cannot yield: copying a list of a million values out of
//! it, or filling its memory. On a worker thread such a step blocks every request that waits for that thread. A function that was seen to
//! make long steps therefore has its next steps offloaded: the worker's other tasks move to another thread for the time of the step.
//!
//! Offloading costs some microseconds, so short calls do without it. First calls of a function, of which nothing is known, do without it
//! too: otherwise a host whose builds are swapped all the time would have some twenty more threads and use 20 MB more.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;
use tokio_util::sync::PollSemaphore;

use crate::store::Step;
use watertight_engine::EPOCH_TICK;

/// The time from which a step counts as long: twice the time after which a computing guest yields.
const LONG: Duration = EPOCH_TICK.saturating_mul(2);
/// The wall-clock time from which a step counts as long without an exact measurement. A thread rarely waits that long for a core.
const SURELY_LONG: Duration = EPOCH_TICK.saturating_mul(10);
/// The number of steps that are measured exactly after a step seemed long by the wall clock, which includes the time of other threads.
const WATCHED: u32 = 256;
/// The number of steps that are offloaded after a long step.
const ASIDE: u32 = 4096;

/// Permits for offloaded steps, for the whole process. They are few because offloaded steps compete with the workers for cores.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(turns())));

fn turns() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

thread_local! {
    /// Whether this thread runs an offloaded step. Steps inside that one need no permit.
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// The history of one function's steps, as a number that counts down: above [`WATCHED`] steps are offloaded, above zero they are measured.
#[derive(Debug, Default)]
pub(super) struct Steps(AtomicU32);

/// A call's claim to a permit for offloading.
pub(super) struct Turn {
    may_wait: bool,
    /// The pending or acquired permit.
    place: Option<PollSemaphore>,
}

impl Turn {
    /// `may_wait` tells whether the call may wait for a permit.
    ///
    /// A nested call must not wait. Its caller's step polls it, and that step may itself wait for a permit. The nested call could then be
    /// given a permit while nothing polls it, and the permit would stay unused.
    pub(super) fn new(may_wait: bool) -> Self {
        Self { may_wait, place: None }
    }
}

impl Steps {
    /// Returns whether the steps are to be measured exactly.
    pub(super) fn are_watched(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    fn are_aside(&self) -> bool {
        self.0.load(Relaxed) > WATCHED
    }

    /// Updates the history with a finished step. Returns whether the step was long.
    pub(super) fn note(&self, step: Step) -> bool {
        let left = self.0.load(Relaxed);
        let is_long = step.time >= LONG;
        let next = match (is_long, step.is_exact) {
            (true, true) => WATCHED + ASIDE,
            (true, false) if step.time >= SURELY_LONG => left.max(2 * WATCHED),
            (true, false) => left.max(WATCHED),
            (false, _) if left == 0 => return false,
            (false, _) => left - 1,
        };
        // Updates of concurrent calls may be lost. That is harmless: they only count down.
        self.0.store(next, Relaxed);
        is_long && next > WATCHED
    }

    /// Makes one step of a call. If the step is to be offloaded, returns `Pending` until a permit is free.
    pub(super) fn poll<T>(
        &self,
        turn: &mut Turn,
        context: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> T,
    ) -> Poll<T> {
        if turn.may_wait && self.are_aside() && can_step_aside() {
            let place = turn.place.get_or_insert_with(|| PollSemaphore::new(TURNS.clone()));
            let _permit = ready!(place.poll_acquire(context)).expect("the semaphore is never closed");
            return Poll::Ready(aside(|| step(context)));
        }
        // Drop a claim that is no longer needed: other calls may have changed the history while this one waited.
        turn.place = None;
        Poll::Ready(self.make(|| step(context)))
    }

    /// Makes a step that cannot wait. It is offloaded if a permit is free now.
    pub(super) fn make<T>(&self, step: impl FnOnce() -> T) -> T {
        if !self.are_aside() || !can_step_aside() {
            return step();
        }
        match TURNS.try_acquire() {
            Ok(_permit) => aside(step),
            Err(_) => step(),
        }
    }
}

/// Returns whether a step on this thread can be offloaded: the runtime has several workers, and no offloaded step surrounds this one.
fn can_step_aside() -> bool {
    let has_workers = |runtime: Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    !IS_ASIDE.get() && Handle::try_current().is_ok_and(has_workers)
}

fn aside<T>(step: impl FnOnce() -> T) -> T {
    /// Resets [`IS_ASIDE`] when dropped, so also after a panic.
    struct Aside;
    impl Drop for Aside {
        fn drop(&mut self) {
            IS_ASIDE.set(false);
        }
    }
    block_in_place(|| {
        IS_ASIDE.set(true);
        let _aside = Aside;
        step()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(millis: u64, is_exact: bool) -> Step {
        Step { time: Duration::from_millis(millis), is_exact }
    }

    #[test]
    fn what_seems_long_is_watched_and_what_is_long_steps_aside_for_a_while() {
        let steps = Steps::default();
        assert!(!steps.note(step(1, false)) && !steps.are_watched());
        // A wall clock includes the time of other threads, so this step is not counted as long yet.
        assert!(!steps.note(step(20, false)) && steps.are_watched() && !steps.are_aside());
        for _ in 0..WATCHED {
            assert!(steps.are_watched());
            steps.note(step(1, true));
        }
        assert!(!steps.are_watched());
        steps.note(step(20, false));
        assert!(steps.note(step(20, true)) && steps.are_aside());
        for _ in 0..ASIDE {
            assert!(steps.are_aside());
            steps.note(step(1, true));
        }
        assert!(!steps.are_aside() && steps.are_watched());
        // A very long step needs no exact measurement.
        assert!(Steps::default().note(step(100, false)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn no_turn_is_lost_to_who_no_longer_needs_it_or_is_within_another_step() {
        let poll = |steps: &Steps, turn: &mut Turn| {
            steps.poll(turn, &mut Context::from_waker(std::task::Waker::noop()), |_| ())
        };
        let all = u32::try_from(turns()).unwrap();
        let work = async move {
            let taken = TURNS.acquire_many(all).await.unwrap();
            let (steps, mut turn) = (Steps::default(), Turn::new(true));
            steps.note(step(50, true));
            assert_eq!(poll(&steps, &mut turn), Poll::Pending);
            assert_eq!(poll(&steps, &mut Turn::new(false)), Poll::Ready(()));
            // The call is given its permit, but meanwhile all other calls of the function were short.
            drop(taken);
            steps.0.store(0, Relaxed);
            assert_eq!(poll(&steps, &mut turn), Poll::Ready(()));
            let again = tokio::time::timeout(Duration::from_secs(10), TURNS.acquire_many(all)).await;
            drop((again.unwrap().unwrap(), turn));
        };
        tokio::spawn(work).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_a_step_is_aside() {
        let steps = Steps::default();
        steps.note(step(50, true));
        let (say, hear) = std::sync::mpsc::channel();
        let hear = std::sync::Mutex::new(hear);
        let work = async move {
            let waited = tokio::spawn(async move {
                let mut turn = Turn::new(true);
                // The only worker thread waits here. Without offloading, no other task could send the message.
                let listen = |_: &mut Context<'_>| hear.lock().unwrap().recv_timeout(Duration::from_secs(10));
                std::future::poll_fn(|context| steps.poll(&mut turn, context, listen)).await
            });
            tokio::task::yield_now().await;
            say.send(7).unwrap();
            waited.await.unwrap()
        };
        assert_eq!(tokio::spawn(work).await.unwrap(), Ok(7));
    }
}
