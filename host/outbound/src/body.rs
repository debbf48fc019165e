//! The bodies of outbound requests and responses, with their limits of size and time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::{Error, WasiBody};

use super::{OutboundClient, from_hyper_error};
use watertight_telemetry::table::OutboundOutcome;

/// Subtracts a frame's bytes from the remaining allowance. Returns an error if the frame exceeds it.
fn subtract_frame(left: &mut u64, frame: &Frame<Bytes>) -> Result<(), ()> {
    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
    *left = left.checked_sub(bytes).ok_or(())?;
    Ok(())
}

/// The reason why the body of a request can't be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBodyError {
    /// The body exceeds the module's limit `http.request`.
    #[error("the body exceeds the limit")]
    TooLarge,
    /// The body ended too early, or it does not have the length of its `content-length`.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A request body that fails once it exceeds the limit of bytes, or once its exchange ended.
///
/// A server may answer before it has read the whole request. Without the second rule, a guest that then neither sends the rest nor drops
/// the request would keep a connection that no permit counts.
pub(super) struct LimitedRequestBody {
    inner: WasiBody,
    left: u64,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl LimitedRequestBody {
    pub(super) fn new(inner: WasiBody, limit: u64, exchange: CancellationToken) -> Self {
        Self { inner, left: limit, ended: Box::pin(exchange.cancelled_owned()) }
    }
}

impl Body for LimitedRequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Self { inner, left, ended } = &mut *self;
        if ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::ConnectionTerminated.into())));
        }
        Pin::new(inner).poll_frame(context).map(|frame| {
            frame.map(|frame| {
                let frame = frame?;
                subtract_frame(left, &frame).map_err(|()| RequestBodyError::TooLarge)?;
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response whose body was not read to its end yet, with what it takes of the module's limits.
struct OpenResponse {
    inner: Incoming,
    _permit: OwnedSemaphorePermit,
    _exchange: DropGuard,
}

/// A response body that fails once it exceeds its limit of bytes or its deadline.
///
/// Until it is dropped or its deadline passes, it holds the request's permit, and the exchange goes on. Its connection is pooled again only
/// if it was read to its end.
pub(super) struct LimitedResponseBody {
    /// The response. It is `None` after the deadline: see [`close_at`].
    open: Arc<Mutex<Option<OpenResponse>>>,
    left: u64,
    deadline: Pin<Box<Sleep>>,
    outgoing: Arc<OutboundClient>,
}

impl LimitedResponseBody {
    /// Returns the body, and the task that ends the exchange at `end`. A guest may keep a response that it never reads, so no one may ask the
    /// body whether it is late.
    pub(super) fn new(
        inner: Incoming,
        end: Instant,
        outgoing: Arc<OutboundClient>,
        permit: OwnedSemaphorePermit,
        exchange: DropGuard,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let deadline = Box::pin(tokio::time::sleep_until(end.into()));
        let open = Arc::new(Mutex::new(Some(OpenResponse { inner, _permit: permit, _exchange: exchange })));
        let closing = close_at(end, Arc::downgrade(&open));
        (Self { open, left: outgoing.grant.response, deadline, outgoing }, closing)
    }
}

/// Drops a response at `end`, if its body still exists then.
async fn close_at(end: Instant, response: Weak<Mutex<Option<OpenResponse>>>) {
    tokio::time::sleep_until(end.into()).await;
    if let Some(response) = response.upgrade() {
        let late = lock(&response).take();
        drop(late);
    }
}

/// Locks a response. A poisoned mutex is used all the same: a response that panicked fails again when it is read.
fn lock(open: &Mutex<Option<OpenResponse>>) -> MutexGuard<'_, Option<OpenResponse>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body for LimitedResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { open, left, deadline: end, outgoing } = &mut *self;
        let late = end.as_mut().poll(context).is_ready();
        let mut open = lock(open);
        let Some(OpenResponse { inner, .. }) = &mut *open else {
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        let polled = match Pin::new(inner).poll_frame(context) {
            Poll::Ready(None) => return Poll::Ready(None),
            _ if late => Err(Error::ConnectionReadTimeout),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Err(error))) => Err(from_hyper_error(&error)),
            Poll::Ready(Some(Ok(frame))) => match subtract_frame(left, &frame) {
                Ok(()) => Ok(frame),
                Err(()) => {
                    outgoing.counters.count(OutboundOutcome::Limit);
                    Err(Error::HttpResponseBodySize(Some(outgoing.grant.response)))
                }
            },
        };
        Poll::Ready(Some(polled))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.open).as_ref().is_some_and(|open| open.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.open).as_ref().map_or_else(SizeHint::default, |open| open.inner.size_hint())
    }
}
