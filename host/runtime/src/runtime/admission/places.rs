//! Places for calls, whose number can change while they are taken.
//!
//! Permits, taken or not, are always the places that there are to be and the surplus together. Where there are to be fewer, the surplus
//! grows first, and only then free permits are taken away for it; and who takes a permit while there is surplus gives it up for that and
//! tries again. So a call that comes in finds no more running than may, whatever changes meanwhile.
//!
//! The primitives are those of the parent, so that a model can put its own in their place.

use super::primitives::{AcqRel, Acquire, AtomicUsize, Mutex, Permit, Permits, lock};

/// A number of places, some of them taken.
pub(super) struct Places {
    permits: Permits,
    /// How many places there are to be.
    wanted: Mutex<usize>,
    /// Permits beyond that: they go as soon as they are free.
    surplus: AtomicUsize,
}

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self { permits: Permits::new(places), wanted: Mutex::new(places), surplus: AtomicUsize::new(0) }
    }

    /// What is waited at for a permit; see [`Self::occupy`].
    pub(super) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// How many places there are to be.
    pub(super) fn wanted(&self) -> usize {
        *lock(&self.wanted)
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        // Held, so that nobody changes their number in the middle.
        let wanted = lock(&self.wanted);
        (*wanted + self.surplus.load(Acquire)).saturating_sub(self.permits.available_permits())
    }

    /// Has another number of places from now on. Nobody who has one loses it.
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
            // Who left meanwhile may have given up a permit for the surplus already: then this one was not to go.
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

    /// Takes a place, if one is free.
    pub(super) fn try_take(&self) -> Option<Place<'_>> {
        loop {
            let permit = self.permits.try_acquire().ok()?;
            if let Some(place) = self.occupy(permit) {
                return Some(place);
            }
        }
    }

    /// Makes a place of a permit; none where it was surplus and is gone now.
    pub(super) fn occupy<'a>(&'a self, permit: Permit<'a>) -> Option<Place<'a>> {
        if self.take_surplus() {
            permit.forget();
            return None;
        }
        Some(Place { places: self, permit: Some(permit) })
    }

    /// Takes one out of the surplus, where there is any.
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

/// The right to run one call; given back when dropped.
pub(in super::super) struct Place<'a> {
    places: &'a Places,
    /// There until it is dropped.
    permit: Option<Permit<'a>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.places.take_surplus()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}
