//! The data edge: requests in, answers out. Business code sees none of it (invariant 9).
//!
//! A request takes the current generation once and stays on it (invariant 3). Routes belong to the generation, so axum's own router
//! has nothing to do here; its types carry requests and answers.

pub mod answer;
mod call;
mod noted;
mod parameters;
pub mod server;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Request, Response, header};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Val;

use crate::config::HttpLimits;
use crate::routes::{Body as RouteBody, Matched};
use crate::runtime::{Generation, InFlight, Runtime};
use crate::store::CallContext;
use crate::telemetry::table::Origin;

use answer::{Failure, HostProblem};
use noted::Noted;

/// The header that carries a request's id, in and out.
pub static REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");
/// The header that says which trace a request belongs to, in and out (W3C Trace Context).
pub static TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");
/// The header in which others keep what is theirs of a trace.
static TRACESTATE: header::HeaderName = header::HeaderName::from_static("tracestate");
/// The header that says which generation answered.
pub static GENERATION: header::HeaderName = header::HeaderName::from_static("watertight-generation");

/// A request's place among those in flight: given back when dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    _on: InFlight,
}

/// What every request on the data listener shares.
pub struct Edge {
    runtime: Arc<Runtime>,
    limits: HttpLimits,
    in_flight: Arc<Semaphore>,
}

impl Edge {
    /// An edge in front of `runtime`.
    pub fn new(runtime: Arc<Runtime>, limits: HttpLimits) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(limits.in_flight as usize));
        Arc::new(Self { runtime, limits, in_flight })
    }

    /// Waits until no request is being worked on, those of clients that went away included, up to `deadline`; returns whether that came first. No request may begin meanwhile.
    pub async fn finish(&self, deadline: Instant) -> bool {
        let all = self.in_flight.acquire_many(self.limits.in_flight);
        tokio::time::timeout_at(deadline.into(), all).await.is_ok()
    }

    /// Answers one request. Never fails: whatever goes wrong is an answer.
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let generation = self.runtime.current();
        let noted = Noted::begin(&request, &generation);
        let mut route = None;
        let answered = match self.in_flight.clone().try_acquire_owned() {
            Ok(permit) => {
                let place = Place { _permit: permit, _on: generation.enter() };
                self.answer(request, &noted, &generation, place, &mut route).await
            }
            Err(_) => Err(HostProblem::Overloaded.into()),
        };
        let response = answered.unwrap_or_else(|failure| failure.into_response(&noted.id));
        noted.end(response, &generation, route)
    }

    /// Says in `found` which route answers, once that is known.
    async fn answer(
        &self,
        request: Request<Incoming>,
        noted: &Noted,
        generation: &Arc<Generation>,
        place: Place,
        found: &mut Option<usize>,
    ) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let (index, route, path) = match generation.routes.find(&head.method, head.uri.path()) {
            Matched::Route(index, route, path) => (index, route, path),
            Matched::OtherMethods(allow) => return Err(Failure::from(HostProblem::MethodNotAllowed).allow(allow)),
            Matched::Nothing => return Err(HostProblem::NoSuchPath.into()),
        };
        *found = Some(index);
        let target = generation.route_target(index);
        let deadline = noted.arrival + generation.time(target);
        let body = match route.body {
            RouteBody::Ignored => None,
            _ => {
                let body = parameters::read_body(&head.headers, body, generation.body_limit(target), deadline);
                // Who sends slowly keeps no retired generation.
                let body = generation.until_end(body).await.unwrap_or(Err(HostProblem::BodyTooSlow));
                if let Err(HostProblem::BodyTooLarge { .. }) = body {
                    generation.body_too_large(target, &noted.id, &noted.trace);
                }
                Some(body?)
            }
        };
        let values = parameters::decode(route, &path, &head, body.as_deref())?;
        let context = CallContext::within_trace(noted.id.clone(), deadline, Origin::Route, noted.trace.clone());
        let notes = context.notes.clone();
        let (result, place) = call::detached(generation.clone(), target, values, context, place).await;
        let limit = generation.result_limit(target);
        let write = |result: Option<Val>| {
            answer::from_result(route, result.as_ref(), limit).unwrap_or_else(|error| {
                generation.unwritable(target, &error, &noted.id, &noted.trace);
                Err(HostProblem::ModuleFailed.into())
            })
        };
        let response = generation.step(target, || result.map_err(Failure::from).and_then(write));
        let response = response.map_err(|failure| failure.or_full(&notes))?;
        Ok(answer::hold_if_large(response, place))
    }
}
