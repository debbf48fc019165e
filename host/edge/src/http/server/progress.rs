//! A time limit for the progress of data in one direction on a connection or an HTTP/2 stream.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// The number of bytes that the client must send or accept within each time limit, unless less data is left. With the default limit this is
/// 400 bytes a second.
pub(super) const PROGRESS: u64 = 4 << 10;

/// Detects that a client sends or accepts too little data for too long. It measures only while the host waits for the client.
pub(super) struct ProgressTimer {
    limit: Duration,
    /// The number of bytes that were sent or received since the timer was set.
    moved: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ProgressTimer {
    /// Creates a timer that is not set.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, moved: 0, timer: None }
    }

    /// Records that `bytes` bytes were sent or received. [`PROGRESS`] bytes reset the timer.
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

    /// Resolves once less than [`PROGRESS`] bytes were sent or received during the whole time limit. Poll it while waiting for the client.
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
