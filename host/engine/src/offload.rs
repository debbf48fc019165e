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

use crate::EPOCH_TICK;

/// The time from which a step counts as long: twice the time after which a computing guest yields.
const LONG: Duration = EPOCH_TICK.saturating_mul(2);
/// The wall-clock time from which a step counts as long without an exact measurement. A thread rarely waits that long for a core.
const SURELY_LONG: Duration = EPOCH_TICK.saturating_mul(10);
/// The number of steps that are measured exactly after a step seemed long by the wall clock, which includes the time of other threads.
const MEASURED_POLLS: u32 = 256;
/// The number of steps that are offloaded after a long step.
const OFFLOADED_POLLS: u32 = 4096;

/// Permits for offloaded steps, for the whole process. They are few because offloaded steps compete with the workers for cores.
static OFFLOAD_PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(offload_limit())));

fn offload_limit() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

thread_local! {
    /// Whether this thread runs an offloaded step. Steps inside that one need no permit.
    static IS_OFFLOADED: Cell<bool> = const { Cell::new(false) };
}

/// The measurement of one poll of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollTime {
    /// The time that the poll took.
    pub time: Duration,
    /// Whether `time` is processor time. Otherwise it is wall-clock time.
    pub is_exact: bool,
}

/// The history of one function's steps (polls), as a number that counts down with each step: above `MEASURED_POLLS` steps are offloaded,
/// above zero they are measured.
#[derive(Debug, Default)]
pub struct OffloadHistory(AtomicU32);

/// A call's place in the queue for a permit to offload its steps to another thread, and the permit once it has one.
pub struct OffloadClaim {
    may_wait: bool,
    /// The permit for offloading that the call waits for or holds. `None` before it waits for one, and once it needs none.
    permit: Option<PollSemaphore>,
}

impl OffloadClaim {
    /// Creates the claim of a call that waits for no permit yet. `may_wait` tells whether the call may wait for one.
    ///
    /// A nested call must not wait. Its caller's step polls it, and that step may itself wait for a permit. The nested call could then be
    /// given a permit while nothing polls it, and the permit would stay unused.
    pub fn new(may_wait: bool) -> Self {
        Self { may_wait, permit: None }
    }
}

impl OffloadHistory {
    /// Returns whether the function's next steps are to be measured with the thread's processor time.
    pub fn needs_exact_time(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    fn is_offloading(&self) -> bool {
        self.0.load(Relaxed) > MEASURED_POLLS
    }

    /// Updates the history with a finished step. Returns whether the step was long.
    pub fn record(&self, step: PollTime) -> bool {
        let left = self.0.load(Relaxed);
        let is_long = step.time >= LONG;
        let next = match (is_long, step.is_exact) {
            (true, true) => MEASURED_POLLS + OFFLOADED_POLLS,
            (true, false) if step.time >= SURELY_LONG => left.max(2 * MEASURED_POLLS),
            (true, false) => left.max(MEASURED_POLLS),
            (false, _) if left == 0 => return false,
            (false, _) => left - 1,
        };
        // Updates of concurrent calls may be lost. That is harmless: they only count down.
        self.0.store(next, Relaxed);
        is_long && next > MEASURED_POLLS
    }

    /// Runs one step of a call: a poll. If the step is to be offloaded, returns `Pending` until a permit is free.
    pub fn poll<T>(
        &self,
        turn: &mut OffloadClaim,
        context: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> T,
    ) -> Poll<T> {
        if turn.may_wait && self.is_offloading() && can_offload() {
            let place = turn.permit.get_or_insert_with(|| PollSemaphore::new(OFFLOAD_PERMITS.clone()));
            let _permit = ready!(place.poll_acquire(context)).expect("the semaphore is never closed");
            return Poll::Ready(block_in_place_once(|| step(context)));
        }
        // Drop a claim that is no longer needed: other calls may have changed the history while this one waited.
        turn.permit = None;
        Poll::Ready(self.run_now(|| step(context)))
    }

    /// Runs a step that cannot wait for a permit. It is offloaded if a permit is free now.
    pub fn run_now<T>(&self, step: impl FnOnce() -> T) -> T {
        if !self.is_offloading() || !can_offload() {
            return step();
        }
        match OFFLOAD_PERMITS.try_acquire() {
            Ok(_permit) => block_in_place_once(step),
            Err(_) => step(),
        }
    }
}

/// Returns whether a step on this thread can be offloaded: the runtime has several workers, and no offloaded step surrounds this one.
fn can_offload() -> bool {
    let has_workers = |runtime: Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    !IS_OFFLOADED.get() && Handle::try_current().is_ok_and(has_workers)
}

fn block_in_place_once<T>(step: impl FnOnce() -> T) -> T {
    /// A guard that resets [`IS_OFFLOADED`] when it is dropped, so also after a panic.
    struct Aside;
    impl Drop for Aside {
        fn drop(&mut self) {
            IS_OFFLOADED.set(false);
        }
    }
    block_in_place(|| {
        IS_OFFLOADED.set(true);
        let _aside = Aside;
        step()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(millis: u64, is_exact: bool) -> PollTime {
        PollTime { time: Duration::from_millis(millis), is_exact }
    }

    #[test]
    fn what_seems_long_is_watched_and_what_is_long_steps_aside_for_a_while() {
        let steps = OffloadHistory::default();
        assert!(!steps.record(step(1, false)) && !steps.needs_exact_time());
        // A wall clock includes the time of other threads, so this step is not counted as long yet.
        assert!(!steps.record(step(20, false)) && steps.needs_exact_time() && !steps.is_offloading());
        for _ in 0..MEASURED_POLLS {
            assert!(steps.needs_exact_time());
            steps.record(step(1, true));
        }
        assert!(!steps.needs_exact_time());
        steps.record(step(20, false));
        assert!(steps.record(step(20, true)) && steps.is_offloading());
        for _ in 0..OFFLOADED_POLLS {
            assert!(steps.is_offloading());
            steps.record(step(1, true));
        }
        assert!(!steps.is_offloading() && steps.needs_exact_time());
        // A very long step needs no exact measurement.
        assert!(OffloadHistory::default().record(step(100, false)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn no_turn_is_lost_to_who_no_longer_needs_it_or_is_within_another_step() {
        let poll = |steps: &OffloadHistory, turn: &mut OffloadClaim| {
            steps.poll(turn, &mut Context::from_waker(std::task::Waker::noop()), |_| ())
        };
        let all = u32::try_from(offload_limit()).unwrap();
        let work = async move {
            let taken = OFFLOAD_PERMITS.acquire_many(all).await.unwrap();
            let (steps, mut turn) = (OffloadHistory::default(), OffloadClaim::new(true));
            steps.record(step(50, true));
            assert_eq!(poll(&steps, &mut turn), Poll::Pending);
            assert_eq!(poll(&steps, &mut OffloadClaim::new(false)), Poll::Ready(()));
            // The call is given its permit, but meanwhile all other calls of the function were short.
            drop(taken);
            steps.0.store(0, Relaxed);
            assert_eq!(poll(&steps, &mut turn), Poll::Ready(()));
            let again = tokio::time::timeout(Duration::from_secs(10), OFFLOAD_PERMITS.acquire_many(all)).await;
            drop((again.unwrap().unwrap(), turn));
        };
        tokio::spawn(work).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_a_step_is_aside() {
        let steps = OffloadHistory::default();
        steps.record(step(50, true));
        let (say, hear) = std::sync::mpsc::channel();
        let hear = std::sync::Mutex::new(hear);
        let work = async move {
            let waited = tokio::spawn(async move {
                let mut turn = OffloadClaim::new(true);
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
