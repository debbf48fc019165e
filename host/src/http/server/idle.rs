//! Tells when nothing happens on a connection, so that nobody holds one for nothing.
//!
//! Hyper's own timeout covers a head of HTTP/1.1 that has begun, but neither the bytes before it that tell the version, nor an
//! HTTP/2 connection without streams. Here only what a client gets counts, never what it sends: bytes that trickle in are not work.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What happens on one connection.
pub(super) struct Activity {
    start: Instant,
    /// When something last happened, in milliseconds since the start.
    last: AtomicU64,
    /// Requests that are worked on.
    requests: AtomicUsize,
}

impl Activity {
    /// Of a connection that begins now.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), last: AtomicU64::new(0), requests: AtomicUsize::new(0) })
    }

    /// Counts a request as being worked on for as long as the guard lives.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Request(self.clone())
    }

    /// Returns once there has been no request and nothing was written for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let quiet = match self.requests.load(Ordering::Relaxed) {
                0 => self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed))),
                _ => Duration::ZERO,
            };
            if quiet >= limit {
                return;
            }
            tokio::time::sleep(limit - quiet).await;
        }
    }

    fn note(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }
}

/// A request that is worked on.
pub(super) struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.note();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose writes count as activity.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    /// Notes the writes of `stream`.
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = result {
            self.activity.note();
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn requests_and_writes_put_the_end_off() {
        let activity = Activity::new();
        let (stream, _other) = tokio::io::duplex(64);
        let mut stream = Watched::new(stream, activity.clone());
        let start = Instant::now();
        let request = activity.request();
        let steps = async {
            tokio::time::sleep(3 * LIMIT).await;
            drop(request);
            tokio::time::sleep(LIMIT / 2).await;
            stream.write_all(b"x").await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = activity.idle(LIMIT) => {}
            () = steps => {}
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= 4 * LIMIT + LIMIT / 2 - Duration::from_millis(2), "{elapsed:?}");
    }
}
