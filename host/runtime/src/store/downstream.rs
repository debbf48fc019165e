//! What a middleware passes a request on to, as the call of its handler knows it.

use std::sync::Arc;

use ::http::{Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::Error;

/// The largest number of requests that one call of a middleware passes on at once.
pub const MAX_PASSED_ON: usize = 8;

/// The body of a request to a handler.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyFault>;
/// The body of an answer that a middleware gets.
pub type PassedBody = UnsyncBoxBody<Bytes, CutAnswer>;

/// The reason why a handler can't read the rest of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The body has more bytes than the limit, which is the value.
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    /// The client sent too little for too long.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection or the call ended before the body was complete.
    #[error("the body ended too early")]
    CutOff,
    /// The host holds too many bytes for clients already.
    #[error("too many bytes are held in memory for clients")]
    NoRoom,
}

impl From<BodyFault> for Error {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge(limit) => Self::HttpRequestBodySize(Some(limit)),
            BodyFault::TooSlow => Self::ConnectionReadTimeout,
            BodyFault::CutOff => Self::ConnectionTerminated,
            BodyFault::NoRoom => Self::ConnectionLimitReached,
        }
    }
}

impl From<Error> for BodyFault {
    /// Returns the fault behind an error of a body that a middleware passes on. Errors of its own count as a body that ended too early.
    fn from(error: Error) -> Self {
        match error {
            Error::HttpRequestBodySize(Some(limit)) => Self::TooLarge(limit),
            Error::ConnectionReadTimeout => Self::TooSlow,
            Error::ConnectionLimitReached => Self::NoRoom,
            _ => Self::CutOff,
        }
    }
}

/// The error that the answer of a handler ends before it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handler's answer was cut off")]
pub struct CutAnswer;

impl From<CutAnswer> for Error {
    fn from(CutAnswer: CutAnswer) -> Self {
        Self::ConnectionTerminated
    }
}

/// Answers the requests that a middleware passes on: the next middleware, a mount or a route.
pub trait Downstream: Send + Sync {
    /// Answers a request. Every failure is an answer too, as it is for a client. If the returned future is dropped, the client counts as
    /// gone.
    fn answer(self: Arc<Self>, request: Request<RequestBody>) -> BoxFuture<'static, Response<PassedBody>>;
}

/// What one call of a middleware passes requests on to.
#[derive(Clone)]
pub struct PassingOn {
    /// What answers the requests.
    pub downstream: Arc<dyn Downstream>,
    places: Arc<Semaphore>,
}

impl PassingOn {
    /// Lets a call pass on at most [`MAX_PASSED_ON`] requests at once.
    pub fn to(downstream: Arc<dyn Downstream>) -> Self {
        Self { downstream, places: Arc::new(Semaphore::new(MAX_PASSED_ON)) }
    }

    /// Takes a place for one request. Returns `None` if none is free.
    pub fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }
}
