//! Ownership of a queued job: it belongs to the caller, who may give up, or to the writer.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

/// Decides the race between a caller whose deadline passes and the writer that takes the caller's job. A change must not
/// happen after its caller was told `Timeout`.
#[derive(Debug, Default)]
pub(super) struct JobClaim(AtomicU8);

impl JobClaim {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn set(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, to, SeqCst, SeqCst).is_ok()
    }

    /// Gives the job up for the caller. Returns false if the writer has taken it.
    pub(super) fn abandon(&self) -> bool {
        self.set(Self::GIVEN_UP)
    }

    /// Takes the job for the writer. Returns false if the caller has given up.
    pub(super) fn claim(&self) -> bool {
        self.set(Self::TAKEN)
    }
}
