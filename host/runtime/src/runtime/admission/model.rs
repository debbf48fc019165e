//! A `loom` model of admission permits: it runs every interleaving of threads over the source of `permits.rs`, with primitives that loom
//! schedules.

use loom::thread;

/// Replaces the primitives that the runtime supplies.
mod primitives {
    pub(super) use loom::sync::atomic::AtomicUsize;
    pub(super) use loom::sync::atomic::Ordering::{AcqRel, Acquire};
    pub(super) use loom::sync::{Mutex, MutexGuard};

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("nobody panics while holding it")
    }

    /// A semaphore at which nobody waits: it only gives a free permit or none.
    pub(super) struct Permits(Mutex<usize>);

    pub(super) struct Permit<'a>(Option<&'a Permits>);

    impl Permits {
        pub(super) fn new(permits: usize) -> Self {
            Self(Mutex::new(permits))
        }

        pub(super) fn available_permits(&self) -> usize {
            *lock(&self.0)
        }

        pub(super) fn add_permits(&self, permits: usize) {
            *lock(&self.0) += permits;
        }

        pub(super) fn forget_permits(&self, permits: usize) -> usize {
            let mut available = lock(&self.0);
            let taken = permits.min(*available);
            *available -= taken;
            taken
        }

        pub(super) fn try_acquire(&self) -> Result<Permit<'_>, ()> {
            (self.forget_permits(1) == 1).then(|| Permit(Some(self))).ok_or(())
        }
    }

    impl Permit<'_> {
        pub(super) fn forget(mut self) {
            self.0 = None;
        }
    }

    impl Drop for Permit<'_> {
        fn drop(&mut self) {
            if let Some(permits) = self.0 {
                permits.add_permits(1);
            }
        }
    }
}

#[allow(dead_code, reason = "who waits for a permit isn't modelled")]
#[allow(clippy::duplicate_mod, reason = "the model runs the very source, on other primitives")]
#[path = "permits.rs"]
mod permits;

use permits::CallPermits;

/// Creates `places` permits with a static lifetime, so that threads can borrow them.
fn forever(places: usize) -> &'static CallPermits {
    Box::leak(Box::new(CallPermits::new(places)))
}

#[test]
fn nobody_comes_in_while_as_many_run_as_may() {
    loom::model(|| {
        let places = forever(2);
        assert!(places.try_take() && places.try_take());
        let leaving = thread::spawn(move || places.give_back());
        places.resize(1);
        // One call runs and one may run, whether or not the leaving call has finished.
        assert!(!places.try_take());
        leaving.join().expect("it ends");
        assert!(!places.try_take());
        assert_eq!((places.taken(), places.wanted()), (1, 1));
        places.give_back();
        // No permit was lost.
        assert!(places.try_take() && !places.try_take());
    });
}

#[test]
fn no_place_is_lost_or_made_where_two_come_and_go_while_limits_change() {
    loom::model(|| {
        let places = forever(2);
        assert!(places.try_take());
        let leaving = thread::spawn(move || places.give_back());
        let visiting = thread::spawn(move || {
            if places.try_take() {
                places.give_back();
            }
        });
        places.resize(1);
        places.resize(2);
        leaving.join().expect("it ends");
        visiting.join().expect("it ends");
        assert_eq!(places.taken(), 0);
        assert_eq!((0..3).filter(|_| places.try_take()).count(), 2);
    });
}
