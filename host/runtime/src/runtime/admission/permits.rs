//! A set of permits whose number can change while some are taken.
//!
//! Invariant: the semaphore's permits, taken and free, are the wanted number plus the surplus. To lower the number, `resize` first raises
//! the surplus and then removes free permits for it. A call that takes a permit while there is surplus gives the permit up, lowers the
//! surplus and tries again. So an admitted call never finds more calls running than may, even during a change.
//!
//! The parent module supplies the synchronization primitives, so that a model can replace them.

use super::primitives::{AcqRel, Acquire, AtomicUsize, Mutex, Permit, Permits, lock};

/// Permits to run a call, some of them taken. Their number can change.
pub(super) struct CallPermits {
    permits: Permits,
    /// The wanted number of permits.
    wanted: Mutex<usize>,
    /// The number of permits above the wanted number. They are removed as they become free.
    surplus: AtomicUsize,
}

impl CallPermits {
    pub(super) fn new(places: usize) -> Self {
        Self { permits: Permits::new(places), wanted: Mutex::new(places), surplus: AtomicUsize::new(0) }
    }

    /// Returns the semaphore at which calls wait for a permit. A permit from it must go through [`Self::occupy`].
    pub(super) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Returns the wanted number of permits.
    pub(super) fn wanted(&self) -> usize {
        *lock(&self.wanted)
    }

    /// Returns how many permits are taken.
    pub(super) fn taken(&self) -> usize {
        // The lock keeps the wanted number from changing during the calculation.
        let wanted = lock(&self.wanted);
        (*wanted + self.surplus.load(Acquire)).saturating_sub(self.permits.available_permits())
    }

    /// Changes the wanted number of permits to `places`. Calls keep the permits that they hold.
    pub(super) fn resize(&self, places: usize) {
        let mut wanted = lock(&self.wanted);
        let before = std::mem::replace(&mut *wanted, places);
        for _ in places..before {
            self.surplus.fetch_add(1, AcqRel);
        }
        for _ in places..before {
            if self.permits.forget_permits(1) == 0 {
                break;
            }
            // A call that ended meanwhile may have given up its permit for the surplus. Then this permit must stay.
            if !self.take_surplus() {
                self.permits.add_permits(1);
            }
        }
        for _ in before..places {
            if !self.take_surplus() {
                self.permits.add_permits(1);
            }
        }
    }

    /// Takes a permit if one is free. Returns whether it did.
    pub(super) fn try_take(&self) -> bool {
        loop {
            let Ok(permit) = self.permits.try_acquire() else { return false };
            if self.occupy(permit) {
                return true;
            }
        }
    }

    /// Takes a permit of the semaphore for a call. Returns `false` if the permit was surplus; it is removed then.
    pub(super) fn occupy(&self, permit: Permit<'_>) -> bool {
        // Whoever took it gives it back by `give_back`, so the semaphore need not be borrowed meanwhile.
        permit.forget();
        !self.take_surplus()
    }

    /// Gives back a permit that was taken.
    pub(super) fn give_back(&self) {
        if !self.take_surplus() {
            self.permits.add_permits(1);
        }
    }

    /// Lowers the surplus by one. Returns whether there was any.
    fn take_surplus(&self) -> bool {
        let mut surplus = self.surplus.load(Acquire);
        while surplus > 0 {
            match self.surplus.compare_exchange(surplus, surplus - 1, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => surplus = now,
            }
        }
        false
    }
}
