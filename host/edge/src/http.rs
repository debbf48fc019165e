//! The data listener: it turns HTTP requests into calls of module functions, and their results into responses. Modules never see HTTP
//! (invariant 9 in `ARCHITECTURE.md`).
//!
//! A request takes the current generation once and stays on it (invariant 3). Routes belong to a generation, so the listener does not use
//! axum's router. It uses only axum's request and response types.

pub mod access;
pub mod answer;
mod call;
pub mod details;
pub mod head;
pub mod media;
mod context;
pub mod panics;
mod parameters;
pub mod server;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Val;

use watertight_disk::failpoint::panic_point;
use watertight_graph::routes::RouteMatch;
use watertight_model::config::HttpLimits;
use watertight_runtime::runtime::{Generation, InFlight, Runtime};
use watertight_runtime::store::{CallContext, RequestInfo, RequestNotes};
use watertight_telemetry::table::CallOrigin;

use answer::HostProblem;
use context::RequestContext;
use details::Failure;
use server::{Connection, CountedResponse, PermitShare, RequestBody};

pub use context::{drop_body, request_id};

/// The header that carries a request's id, in requests and in responses.
pub static REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");
/// The header that carries the trace context of a request (W3C Trace Context), in requests and in responses.
pub static TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");
/// The header in which tracing vendors keep their own data of a trace (W3C Trace Context).
static TRACESTATE: header::HeaderName = header::HeaderName::from_static("tracestate");
/// The response header that carries the number of the generation that answered.
pub static GENERATION: header::HeaderName = header::HeaderName::from_static("watertight-generation");

/// The right of one request to be in flight on the data listener. Dropping this value lets another request take its place.
struct InFlightPermit {
    _permit: OwnedSemaphorePermit,
    _share: PermitShare,
    _generation: InFlight,
}

/// The state that all requests of the data listener share.
pub struct DataListener {
    runtime: Arc<Runtime>,
    limits: HttpLimits,
    in_flight: Arc<Semaphore>,
}

impl DataListener {
    /// Creates the listener's state for the application that `runtime` runs. `limits` bounds the requests in flight.
    pub fn new(runtime: Arc<Runtime>, limits: HttpLimits) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(limits.in_flight as usize));
        Arc::new(Self { runtime, limits, in_flight })
    }

    /// Waits until every request in flight has ended, including requests whose client has disconnected. Returns whether that happened
    /// before `deadline`. The caller must ensure that no new request begins meanwhile.
    pub async fn wait_idle(&self, deadline: Instant) -> bool {
        let all = self.in_flight.acquire_many(self.limits.in_flight);
        tokio::time::timeout_at(deadline.into(), all).await.is_ok()
    }

    /// Answers one request. This method never fails: every error becomes a response.
    pub async fn handle(self: Arc<Self>, request: Request<RequestBody>) -> CountedResponse {
        let generation = self.runtime.current();
        let on = generation.enter();
        let context = RequestContext::new(&request, &generation);
        let connection = request.body().connection().clone();
        let mut route = None;
        let answered = match head::check(&request) {
            Ok(()) => {
                let answer = self.route_and_call(request, &context, &generation, on, &mut route);
                panics::catch_panic(answer).await.unwrap_or_else(|panic| {
                    context.record_panic(&panic, &generation);
                    Err(HostProblem::HostFailed.into())
                })
            }
            Err(failure) => Err(failure),
        };
        let mut response = answered.unwrap_or_else(|failure| failure.into_response_for(&context.id));
        let held = match response.body().size_hint().lower() {
            0 => None,
            length => connection.hold(length).ok(),
        };
        if held.is_none() && !response.body().is_end_stream() {
            response = Failure::from(HostProblem::Overloaded).into_response_for(&context.id);
        }
        CountedResponse { response: context.finish(response, &generation, route), held }
    }

    /// Takes a permit for one request in flight. Returns `None` if no permit is free, or if `connection` already has at least as many
    /// permits as are free. `on` counts the request on its generation.
    fn acquire_permit(&self, connection: &Arc<Connection>, on: InFlight) -> Option<InFlightPermit> {
        let take = || self.in_flight.clone().try_acquire_owned().ok();
        let (permit, share) = connection.acquire_permit(self.in_flight.available_permits(), take)?;
        Some(InFlightPermit { _permit: permit, _share: share, _generation: on })
    }

    /// Finds the route of a request, reads its body, calls the function, and encodes the result. Sets `found` to the index of the route
    /// as soon as it is known.
    async fn route_and_call(
        &self,
        request: Request<RequestBody>,
        context: &RequestContext,
        generation: &Arc<Generation>,
        on: InFlight,
        found: &mut Option<usize>,
    ) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let connection = body.connection().clone();
        let path = head::normalize_path(head.uri.path());
        let (index, route, path) = match generation.routes.find(&head.method, &path) {
            RouteMatch::Route(index, route, path) => (index, route, path),
            RouteMatch::OtherMethods(allow) => {
                return Err(Failure::from(HostProblem::MethodNotAllowed).with_header(header::ALLOW, allow));
            }
            RouteMatch::Nothing => return Err(HostProblem::NoSuchPath.into()),
        };
        *found = Some(index);
        panic_point("http::answer");
        let target = generation.route_target(index);
        let deadline = context.arrival + generation.time(target);
        let body = parameters::read_body(route, &head.headers, body, generation.body_limit(target), deadline);
        // A client that sends its body slowly must not keep a retired generation alive.
        let body = generation.run_until_cut_off(body).await.unwrap_or_else(|| Err(HostProblem::BodyTooSlow.into()));
        if body.as_ref().is_err_and(|failure| failure.status() == StatusCode::PAYLOAD_TOO_LARGE) {
            generation.report_large_body(target, &context.id, &context.trace);
        }
        let body = body?;
        // The permit is taken only after the body has arrived: a client that sends slowly must not occupy one.
        let permit = self.acquire_permit(&connection, on).ok_or(HostProblem::Overloaded)?;
        let values = parameters::decode(route, &path, &head, body.as_deref())?;
        let line = RequestInfo {
            method: route.method.as_str(),
            route: route.path.clone(),
            uri: context.uri.clone(),
            generation: generation.number,
        };
        let notes = RequestNotes::new(line);
        let call_context =
            CallContext::within_trace(context.id.clone(), deadline, CallOrigin::Route, context.trace.clone());
        let call_context = call_context.with_request(notes.clone());
        let (result, _permit) = call::detached(generation.clone(), target, values, call_context, permit).await;
        let limit = generation.result_limit(target);
        let write = |result: Option<Val>| {
            answer::from_result(route, result.as_ref(), limit).unwrap_or_else(|error| {
                generation.report_unencodable_result(target, &error, &context.id, &context.trace);
                Err(HostProblem::ModuleFailed.into())
            })
        };
        let response = generation.offload(target, || result.map_err(Failure::from).and_then(write));
        response.map_err(|failure| answer::storage_full_if_server_error(failure, &notes))
    }
}
