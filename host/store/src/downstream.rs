//! What a middleware passes a request on to, as the call of its handler knows it.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use ::http::{Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
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

impl BodyFault {
    /// Returns the fault behind an error of a body that a middleware passes on. `limit` bounds the body that the middleware got. Errors of its
    /// own, such as a body that is not as long as its `content-length`, count as a body that ended too early.
    pub fn passed_on(error: &Error, limit: u64) -> Self {
        match error {
            Error::HttpRequestBodySize(Some(most)) if *most == limit => Self::TooLarge(limit),
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
    /// The largest body that a request to the middleware may have, in bytes.
    pub body_limit: u64,
    places: Arc<Semaphore>,
    /// The answers whose bodies are not read to their ends. `None` after the end of the call.
    answers: Arc<Mutex<Option<Vec<Arc<PassedAnswer>>>>>,
}

impl PassingOn {
    /// Lets a call pass on at most [`MAX_PASSED_ON`] requests at once.
    pub fn to(downstream: Arc<dyn Downstream>, body_limit: u64) -> Self {
        let places = Arc::new(Semaphore::new(MAX_PASSED_ON));
        Self { downstream, body_limit, places, answers: Arc::new(Mutex::new(Some(Vec::new()))) }
    }

    /// Takes a place for one request. Returns `None` if none is free.
    pub fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Keeps the body of an answer, and the place of its request, until the body was read to its end or given up, or the call has ended.
    pub fn keep(&self, body: PassedBody, place: OwnedSemaphorePermit) -> KeptBody {
        let answer = Arc::new(PassedAnswer(Mutex::new(Kept::Open { body, _place: place })));
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *answers {
            Some(answers) => {
                answers.retain(|answer| matches!(*answer.state(), Kept::Open { .. }));
                answers.push(answer.clone());
            }
            None => answer.close(Kept::Lost),
        }
        KeptBody(answer)
    }

    /// Takes away the bodies of all answers. A guest may keep its handles of them beyond the call.
    pub fn end(&self) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).take();
        answers.into_iter().flatten().for_each(|answer| answer.close(Kept::Lost));
    }
}

/// The body of an answer that a middleware got.
struct PassedAnswer(Mutex<Kept>);

enum Kept {
    Open {
        body: PassedBody,
        _place: OwnedSemaphorePermit,
    },
    /// The body was read to its end, or given up.
    Ended,
    /// The call has ended.
    Lost,
}

impl PassedAnswer {
    fn state(&self) -> MutexGuard<'_, Kept> {
        // A poisoned mutex is used all the same: a body that panicked fails again when it is polled.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the body if it is there.
    fn close(&self, end: Kept) {
        let mut state = self.state();
        if let Kept::Open { .. } = &*state {
            let body = mem::replace(&mut *state, end);
            drop(state);
            drop(body);
        }
    }
}

/// The body of an answer, as a middleware reads it.
pub struct KeptBody(Arc<PassedAnswer>);

impl Body for KeptBody {
    type Data = Bytes;
    type Error = CutAnswer;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutAnswer>>> {
        let polled = match &mut *self.0.state() {
            Kept::Open { body, .. } => ready!(Pin::new(body).poll_frame(context)),
            Kept::Ended => None,
            Kept::Lost => Some(Err(CutAnswer)),
        };
        if !matches!(polled, Some(Ok(_))) {
            self.0.close(Kept::Ended);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &*self.0.state() {
            Kept::Open { body, .. } => body.is_end_stream(),
            Kept::Ended => true,
            Kept::Lost => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.0.state() {
            Kept::Open { body, .. } => body.size_hint(),
            Kept::Ended | Kept::Lost => SizeHint::default(),
        }
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        self.0.close(Kept::Ended);
    }
}
