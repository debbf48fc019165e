//! The bodies of outbound requests and responses, with their limits of size and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::{Error, WasiBody};

use super::{OutboundClient, from_hyper_error};
use watertight_telemetry::table::OutboundOutcome;

/// Subtracts a frame's bytes from the remaining allowance. Returns an error if the frame exceeds it.
fn subtract_frame(left: &mut u64, frame: &Frame<Bytes>) -> Result<(), ()> {
    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
    *left = left.checked_sub(bytes).ok_or(())?;
    Ok(())
}

/// A request body that fails once it exceeds the limit of bytes.
pub(super) struct LimitedRequestBody {
    inner: WasiBody,
    left: u64,
    limit: u64,
}

impl LimitedRequestBody {
    pub(super) fn new(inner: WasiBody, limit: u64) -> Self {
        Self { inner, left: limit, limit }
    }
}

impl Body for LimitedRequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { inner, left, limit } = &mut *self;
        Pin::new(inner).poll_frame(context).map(|frame| {
            frame.map(|frame| {
                let frame = frame?;
                subtract_frame(left, &frame).map_err(|()| Error::HttpRequestBodySize(Some(*limit)))?;
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

/// A response body that fails once it exceeds its limit of bytes or its deadline. It holds the request's permit and the connection until it
/// is dropped.
pub(super) struct LimitedResponseBody {
    inner: Incoming,
    left: u64,
    deadline: Pin<Box<Sleep>>,
    outgoing: Arc<OutboundClient>,
    _permit: OwnedSemaphorePermit,
    _connection: AbortOnDropJoinHandle<()>,
}

impl LimitedResponseBody {
    pub(super) fn new(
        inner: Incoming,
        end: Instant,
        outgoing: Arc<OutboundClient>,
        permit: OwnedSemaphorePermit,
        connection: AbortOnDropJoinHandle<()>,
    ) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(end.into()));
        Self { inner, left: outgoing.grant.response, deadline, outgoing, _permit: permit, _connection: connection }
    }
}

impl Body for LimitedResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { inner, left, deadline: end, outgoing, .. } = &mut *self;
        let late = end.as_mut().poll(context).is_ready();
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
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
