//! The data edge: requests in, answers out. Business code sees none of it (invariant 9).
//!
//! A request takes the current generation once and stays on it (invariant 3). Routes belong to the generation, so axum's own router
//! has nothing to do here; its types carry requests and answers.

pub mod answer;
mod call;
mod parameters;
pub mod server;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, header};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::HttpLimits;
use crate::ids::GenerationNumber;
use crate::routes::{Body as RouteBody, Matched};
use crate::runtime::{Generation, InFlight, Runtime};
use crate::store::CallContext;
use crate::telemetry::table::Origin;

use answer::{Failure, HostProblem};

/// The header that carries a request's id, in and out.
pub static REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");
/// The header that says which generation answered.
pub static GENERATION: header::HeaderName = header::HeaderName::from_static("watertight-generation");
/// The longest request id that is taken over from a client, in bytes.
const MAX_REQUEST_ID: usize = 128;

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
        let arrival = Instant::now();
        let head_only = request.method() == Method::HEAD;
        let id = request_id(&request);
        let generation = self.runtime.current();
        let number = generation.number;
        let mut route = None;
        let answered = match self.in_flight.clone().try_acquire_owned() {
            Ok(permit) => {
                let place = Place { _permit: permit, _on: generation.enter() };
                self.answer(request, &id, &generation, arrival, place, &mut route).await
            }
            Err(_) => Err(HostProblem::Overloaded.into()),
        };
        let mut response = answered.unwrap_or_else(|failure| failure.into_response(&id));
        add_headers(&mut response, &id, number);
        if head_only {
            drop_body(&mut response);
        }
        let (status, time) = (response.status().as_u16(), arrival.elapsed());
        let metrics = match route {
            Some(place) => generation.route_metrics(place),
            None => generation.telemetry().unrouted(),
        };
        metrics.answered(status, time);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(target: "request", request = &*id, status, micros);
        response
    }

    /// Says in `found` which route answers, once that is known.
    async fn answer(
        &self,
        request: Request<Incoming>,
        id: &Arc<str>,
        generation: &Arc<Generation>,
        arrival: Instant,
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
        let deadline = arrival + generation.time(target);
        let body = match route.body {
            RouteBody::Ignored => None,
            _ => {
                let body = parameters::read_body(&head.headers, body, self.limits.body, deadline);
                // Who sends slowly keeps no retired generation.
                Some(generation.until_end(body).await.unwrap_or(Err(HostProblem::BodyTooSlow))?)
            }
        };
        let values = parameters::decode(route, &path, &head, body.as_deref())?;
        let context = CallContext::new(id.clone(), deadline).from(Origin::Route);
        let (result, place) = call::detached(generation.clone(), target, values, context, place).await;
        let response = answer::from_result(route, result?.as_ref(), generation.result_limit(target), id)?;
        Ok(answer::hold_if_large(response, place))
    }
}

/// The client's id, where it is one that can be logged and sent back, or a new one.
fn request_id(request: &Request<Incoming>) -> Arc<str> {
    let given = request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes);
    let fits = |id: &&[u8]| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    match given.filter(fits).and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => id.into(),
        None => Arc::from(&*ulid::Ulid::generate().array_to_str(&mut [0; ulid::ULID_LEN])),
    }
}

/// What a HEAD request is answered: the same without the body. Hyper leaves it out on HTTP/1.1, and sends it on HTTP/2.
fn drop_body(response: &mut Response<Body>) {
    let body = std::mem::replace(response.body_mut(), Body::empty());
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
}

fn add_headers(response: &mut Response<Body>, id: &str, number: GenerationNumber) {
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(id).expect("request ids are printable ASCII");
    headers.insert(&REQUEST_ID, id);
    headers.insert(&GENERATION, number.0.into());
    debug_assert!(!headers.contains_key(header::SERVER), "nothing says what runs here");
}
