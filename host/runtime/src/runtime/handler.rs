//! Calls of HTTP handlers: a module answers whole requests by itself, and bodies flow both ways while it runs.
//!
//! What all versions of `wasi:http` have in common stands here; a file for each version calls its function. The call runs within the future
//! of its request until the handler has answered, and then in a task of its own, beside the connection that sends the answer.

mod p2;
mod p3;
mod request;
mod response;
mod shared;

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use ::http::{Method, Request, Response, response as http_response};
use futures::future::{BoxFuture, Either};
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Func;
use wasmtime_wasi_http::Error;

use super::compartment::Compartment;
use super::{Generation, Target, detached};
use request::{HandlerInput, RequestSlot};
pub(super) use response::AnswerState;
use response::ResponseSlot;
use watertight_disk::failpoint::panic_point;
use watertight_graph::routes::HandlerVersion;
use watertight_store::{
    BodyFault, CallContext, CallError, Deadline, Downstream, InstanceState, PassingOn, RequestBody, RequestNotes,
    StreamDeadline,
};
use watertight_telemetry::table::{CallOrigin, DropReason};
use watertight_telemetry::{RouteMetrics, Trace};

pub use response::ResponseBody;

/// The name of the function that every version of `wasi:http` calls for a request.
pub(super) const HANDLE: &str = "handle";
/// The method in metrics of mounts: a mount counts the requests of all its methods together.
pub(super) const ANY_METHOD: &str = "*";

/// The handler of a request: the index of a mount or of a middleware in its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerPlace {
    /// A mount.
    Mount(usize),
    /// A middleware.
    Middleware(usize),
}

/// A mount of a generation: the function of its handler, its counters, and its name in logs and metrics.
pub(super) struct MountTarget {
    pub(super) target: Target,
    pub(super) version: HandlerVersion,
    pub(super) metrics: RouteMetrics,
    pub(super) label: Arc<str>,
}

/// Returns the name of a mount in logs and metrics: a template of the paths below it. `label` has its path, after the host if it has one.
pub(super) fn mount_label(label: &str) -> Arc<str> {
    format!("{}/*", label.trim_end_matches('/')).into()
}

/// A request for a handler.
pub struct HandlerRequest {
    /// The request as the handler sees it. It must have a host, in its target or in its header.
    pub request: Request<RequestBody>,
    /// The arrival of the request's head.
    pub arrival: Instant,
    /// The request's id.
    pub id: Arc<str>,
    /// The position in the request's trace.
    pub trace: Trace,
    /// The facts about the request that nested calls share.
    pub notes: RequestNotes,
    /// What answers the requests that the handler passes on, if it is one of a middleware.
    pub downstream: Option<Arc<dyn Downstream>>,
    /// A value that must last as long as the exchange: until the call has ended, and the answer's body too.
    pub guard: Arc<dyn Any + Send + Sync>,
}

/// The reason why a handler gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerError {
    /// The call failed before there was an answer.
    Call(CallError),
    /// The client's fault, which the handler did not handle: it could not read the request's body.
    Body(BodyFault),
    /// The handler reported that something took too long.
    Timeout,
    /// The handler reported that something is unavailable at the moment.
    Unavailable,
    /// The handler gave no answer, one that can't be sent, or reported another error.
    Failed,
}

/// The head of a handler's answer, or why there is none. The second text of an error is for the log.
type Answer = Result<http_response::Parts, (HandlerError, String)>;

/// Returns why there is no answer, for an error code of a handler, and the code's text for the log. The client learns only whether something
/// took too long or is unavailable.
fn refusal(code: impl fmt::Debug + Into<Error>) -> (HandlerError, String) {
    let reason = format!("{code:?}");
    let error = match code.into() {
        Error::DnsTimeout
        | Error::ConnectionTimeout
        | Error::ConnectionReadTimeout
        | Error::ConnectionWriteTimeout
        | Error::HttpResponseTimeout => HandlerError::Timeout,
        Error::DestinationUnavailable | Error::ConnectionRefused | Error::ConnectionLimitReached => {
            HandlerError::Unavailable
        }
        _ => HandlerError::Failed,
    };
    (error, reason)
}

/// Passes a request to the function of a handler in an instance, and runs the function to its end.
type Start = Box<dyn for<'s> FnOnce(&'s mut Store<InstanceState>, Func) -> BoxFuture<'s, wasmtime::Result<()>> + Send>;

/// What a call and its client share.
pub(super) struct Exchange {
    request: Arc<RequestSlot>,
    response: Arc<ResponseSlot>,
    /// What the call passes requests on to, if it is one of a middleware.
    passing_on: Option<PassingOn>,
}

impl Exchange {
    /// Ends the exchange on the handler's side.
    pub(super) fn end(&self) -> AnswerState {
        self.request.close();
        let state = self.response.end();
        if let Some(passing_on) = &self.passing_on {
            passing_on.end();
        }
        state
    }
}

impl Drop for Exchange {
    /// Ends an exchange whose call is dropped, also by a panic.
    fn drop(&mut self) {
        self.end();
    }
}

/// What happens first in the call of a handler.
enum First {
    /// The handler has answered, or has dropped its means to answer.
    Answered(Option<Answer>),
    /// The call has ended.
    Ended(Result<(), CallError>),
}

impl Generation {
    /// Returns the function of a handler.
    pub fn handler_target(&self, place: HandlerPlace) -> Target {
        match place {
            HandlerPlace::Mount(place) => self.mounts[place].target,
            HandlerPlace::Middleware(place) => self.middlewares[place],
        }
    }

    /// Returns the counters of the mount at index `place`.
    pub fn mount_metrics(&self, place: usize) -> &RouteMetrics {
        &self.mounts[place].metrics
    }

    /// Returns the name of the mount at index `place` in logs and metrics, such as `/api/*`.
    pub fn mount_label(&self, place: usize) -> &Arc<str> {
        &self.mounts[place].label
    }

    /// Lets the handler of a mount or a middleware answer a request. Returns as soon as the handler has answered; the call goes on beside
    /// the body of the answer.
    ///
    /// If the returned future or the body is dropped, the call goes on for at most [`CLIENT_GRACE`](watertight_store::CLIENT_GRACE).
    ///
    /// # Errors
    ///
    /// Returns [`HandlerError`] if there is no answer that can be sent.
    pub async fn handle(
        self: &Arc<Self>,
        place: HandlerPlace,
        request: HandlerRequest,
    ) -> Result<Response<ResponseBody>, HandlerError> {
        let target = self.handler_target(place);
        let version = match place {
            HandlerPlace::Mount(place) => self.mounts[place].version,
            HandlerPlace::Middleware(_) => HandlerVersion::P3,
        };
        let HandlerRequest { request, arrival, id, trace, notes, downstream, guard } = request;
        let compartment = self.compartments[target.compartment].clone();
        let is_shared = version == HandlerVersion::P3 && compartment.shares_instances();
        let deadline = StreamDeadline::new(arrival, compartment.limits(), is_shared);
        let (head, body) = request.into_parts();
        let body = RequestSlot::new(body, compartment.limits().body, deadline.clone());
        let slot = ResponseSlot::new(head.method == Method::HEAD, deadline.clone(), self.has_ended.clone());
        let mut call =
            CallContext::within_trace(id, Deadline::Stream(deadline), CallOrigin::Route, trace).with_request(notes);
        call.passing_on = downstream.map(|downstream| PassingOn::to(downstream, compartment.limits().body));
        let log = Arc::new(HandlerLog { compartment, target, call: call.clone() });

        let (answer, answered) = oneshot::channel();
        let mut answered = Some(answered);
        // Dropped after the work, which becomes a task if it is dropped before its end.
        let mut response = ResponseBody::new(slot.clone(), guard.clone());
        let exchange = Exchange { request: body.clone(), response: slot, passing_on: call.passing_on.clone() };
        let request = Request::from_parts(head, HandlerInput(body.clone()));
        let (slot, kept) = (exchange.response.clone(), (log.clone(), guard));
        let mut work = detached(if is_shared {
            let begin = p3::begin(request, slot, answer);
            Either::Left(self.clone().run_shared(call, begin, exchange, kept))
        } else {
            let start: Start = match version {
                HandlerVersion::P2 => Box::new(p2::start(request, slot, answer)),
                HandlerVersion::P3 => Box::new(p3::start(request, slot, answer)),
            };
            Either::Right(self.clone().run_handler(call, start, exchange, kept))
        })
        .counting_panics(self.telemetry.clone());
        let first = poll_fn(|context| {
            if let Poll::Ready(ended) = Pin::new(&mut work).poll(context) {
                return Poll::Ready(First::Ended(ended));
            }
            match answered.as_mut().map(|answered| Pin::new(answered).poll(context)) {
                // The instance was ended. Why, the call says.
                Some(Poll::Ready(Err(_))) if is_shared => answered = None,
                Some(Poll::Ready(answer)) => return Poll::Ready(First::Answered(answer.ok())),
                Some(Poll::Pending) | None => {}
            }
            Poll::Pending
        });
        let (answer, ended) = match first.await {
            First::Answered(answer) => (answer, None),
            First::Ended(ended) => (answered.and_then(|mut answered| answered.try_recv().ok()), Some(ended)),
        };
        let error = match (answer, ended) {
            (Some(Ok(head)), None) => return Ok(Response::from_parts(head, response)),
            (Some(Ok(head)), Some(_)) if response.is_complete() => {
                response.release();
                return Ok(Response::from_parts(head, response));
            }
            // Nothing of the answer was sent yet, so the client can still learn that the handler failed.
            (_, Some(Err(error))) => HandlerError::Call(error),
            (Some(Err((error, reason))), _) => {
                log.warn(&format_args!("the handler's answer is an error: {reason}"));
                error
            }
            (Some(Ok(_)), Some(Ok(()))) => HandlerError::Failed,
            (None, _) => {
                log.warn(&"the handler gave no answer");
                HandlerError::Failed
            }
        };
        Err(match (&error, body.fault()) {
            (
                HandlerError::Call(CallError::Trap { .. } | CallError::Exit { .. }) | HandlerError::Failed,
                Some(fault),
            ) => HandlerError::Body(fault),
            _ => error,
        })
    }

    /// Runs the call of a handler to its end.
    async fn run_handler(
        self: Arc<Self>,
        call: CallContext,
        start: Start,
        exchange: Exchange,
        (log, _guard): (Arc<HandlerLog>, Arc<dyn Any + Send + Sync>),
    ) -> Result<(), CallError> {
        let HandlerLog { compartment, target, .. } = &*log;
        let deadline = call.deadline.clone();
        let admitted = self.run_until_cut_off(deadline.bound(self.admit(*target, call))).await;
        let mut lease = match admitted.flatten() {
            Some(Ok(lease)) => lease,
            Some(Err(error)) => return log.failed(error),
            None => return log.failed(compartment.deadline_error(target.function)),
        };
        // Declared after the lease and so dropped before it: what the handler has written must be taken while its store is there.
        let exchange = exchange;
        let ran = {
            let mut running = pin!(self.run_until_cut_off(lease.handle(start)));
            let step = poll_fn(|context| {
                let polled = running.as_mut().poll(context);
                if polled.is_pending() {
                    exchange.response.poll_discard(context);
                }
                polled
            });
            step.await
        };
        panic_point("handler::ran");
        let state = exchange.end();
        if let Some(BodyFault::TooLarge(_)) = exchange.request.fault() {
            compartment.report_large_body(
                target.function,
                compartment.limits().body,
                &log.call.request,
                &log.call.trace,
            );
        }
        if exchange.response.is_exceeded() {
            log.warn(&"the handler's answer is longer than its `content-length`: the rest was cut off");
        }
        let Some(called) = ran else {
            let late = compartment.deadline_error(target.function);
            // A stream of events ends cleanly: that is no failure.
            return if state == AnswerState::Complete { Err(late) } else { log.failed(late) };
        };
        if called.is_err() && log.is_abandoned() {
            log.left();
            return Err(compartment.deadline_error(target.function));
        }
        let ((), lease) = match lease.finish(called) {
            Ok(finished) => finished,
            Err(error) => return log.failed(error),
        };
        if state == AnswerState::Unfinished && !log.is_abandoned() {
            log.warn(&"the handler returned and had not finished the body of its answer: the answer was cut off");
        }
        if exchange.response.has_answered() {
            lease.put_back();
        } else {
            // Components that are made for one request an instance can end so, and then fail every further one.
            lease.discard(DropReason::NoAnswer);
        }
        Ok(())
    }
}

/// Logs and counts how the call of a handler went.
struct HandlerLog {
    compartment: Arc<Compartment>,
    target: Target,
    call: CallContext,
}

impl HandlerLog {
    fn warn(&self, what: &dyn std::fmt::Display) {
        self.compartment.warn_about(self.target.function, what, &self.call);
    }

    /// Counts a call that failed, and returns its error. A call whose client has gone has not failed.
    fn failed(&self, error: CallError) -> Result<(), CallError> {
        if !self.is_abandoned() {
            self.compartment.metrics().count_failure(error.kind());
        }
        Err(error)
    }

    /// Whether the client has gone away.
    fn is_abandoned(&self) -> bool {
        matches!(&self.call.deadline, Deadline::Stream(stream) if stream.is_abandoned())
    }

    /// Logs that the call of a client that has gone away was ended, by its deadline or by a handler that can't go on without a client.
    fn left(&self) {
        let (request, trace) = (&*self.call.request, self.call.trace.id());
        tracing::debug!(target: "handler", request, %trace, "the client went away, and the handler's call was ended");
    }
}
