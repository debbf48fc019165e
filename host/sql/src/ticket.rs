//! Who has a job that waits: its caller, who may give up, or the writer.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

/// Decides the race between a caller whose deadline passes and the writer that takes its job: a caller that is told `Timeout` must
/// not find the change made.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

impl Ticket {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn turn(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, to, SeqCst, SeqCst).is_ok()
    }

    /// The caller gives up; false where the writer has begun.
    pub(super) fn give_up(&self) -> bool {
        self.turn(Self::GIVEN_UP)
    }

    /// The writer takes it; false where the caller has given up.
    pub(super) fn take(&self) -> bool {
        self.turn(Self::TAKEN)
    }
}
