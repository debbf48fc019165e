//! Tells when nothing happens on a connection, so that nobody holds one for nothing.
//!
//! Hyper's own timeout covers a head of HTTP/1.1 that has begun, but neither the bytes before it that tell the version, nor an
//! HTTP/2 connection without streams. Here only what a client gets counts, never what it sends: bytes that trickle in are not work.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

/// How much of an answer is handed out at once, in bytes: a client that is slower than this in each idle time is let go.
const PIECE: usize = 64 << 10;

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

    /// Returns once there has been no request, and nothing of an answer could be handed out, for `limit`.
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

/// An answer's body, handed out in pieces: each piece that the client's side has room for is activity.
pub(super) struct Sent {
    body: Body,
    /// What is left of the piece that the body gave last.
    rest: Bytes,
    activity: Arc<Activity>,
}

impl Sent {
    /// Notes what is taken of `body`.
    pub(super) fn new(body: Body, activity: Arc<Activity>) -> Self {
        Self { body, rest: Bytes::new(), activity }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        self.activity.note();
        Frame::data(self.rest.split_to(self.rest.len().min(PIECE)))
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    self.piece()
                }
                Err(other) => other,
            }))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn requests_and_pieces_of_answers_put_the_end_off() {
        let activity = Activity::new();
        let mut answer = Sent::new(Body::from(vec![7; 2 * PIECE + 1]), activity.clone());
        let start = Instant::now();
        let request = activity.request();
        let steps = async {
            tokio::time::sleep(3 * LIMIT).await;
            drop(request);
            tokio::time::sleep(LIMIT / 2).await;
            let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((piece.len(), hyper::body::Body::size_hint(&answer).exact()), (PIECE, Some(PIECE as u64 + 1)));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = activity.idle(LIMIT) => {}
            () = steps => {}
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= 4 * LIMIT + LIMIT / 2 - Duration::from_millis(2), "{elapsed:?}");
        assert_eq!(answer.collect().await.unwrap().to_bytes().len(), PIECE + 1);
    }
}
