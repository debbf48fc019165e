//! Admission: bounds how many calls of one module run at once and how many wait, over all generations that have the module.
//!
//! Each module has permits of its own, so a module with many calls does not block the other modules of its compartment. Generations share
//! the permits, so a swap neither doubles their number nor resets the queue.

mod permits;

#[cfg(test)]
mod model;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use serde::Serialize;

use permits::CallPermits;
use watertight_model::config::Limits;
use watertight_model::ids::ModuleName;

/// The synchronization primitives of [`CallPermits`]. The model in `model.rs` supplies others.
mod primitives {
    pub(super) use std::sync::atomic::AtomicUsize;
    pub(super) use std::sync::atomic::Ordering::{AcqRel, Acquire};
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};

    pub(super) use tokio::sync::{Semaphore as Permits, SemaphorePermit as Permit};

    /// Locks a mutex. A poisoned one is used all the same: every panic leaves the number in it consistent.
    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The admissions of all modules of the host, by module name. An admission decides when a call of its module may run.
#[derive(Default)]
pub struct AdmissionTable(Mutex<BTreeMap<ModuleName, Weak<Admission>>>);

impl AdmissionTable {
    /// Returns the admission of a module. All living generations share one; if there is none, it is created with `limits`, the limits of
    /// the module's compartment.
    pub(super) fn of(&self, module: &ModuleName, limits: &Limits) -> Arc<Admission> {
        // A poisoned mutex is used all the same: inserting and removing keep the map consistent.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(admission) = all.get(module).and_then(Weak::upgrade) {
            return admission;
        }
        all.retain(|_, admission| admission.strong_count() > 0);
        let admission = Arc::new(Admission::new(limits));
        all.insert(module.clone(), Arc::downgrade(&admission));
        admission
    }
}

/// The calls of a module at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallStats {
    /// The number of calls that run.
    pub running: usize,
    /// The number of calls that wait for a permit.
    pub waiting: usize,
    /// The number of calls that may run at once.
    pub limit: usize,
}

/// Admits at most a given number of a module's calls at once, and queues at most a given number of others.
pub(super) struct Admission {
    permits: CallPermits,
    waiting: AtomicUsize,
    queue: AtomicUsize,
}

/// The reason why a call was not admitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AdmissionError {
    /// The queue is full.
    QueueFull,
    /// The call's deadline passed while it waited.
    Deadline,
}

impl Admission {
    fn new(limits: &Limits) -> Self {
        let permits = CallPermits::new(limits.calls as usize);
        Self { permits, waiting: AtomicUsize::new(0), queue: AtomicUsize::new(limits.queue as usize) }
    }

    /// Returns how many calls may wait at most.
    pub(super) fn queue(&self) -> usize {
        self.queue.load(Relaxed)
    }

    /// Applies the limits of another generation from now on. Calls that run or wait are not turned away.
    pub(super) fn resize(&self, limits: &Limits) {
        self.queue.store(limits.queue as usize, Relaxed);
        self.permits.resize(limits.calls as usize);
    }

    /// Returns how many calls run, how many wait for a permit, and how many may run at once.
    pub(super) fn stats(&self) -> CallStats {
        let (running, limit) = (self.permits.taken(), self.permits.wanted());
        CallStats { running, waiting: self.waiting.load(Relaxed), limit }
    }

    /// Takes a permit for a call. Waits for one until `deadline`.
    pub(super) async fn admit(self: &Arc<Self>, deadline: Instant) -> Result<CallPermit, AdmissionError> {
        if !self.permits.try_take() {
            // Boxed because waiting is rare: inline it would enlarge the future of every call.
            Box::pin(self.wait(deadline)).await?;
        }
        Ok(CallPermit(self.clone()))
    }

    async fn wait(&self, deadline: Instant) -> Result<(), AdmissionError> {
        let _waiting = Waiting::enter(self).ok_or(AdmissionError::QueueFull)?;
        loop {
            match tokio::time::timeout_at(deadline.into(), self.permits.permits().acquire()).await {
                Ok(permit) => {
                    if self.permits.occupy(permit.expect("the semaphore is never closed")) {
                        return Ok(());
                    }
                }
                Err(_) => return Err(AdmissionError::Deadline),
            }
        }
    }
}

/// The permit to run one call. It is given back when dropped.
pub(super) struct CallPermit(Arc<Admission>);

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.0.permits.give_back();
    }
}

/// Counts a waiting call for as long as this guard lives, so a caller that goes away is no longer counted.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(admission: &'a Admission) -> Option<Self> {
        let entered = Self(&admission.waiting);
        (entered.0.fetch_add(1, Relaxed) < admission.queue.load(Relaxed)).then_some(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn limits(calls: u32, queue: u32) -> Limits {
        Limits { calls, queue, ..Limits::default() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_late_caller_leaves_it() {
        let admission = Arc::new(Admission::new(&limits(1, 1)));
        let place = admission.admit(soon()).await.unwrap();
        let (late, full) = tokio::join!(admission.admit(soon()), admission.admit(soon()));
        assert_eq!((late.err(), full.err()), (Some(AdmissionError::Deadline), Some(AdmissionError::QueueFull)));
        assert_eq!(admission.stats(), CallStats { running: 1, waiting: 0, limit: 1 });
        drop(place);
        assert!(admission.admit(soon()).await.is_ok());
    }

    #[tokio::test]
    async fn those_who_wait_come_in_where_there_are_more_places() {
        let admission = Arc::new(Admission::new(&limits(1, 1)));
        let _place = admission.admit(soon()).await.unwrap();
        let grow = async {
            tokio::task::yield_now().await;
            admission.resize(&limits(2, 0));
        };
        let (second, ()) = tokio::join!(admission.admit(Instant::now() + Duration::from_secs(10)), grow);
        assert!(second.is_ok());
        assert_eq!(admission.admit(soon()).await.err(), Some(AdmissionError::QueueFull));
    }

    #[test]
    fn a_module_has_one_admission_for_as_long_as_a_generation_has_the_module() {
        let (admissions, module) = (AdmissionTable::default(), "a".parse().unwrap());
        let first = admissions.of(&module, &limits(1, 0));
        assert!(Arc::ptr_eq(&first, &admissions.of(&module, &limits(9, 0))));
        drop(first);
        assert_eq!(admissions.of(&module, &limits(9, 0)).stats().limit, 9);
        admissions.of(&"b".parse().unwrap(), &limits(1, 0));
        assert_eq!(admissions.0.lock().unwrap().len(), 1, "an admission without owners was kept");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter,
        Leave(usize),
        Resize(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![Just(Step::Enter), any::<usize>().prop_map(Step::Leave), (1_u32..6).prop_map(Step::Resize)]
    }

    proptest! {
        /// For any sequence of limits, a call is admitted exactly while fewer calls run than the limit allows.
        #[test]
        fn as_many_run_as_may(steps in prop::collection::vec(step(), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let (admission, mut limit, mut inside) = (Arc::new(Admission::new(&limits(3, 0))), 3_usize, Vec::new());
                for step in steps {
                    match step {
                        Step::Enter => {
                            let place = admission.admit(soon()).await;
                            prop_assert_eq!(place.is_ok(), inside.len() < limit);
                            inside.extend(place);
                        }
                        Step::Leave(_) if inside.is_empty() => {}
                        Step::Leave(place) => drop(inside.swap_remove(place % inside.len())),
                        Step::Resize(calls) => {
                            admission.resize(&limits(calls, 0));
                            limit = calls as usize;
                        }
                    }
                    prop_assert_eq!(admission.stats(), CallStats { running: inside.len(), waiting: 0, limit });
                }
                Ok(())
            })?;
        }
    }
}
