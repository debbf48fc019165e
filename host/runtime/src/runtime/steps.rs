//! Functions whose calls compute for long in one piece.
//!
//! A guest gives way at each tick of the epoch. What is done for it in one piece can't: copying a list of a million values out of it,
//! filling its memory. On a worker of the runtime that would hold up every request whose turn is there. So a function that was seen to
//! do that has its further calls step aside: the worker's other work goes on on another thread meanwhile. That costs some microseconds,
//! which a short call isn't worth. Nor is it worth it for the first calls of each function, of which nothing is known: some twenty more
//! threads come of that where builds are swapped all the time, and 20 MB with them.

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

/// A step that takes longer is long: what a guest that computes takes until it gives way, and as much again.
const LONG: Duration = EPOCH_TICK.saturating_mul(2);
/// A step that takes this long on the wall's clock needs no proof: few threads are kept waiting for that long.
const SURELY_LONG: Duration = EPOCH_TICK.saturating_mul(10);
/// For how many steps a function is measured exactly after one that seemed long on the wall's clock, which also counts what others computed.
const WATCHED: u32 = 256;
/// For how many steps it stays aside after one that was long.
const ASIDE: u32 = 4096;

/// How many steps are aside at once, in the process: threads that compute beside the workers take their time from them.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(turns())));

fn turns() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

thread_local! {
    /// Whether the step that this thread makes is aside already, so that those inside it need no turn of their own.
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// What is known of one function's steps: for how many more they are watched, and above [`WATCHED`], made aside.
#[derive(Debug, Default)]
pub(super) struct Steps(AtomicU32);

/// A call's place among those that are aside.
pub(super) struct Turn {
    may_wait: bool,
    /// There while it waits for one, and while it has one.
    place: Option<PollSemaphore>,
}

impl Turn {
    /// `may_wait` says whether the call's steps are polled by nobody's but its task: those within another call's step, which itself may
    /// have to wait, must not. They could be given the turn while the other one's wait keeps them from being polled, and nobody would
    /// have it then.
    pub(super) fn new(may_wait: bool) -> Self {
        Self { may_wait, place: None }
    }
}

impl Steps {
    /// Whether they are to be measured exactly.
    pub(super) fn are_watched(&self) -> bool {
        self.0.load(Relaxed) > 0
    }

    fn are_aside(&self) -> bool {
        self.0.load(Relaxed) > WATCHED
    }

    /// Learns from a step. Returns whether it was long.
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
        // Steps of other calls may get lost between: they only count down.
        self.0.store(next, Relaxed);
        is_long && next > WATCHED
    }

    /// Makes a step of a call that may wait for its turn.
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
        // It may have waited for a turn before other calls changed what is known.
        turn.place = None;
        Poll::Ready(self.make(|| step(context)))
    }

    /// Makes a step that can't wait, aside where there is a turn at once.
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

/// Whether this thread has work of others that could go on elsewhere.
fn can_step_aside() -> bool {
    let has_workers = |runtime: Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    !IS_ASIDE.get() && Handle::try_current().is_ok_and(has_workers)
}

fn aside<T>(step: impl FnOnce() -> T) -> T {
    /// Aside while it lives, however the step ends.
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
        // The wall's clock counts what others computed.
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
        // Nor does it need proof where it is very long.
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
            // It is given its turn, and meanwhile all others of the function were short.
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
                // On the one worker there is: nobody could say anything, if it were held up.
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
