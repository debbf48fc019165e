//! A time limit for the progress of one direction of a connection or a stream.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// The number of bytes that must move within each time limit, unless all data has moved. With the default limit this is 400 bytes a
/// second.
pub(super) const PROGRESS: u64 = 4 << 10;

/// Detects a wait without progress. The timer exists only while something waits for the client.
pub(super) struct ProgressTimer {
    limit: Duration,
    /// The number of bytes that moved since the timer was set.
    moved: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ProgressTimer {
    /// Creates a timer that is not set.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, moved: 0, timer: None }
    }

    /// Records that `bytes` moved. Enough of them reset the timer.
    pub(super) fn moved(&mut self, bytes: usize) {
        if self.timer.is_some() {
            self.moved += bytes as u64;
            if self.moved >= PROGRESS {
                self.clear();
            }
        }
    }

    /// Clears the timer, because nothing waits any more.
    pub(super) fn clear(&mut self) {
        self.timer = None;
        self.moved = 0;
    }

    /// Resolves once less than [`PROGRESS`] bytes moved during the whole limit. Poll it while waiting for the client.
    pub(super) fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_trickle_is_no_progress_and_a_piece_is() {
        let mut timer = ProgressTimer::new(LIMIT);
        let start = std::time::Instant::now();
        let wait = async |timer: &mut ProgressTimer, time: Duration| {
            tokio::time::timeout(time, poll_fn(|context| timer.poll_stalled(context))).await.is_ok()
        };
        // Single bytes do not postpone the end.
        while !wait(&mut timer, LIMIT / 10).await {
            timer.moved(1);
            assert!(start.elapsed() < 100 * LIMIT, "single bytes postponed the end");
        }
        timer.clear();
        assert!(!wait(&mut timer, LIMIT / 2).await);
        timer.moved(PROGRESS as usize);
        // The time limit starts again.
        assert!(!wait(&mut timer, LIMIT * 7 / 10).await);
        assert!(wait(&mut timer, 100 * LIMIT).await);
    }
}
